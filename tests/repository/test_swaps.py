"""Loading, unloading and asking from many threads at once: nobody is failed, nothing is left."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from penstock._native.engine import Engine, Version, submit
from penstock.repository import LoadFailedError, ModelRepository, RepositoryError
from tests import models
from tests.fakes.engine import FakeEngine
from tests.repository.conftest import Open

SECONDS = 1.5
X = np.zeros((1, 2), np.float32)


def run_all(*works: Any) -> None:
    """Each in a thread of its own; the first error is raised."""
    errors: list[BaseException] = []

    def guarded(work: Any) -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    if errors:
        raise errors[0]


def test_a_swap_fails_no_request(open_repository: Open, root: Path) -> None:
    """The real core, with the routes as a transport would follow them."""

    class Routed:
        """An engine of which the test sees the routes."""

        def __init__(self) -> None:
            self.engine = Engine(transport_threads=0)
            self.routes: dict[str, Any] = {}

        def add_version(self, spec: Any) -> Version:
            return self.engine.add_version(spec)

        def publish(self, routes: Any, unavailable: Any = None) -> None:
            self.engine.publish(routes, unavailable)
            self.routes = dict(routes)

    routed = Routed()
    models.write(root, "m", models.add_constant(1))
    repository = open_repository(routed, control="explicit", load_models=("m",))
    repository.start()
    until = time.monotonic() + SECONDS
    answered = [0] * 4
    latest = [1]

    def ask(client: int) -> None:
        seen = 1.0
        while time.monotonic() < until:
            # Closed between the look and the submit: the core's router asks again, and so here.
            while True:
                version = routed.routes["m"][-1]
                try:
                    value = submit(version, {"x": X}).result(10)["y"][0, 0]
                    break
                except Exception:
                    assert routed.routes["m"][-1] is not version
            assert seen <= value <= latest[0]
            seen = value
            answered[client] += 1

    def swap() -> None:
        while time.monotonic() < until:
            number = latest[0] + 1
            latest[0] = number
            models.write(root, "m", models.add_constant(number), version=number)
            repository.load("m")

    run_all(*(lambda client=client: ask(client) for client in range(4)), swap)  # type: ignore[misc]
    assert latest[0] > 5
    assert min(answered) > 50


def test_everything_at_once(open_repository: Open, root: Path, fake: FakeEngine) -> None:
    """The watching engine asserts at each publish that nothing closed is routed to."""
    names = [f"m{number}" for number in range(6)]
    for name in names:
        models.write(root, name, models.add_constant(1))
    models.write(root, "broken", b"nonsense")
    repository: ModelRepository = open_repository(control="explicit", load_models=("*",))
    repository.start()
    until = time.monotonic() + SECONDS
    stable = names[0]
    asked = [0]

    def change(seed: int) -> None:
        choice = random.Random(seed)
        while time.monotonic() < until:
            name = choice.choice([*names[1:], "broken"])
            action = choice.random()
            try:
                if action < 0.3:
                    repository.unload(name)
                elif action < 0.8 or name == "broken":
                    repository.load(name)
                else:
                    data = models.add_constant(choice.randrange(100))
                    models.put(root / name / "1" / "model.onnx", data)
                    repository.load(name)
            except LoadFailedError:
                assert name == "broken"

    def look() -> None:
        while time.monotonic() < until:
            for line in repository.index():
                assert line.state in ("READY", "UNAVAILABLE", "LOADING", "UNLOADING")
                assert (line.state == "READY") or line.reason or line.state != "UNAVAILABLE"
            for loaded in repository.versions():
                assert loaded.spec.name in names
            for name in names:
                try:
                    assert repository.get(name).spec.name == name
                except RepositoryError as error:
                    assert error.code == 14

    def ask() -> None:
        while time.monotonic() < until:
            assert fake.infer(stable, {"x": X})["y"][0, 0] == 1
            asked[0] += 1

    run_all(*(lambda seed=seed: change(seed) for seed in range(3)), look, ask, ask)  # type: ignore[misc]
    assert asked[0] > 20
    assert repository.close(10)
    assert all(version.closed for version in fake.added)
    assert not [t for t in threading.enumerate() if t.name.partition("/")[0] in names]


def test_loads_of_one_model_are_one_after_the_other(
    open_repository: Open, root: Path, fake: FakeEngine
) -> None:
    source = """
import threading

class Model:
    def load(self, context):
        marker = context.folder / "loading"
        marker.touch(exist_ok=False)
        threading.Event().wait(0.01)
        marker.unlink()

    def infer(self, inputs):
        return {"y": inputs["x"]}
"""
    config = """backend: "python" input { name: "x" data_type: TYPE_FP32 dims: 1 }
    output { name: "y" data_type: TYPE_FP32 dims: 1 } parameters { key: "n" value { } } """
    models.write_python(root, "m", source, config=config)
    repository = open_repository(control="explicit")

    def load(number: int) -> None:
        repository.load("m", config + f"metric_tags {{ key: 'n' value: '{number}' }}")

    run_all(*(lambda number=number: load(number) for number in range(8)))  # type: ignore[misc]
    assert len(fake.added) == 8
    assert sum(not version.closed for version in fake.added) == 1


@pytest.mark.parametrize("count", [300])
def test_many_models_of_which_few_are_loaded(
    open_repository: Open, root: Path, fake: FakeEngine, count: int, monkeypatch: Any
) -> None:
    """Loading and asking look at the model in question, not at its neighbours."""
    from penstock.repository import layout

    data = models.add_constant(1)
    for number in range(count):
        models.write(root, f"m{number:03}", data)
    chosen = tuple(f"m{number:03}" for number in range(0, count, 30))
    repository = open_repository(control="explicit", load_models=chosen)
    repository.start()
    assert sorted(fake.routes) == sorted(chosen)
    assert len(repository.index()) == count

    scanned: list[str] = []
    original = layout._folders

    def watched(path: Path) -> Any:
        scanned.append(path.name)
        return original(path)

    monkeypatch.setattr(layout, "_folders", watched)
    repository.load("m001")
    assert set(scanned) == {"m001"}
    scanned.clear()
    repository.get("m001")
    repository.ready("m002")
    repository.index(ready_only=True)
    repository.unload("m001")
    assert scanned == []
