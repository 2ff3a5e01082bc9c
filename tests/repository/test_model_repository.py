"""What is served, when, and what clients and operators are told."""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from penstock._native.engine import Engine, RequestError
from penstock.repository import (
    ControlModeError,
    IndexEntry,
    InvalidConfigError,
    LoadFailedError,
    ModelNotFoundError,
    ModelRepository,
    ModelUnavailableError,
    RepositoryOptions,
    UnsupportedError,
)
from tests import models
from tests.fakes.engine import FakeEngine
from tests.repository.conftest import Open

X = np.zeros((1, 2), np.float32)


def answer(fake: FakeEngine, name: str = "m") -> float:
    return float(fake.infer(name, {"x": X})["y"][0, 0])


def index(repository: ModelRepository) -> list[tuple[str, str, str, str]]:
    return [(line.name, line.version, line.state, line.reason) for line in repository.index()]


def served(fake: FakeEngine) -> dict[str, list[int]]:
    return {name: [v.spec.version for v in versions] for name, versions in fake.routes.items()}


def wait_until(condition: Callable[[], bool], timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.002)


def write_slow(root: Path) -> Path:
    """A model ``slow`` that does not load before the returned file is there."""
    gate = root.parent / "gate"
    models.write_python(
        root,
        "slow",
        f"""
import time
from pathlib import Path

class Model:
    def load(self):
        while not Path({str(gate)!r}).exists():
            time.sleep(0.002)

    def infer(self, inputs):
        return {{"y": inputs["x"]}}
""",
        config='backend: "python" input { name: "x" data_type: TYPE_FP32 dims: 1 } '
        'output { name: "y" data_type: TYPE_FP32 dims: 1 }',
    )
    return gate


class TestStart:
    def test_everything_is_loaded(
        self, open_repository: Open, root: Path, fake: FakeEngine
    ) -> None:
        for name in ("a", "b"):
            models.write(root, name, models.add_constant(3))
        repository = open_repository()
        assert repository.start() == {}
        assert served(fake) == {"a": [1], "b": [1]}
        assert fake.unavailable == {}
        assert answer(fake, "b") == 3
        assert repository.models() == ["a", "b"]
        assert [v.spec.name for v in repository.versions()] == ["a", "b"]
        assert index(repository) == [("a", "1", "READY", ""), ("b", "1", "READY", "")]

    def test_models_that_fail_stop_no_other(
        self, open_repository: Open, root: Path, fake: FakeEngine
    ) -> None:
        models.write(root, "good", models.add_constant(1))
        models.write(root, "broken", b"nonsense")
        models.write(root, "typo", models.add_constant(1), config="max_batch: 3")
        (root / "empty").mkdir()
        repository = open_repository()
        failures = repository.start()
        assert sorted(failures) == ["broken", "empty", "typo"]
        assert served(fake) == {"good": [1]}
        assert sorted(fake.unavailable) == ["broken", "empty", "typo"]
        lines = {line.name: line for line in repository.index()}
        assert lines["broken"].version == "1"
        assert lines["broken"].state == "UNAVAILABLE"
        assert lines["broken"].reason.startswith("model.onnx: ONNX Runtime cannot load it: ")
        assert lines["typo"] == IndexEntry(
            "typo",
            "",
            "UNAVAILABLE",
            'typo/config.pbtxt:1:1: Message type "inference.ModelConfig" has no field named '
            "\"max_batch\", expected 'max_batch_size'",
        )
        assert "has no version" in lines["empty"].reason

    def test_explicit_control_loads_what_it_is_told(
        self, open_repository: Open, root: Path, fake: FakeEngine
    ) -> None:
        for name in ("a", "b", "c"):
            models.write(root, name, models.add_constant(1))
        repository = open_repository(control="explicit", load_models=("b", "nowhere"))
        assert repository.start() == {"nowhere": "model 'nowhere' is not in the repository"}
        assert served(fake) == {"b": [1]}
        assert index(repository) == [
            ("a", "", "UNAVAILABLE", "not loaded"),
            ("b", "1", "READY", ""),
            ("c", "", "UNAVAILABLE", "not loaded"),
        ]
        assert [line.name for line in repository.index(ready_only=True)] == ["b"]

    def test_a_star_is_everything(
        self, open_repository: Open, root: Path, fake: FakeEngine
    ) -> None:
        for name in ("a", "b"):
            models.write(root, name, models.add_constant(1))
        open_repository(control="explicit", load_models=("*",)).start()
        assert sorted(fake.routes) == ["a", "b"]

    def test_two_repositories(
        self, open_repository: Open, tmp_path: Path, fake: FakeEngine
    ) -> None:
        one, two = tmp_path / "one", tmp_path / "two"
        models.write(one, "a", models.add_constant(1))
        models.write(two, "b", models.add_constant(1))
        for path in (one, two):
            models.write(path, "both", models.add_constant(1))
        failures = open_repository(paths=(one, two)).start()
        assert sorted(fake.routes) == ["a", "b"]
        assert failures == {
            "both": "model 'both' did not load: several repositories have it: "
            f"{one / 'both'}, {two / 'both'}"
        }

    def test_a_repository_that_is_not_there(self, open_repository: Open, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="nowhere"):
            open_repository(paths=(tmp_path / "nowhere",)).start()

    @pytest.mark.parametrize(
        ("options", "error"),
        [
            ({"paths": ()}, "there is no repository"),
            ({"control": "always"}, "control is 'always', expected 'none', 'poll' or 'explicit'"),
            ({"load_models": ("m",)}, "load_models needs control 'explicit', it is 'none'"),
            ({"poll_interval_s": 0.0}, "poll_interval_s is 0.0, expected more than 0 seconds"),
        ],
    )
    def test_options_are_checked(self, options: dict[str, object], error: str) -> None:
        with pytest.raises(ValueError, match=error):
            RepositoryOptions(**{"paths": (Path("r"),), **options})  # type: ignore[arg-type]


class TestLookingUp:
    @pytest.fixture
    def repository(self, open_repository: Open, root: Path) -> ModelRepository:
        for version in (1, 2, 10):
            models.write(
                root, "m", models.add_constant(version), version=version,
                config="version_policy { all { } }",
            )  # fmt: skip
        models.write(root, "later", models.add_constant(1))
        models.write(root, "broken", b"nonsense")
        repository = open_repository(control="explicit", load_models=("m", "broken"))
        repository.start()
        return repository

    def test_the_highest_version_is_the_default(self, repository: ModelRepository) -> None:
        loaded = repository.get("m")
        assert loaded.spec.version == 10
        assert repository.get("m", "2").spec.version == 2
        assert (loaded.platform, loaded.backend) == ("onnxruntime_onnx", "onnxruntime")
        assert loaded.config.max_batch_size == 256

    @pytest.mark.parametrize(
        ("name", "version", "kind", "message"),
        [
            ("x", "", ModelNotFoundError, "model 'x' is not in the repository"),
            ("", "", ModelNotFoundError, "model '' is not in the repository"),
            (
                "m",
                "3",
                ModelNotFoundError,
                "version '3' of model 'm' is not served; served: 1, 2, 10",
            ),
            (
                "m",
                "two",
                ModelNotFoundError,
                "version 'two' of model 'm' is not served; served: 1, 2, 10",
            ),
            ("later", "", ModelUnavailableError, "model 'later' is not ready: not loaded"),
            (
                "broken",
                "1",
                ModelUnavailableError,
                "model 'broken' is not ready: version 1: model.onnx: ONNX Runtime cannot load it",
            ),
        ],
    )
    def test_what_is_not_served(
        self,
        repository: ModelRepository,
        name: str,
        version: str,
        kind: type[RequestError],
        message: str,
    ) -> None:
        with pytest.raises(kind) as raised:
            repository.get(name, version)
        assert raised.value.message.startswith(message)
        assert raised.value.code == {ModelNotFoundError: 5, ModelUnavailableError: 14}[kind]
        assert not repository.ready(name, version)

    def test_ready(self, repository: ModelRepository) -> None:
        assert repository.ready("m") and repository.ready("m", "1")


class TestLoading:
    def test_load_and_unload(self, open_repository: Open, root: Path, fake: FakeEngine) -> None:
        models.write(root, "m", models.add_constant(5))
        repository = open_repository(control="explicit")
        repository.start()
        assert fake.routes == {}
        repository.load("m")
        assert answer(fake) == 5
        version = fake.routes["m"][0]
        repository.unload("m")
        assert fake.routes == {}
        assert fake.unavailable == {"m": "unloaded"}
        assert version.closed
        wait_until(lambda: index(repository) == [("m", "1", "UNAVAILABLE", "unloaded")])
        with pytest.raises(ModelUnavailableError, match="model 'm' is not ready: unloaded"):
            repository.get("m")
        repository.load("m")
        assert answer(fake) == 5

    def test_what_has_not_changed_is_not_loaded_again(
        self, open_repository: Open, root: Path, fake: FakeEngine
    ) -> None:
        folder = models.write(root, "m", models.add_constant(1))
        repository = open_repository(control="explicit", load_models=("m",))
        repository.start()
        repository.load("m")
        assert len(fake.added) == 1
        models.put(folder / "config.pbtxt", b"max_batch_size: 4")
        repository.load("m")
        assert len(fake.added) == 2
        assert repository.get("m").spec.batching.max_batch_size == 4

    def test_a_new_version_replaces_the_old_one(
        self, open_repository: Open, root: Path, fake: FakeEngine
    ) -> None:
        models.write(root, "m", models.add_constant(1))
        repository = open_repository(control="explicit", load_models=("m",))
        repository.start()
        first = fake.routes["m"][0]
        models.write(root, "m", models.add_constant(2), version=2)
        repository.load("m")
        assert served(fake) == {"m": [2]}
        assert answer(fake) == 2
        assert first.closed
        wait_until(
            lambda: (
                index(repository)
                == [("m", "1", "UNAVAILABLE", "unloaded"), ("m", "2", "READY", "")]
            )
        )

    def test_a_replaced_file_of_the_same_version(
        self, open_repository: Open, root: Path, fake: FakeEngine
    ) -> None:
        models.write(root, "m", models.add_constant(1))
        repository = open_repository(control="explicit", load_models=("m",))
        repository.start()
        models.write(root, "m", models.add_constant(7))
        repository.load("m")
        assert served(fake) == {"m": [1]}
        assert answer(fake) == 7
        assert fake.added[0].closed and not fake.added[1].closed

    @pytest.mark.parametrize("version", [1, 2], ids=["same version", "newer version"])
    def test_a_load_that_fails_keeps_what_served(
        self, open_repository: Open, root: Path, fake: FakeEngine, version: int
    ) -> None:
        models.write(root, "m", models.add_constant(1))
        repository = open_repository(control="explicit", load_models=("m",))
        repository.start()
        models.write(root, "m", b"nonsense", version=version)
        with pytest.raises(LoadFailedError) as raised:
            repository.load("m")
        start = f"model 'm' did not load: version {version}: model.onnx: ONNX Runtime cannot load"
        assert raised.value.message.startswith(start)
        assert answer(fake) == 1
        lines = repository.index()
        ready = IndexEntry("m", "1", "READY", lines[0].reason)
        assert lines[0] == ready
        assert lines[-1].version == str(version)
        assert lines[-1].reason.startswith("model.onnx: ONNX Runtime cannot load it")
        # Put right, it loads, and the old version goes.
        models.write(root, "m", models.add_constant(9), version=version)
        repository.load("m")
        assert answer(fake) == 9
        assert served(fake) == {"m": [version]}
        assert [line.reason for line in repository.index(ready_only=True)] == [""]

    def test_a_broken_configuration_keeps_what_served(
        self, open_repository: Open, root: Path, fake: FakeEngine
    ) -> None:
        folder = models.write(root, "m", models.add_constant(1))
        repository = open_repository(control="explicit", load_models=("m",))
        repository.start()
        models.put(folder / "config.pbtxt", b"max_batch_size: x")
        with pytest.raises(LoadFailedError, match=r"m/config\.pbtxt:1:17"):
            repository.load("m")
        assert answer(fake) == 1
        assert [(line.version, line.state) for line in repository.index()] == [
            ("", "UNAVAILABLE"),
            ("1", "READY"),
        ]

    def test_some_of_several_versions_fail(
        self, open_repository: Open, root: Path, fake: FakeEngine
    ) -> None:
        policy = "version_policy { specific { versions: [ 1, 2, 4 ] } }"
        models.write(root, "m", models.add_constant(1), config=policy)
        models.write(root, "m", b"nonsense", version=2)
        repository = open_repository(control="explicit", load_models=("m",))
        failures = repository.start()
        assert "version 2: model.onnx" in failures["m"]
        assert "version 4: there is no folder m/4" in failures["m"]
        assert served(fake) == {"m": [1]}
        assert [(line.version, line.state) for line in repository.index()] == [
            ("1", "READY"),
            ("2", "UNAVAILABLE"),
            ("4", "UNAVAILABLE"),
        ]

    def test_a_configuration_of_the_load_request(
        self, open_repository: Open, root: Path, fake: FakeEngine
    ) -> None:
        models.write(root, "m", models.add_constant(1), config="max_batch_size: 4")
        repository = open_repository(control="explicit")
        repository.start()
        repository.load("m", '{"max_batch_size": 9}')
        assert repository.get("m").spec.batching.max_batch_size == 9
        repository.load("m", '{"max_batch_size": 9}')
        assert len(fake.added) == 1
        repository.load("m")
        assert repository.get("m").spec.batching.max_batch_size == 4
        with pytest.raises(InvalidConfigError, match="the config of the load request"):
            repository.load("m", "{")
        assert answer(fake) == 1

    def test_files_of_the_load_request_are_not_supported(
        self, open_repository: Open, root: Path
    ) -> None:
        models.write(root, "m", models.add_constant(1))
        repository = open_repository(control="explicit")
        with pytest.raises(
            UnsupportedError, match="files came with the load of model 'm'"
        ) as raised:
            repository.load("m", None, {"1/model.onnx": b"x"})
        assert raised.value.code == 12

    def test_models_that_are_not_there(self, open_repository: Open) -> None:
        repository = open_repository(control="explicit")
        for change in (repository.load, repository.unload):
            with pytest.raises(ModelNotFoundError, match="model 'm' is not in the repository"):
                change("m")

    @pytest.mark.parametrize("control", ["none", "poll"])
    def test_only_explicit_control_may_be_asked(
        self, open_repository: Open, root: Path, control: str
    ) -> None:
        models.write(root, "m", models.add_constant(1))
        repository = open_repository(control=control)
        repository.start()
        with pytest.raises(ControlModeError) as raised:
            repository.load("m")
        assert raised.value.message == (
            f"cannot load model 'm': model control is '{control}', expected 'explicit'"
        )
        assert raised.value.code == 9
        with pytest.raises(ControlModeError):
            repository.unload("m")

    def test_listeners_hear_of_each_change(
        self, open_repository: Open, root: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        models.write(root, "m", models.add_constant(1))
        repository = open_repository(control="explicit")
        heard: list[bool] = []

        def broken() -> None:
            raise RuntimeError("a listener's own trouble")

        repository.add_listener(broken)
        repository.add_listener(lambda: heard.append(repository.ready("m")))
        repository.start()
        repository.load("m")
        repository.unload("m")
        # Each state once: a change may be told in several steps.
        assert [ready for ready, _ in itertools.groupby(heard)] == [False, True, False]
        assert "a listener's own trouble" in caplog.text

    def test_a_loading_version_shows_in_the_index(
        self, open_repository: Open, root: Path, fake: FakeEngine
    ) -> None:
        gate = write_slow(root)
        models.write(root, "m", models.add_constant(1))
        repository = open_repository(control="explicit")
        loading = threading.Thread(target=repository.load, args=("slow",))
        loading.start()
        try:
            wait_until(lambda: ("slow", "1", "LOADING", "") in index(repository))
            # Nobody else waits for it.
            repository.load("m")
            assert answer(fake) == 1
            with pytest.raises(ModelUnavailableError, match="it is loading"):
                repository.get("slow")
            # Inference says the same, not that there is no such model.
            assert fake.unavailable == {"slow": "it is loading"}
        finally:
            gate.touch()
            loading.join(10)
        assert repository.ready("slow")


class TestPolling:
    def test_files_are_followed(self, open_repository: Open, root: Path, fake: FakeEngine) -> None:
        models.write(root, "a", models.add_constant(1))
        repository = open_repository(control="poll", poll_interval_s=1000)
        repository.start()
        assert not repository.poll_once()
        published = fake.published
        models.write(root, "b", models.add_constant(2))
        assert repository.poll_once()
        assert answer(fake, "b") == 2
        models.write(root, "a", models.add_constant(3))
        assert repository.poll_once()
        assert answer(fake, "a") == 3
        models.remove(root, "a")
        assert repository.poll_once()
        assert served(fake) == {"b": [1]}
        assert "a" not in fake.unavailable
        assert repository.models() == ["b"]
        assert not repository.poll_once()
        # b is loading, b is there, another a, no a.
        assert fake.published == published + 4

    def test_a_failed_load_is_tried_again_when_files_change(
        self, open_repository: Open, root: Path, fake: FakeEngine
    ) -> None:
        repository = open_repository(control="poll", poll_interval_s=1000)
        repository.start()
        models.write(root, "m", b"half a mod")
        assert repository.poll_once()
        assert sorted(fake.unavailable) == ["m"]
        assert not repository.poll_once()
        models.write(root, "m", models.add_constant(4))
        assert repository.poll_once()
        assert answer(fake) == 4

    def test_a_version_that_goes(self, open_repository: Open, root: Path, fake: FakeEngine) -> None:
        for version in (1, 2):
            models.write(root, "m", models.add_constant(version), version=version)
        repository = open_repository(control="poll", poll_interval_s=1000)
        repository.start()
        assert served(fake) == {"m": [2]}
        os.replace(root / "m" / "2", root / ".gone")
        assert repository.poll_once()
        assert served(fake) == {"m": [1]}
        wait_until(lambda: index(repository) == [("m", "1", "READY", "")])

    def test_a_repository_that_is_away_takes_no_model_with_it(
        self, open_repository: Open, root: Path, fake: FakeEngine
    ) -> None:
        models.write(root, "m", models.add_constant(1))
        repository = open_repository(control="poll", poll_interval_s=1000)
        repository.start()
        os.replace(root, root.parent / "away")
        assert not repository.poll_once()
        assert answer(fake) == 1
        os.replace(root.parent / "away", root)

    def test_the_poller_runs_by_itself(
        self, open_repository: Open, root: Path, fake: FakeEngine
    ) -> None:
        repository = open_repository(control="poll", poll_interval_s=0.02)
        repository.start()
        models.write(root, "m", models.add_constant(6))
        wait_until(lambda: "m" in fake.routes)
        assert answer(fake) == 6


class TestClosing:
    def test_close_ends_every_executor(
        self, open_repository: Open, root: Path, fake: FakeEngine
    ) -> None:
        models.write(root, "m", models.add_constant(1), config="instance_group { count: 3 }")
        repository = open_repository()
        repository.start()
        names = [t.name for t in threading.enumerate() if t.name.startswith("m/1#")]
        assert sorted(names) == ["m/1#0", "m/1#1", "m/1#2"]
        assert repository.close(10)
        assert fake.routes == {}
        wait_until(lambda: not [t for t in threading.enumerate() if t.name.startswith("m/1#")])
        assert repository.close(0)

    def test_nothing_is_loaded_after_that(self, open_repository: Open, root: Path) -> None:
        models.write(root, "m", models.add_constant(1))
        repository = open_repository(control="explicit")
        repository.start()
        repository.close()
        with pytest.raises(LoadFailedError, match="the server stops"):
            repository.load("m")

    def test_a_repository_that_is_dropped_is_collected(self, root: Path) -> None:
        models.write(root, "m", models.add_constant(1))
        repository = ModelRepository(Engine(transport_threads=0), RepositoryOptions((root,)))
        repository.start()
        repository.close(10)
        import weakref

        gone = weakref.ref(repository)
        del repository
        gc.collect()
        assert gone() is None

    def test_a_process_that_forgets_to_close_ends(self, root: Path) -> None:
        models.write(root, "m", models.add_constant(1), config="instance_group { count: 2 }")
        source = f"""
from pathlib import Path
from penstock._native.engine import Engine
from penstock.repository import ModelRepository, RepositoryOptions
repository = ModelRepository(
    Engine(transport_threads=0),
    RepositoryOptions((Path({str(root)!r}),), control="poll", poll_interval_s=0.01),
)
assert repository.start() == {{}}
assert repository.ready("m")
"""
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        result = subprocess.run(
            [sys.executable, "-c", source],
            capture_output=True,
            text=True,
            timeout=60,
            env=environment,
        )
        assert (result.returncode, result.stderr) == (0, "")


class TestDuringALoad:
    """What changes while a model loads is neither lost nor left behind."""

    @pytest.fixture
    def loading(
        self, open_repository: Open, root: Path, fake: FakeEngine
    ) -> Iterator[tuple[ModelRepository, threading.Thread, Path]]:
        gate = write_slow(root)
        repository = open_repository(control="explicit")

        def load() -> None:
            with contextlib.suppress(LoadFailedError):
                repository.load("slow")

        thread = threading.Thread(target=load)
        thread.start()
        wait_until(lambda: fake.unavailable.get("slow") == "it is loading")
        yield repository, thread, gate
        gate.touch()
        thread.join(10)
        assert not thread.is_alive()

    def test_closing_waits_as_long_as_it_is_told(
        self, loading: tuple[ModelRepository, threading.Thread, Path], fake: FakeEngine
    ) -> None:
        repository, thread, gate = loading
        before = time.monotonic()
        repository.close(0.1)
        assert time.monotonic() - before < 5
        assert thread.is_alive()
        gate.touch()
        thread.join(10)
        # Nobody is left to close what has loaded but the loader.
        assert fake.routes == {}
        assert all(version.closed for version in fake.added)

    def test_an_edit_is_seen_afterwards(
        self,
        loading: tuple[ModelRepository, threading.Thread, Path],
        root: Path,
        fake: FakeEngine,
    ) -> None:
        repository, thread, gate = loading
        config = root / "slow" / "config.pbtxt"
        models.put(config, config.read_bytes() + b"max_batch_size: 4 ")
        gate.touch()
        thread.join(10)
        assert fake.routes["slow"][0].spec.batching.max_batch_size == 0
        repository.load("slow")
        assert fake.routes["slow"][0].spec.batching.max_batch_size == 4

    def test_a_folder_that_goes(
        self, loading: tuple[ModelRepository, threading.Thread, Path], root: Path, fake: FakeEngine
    ) -> None:
        repository, thread, gate = loading
        os.replace(root / "slow", root / ".slow")
        gate.touch()
        thread.join(10)
        # What was read before serves; what is asked for now is not there.
        assert served(fake) == {"slow": [1]}
        with pytest.raises(LoadFailedError, match="its folder is no longer in the repository"):
            repository.load("slow")


def test_a_reason_of_odd_characters_reaches_the_engine(root: Path) -> None:
    source = """
class Model:
    def load(self):
        raise ValueError("\\udcff")

    def infer(self, inputs):
        return {}
"""
    config = 'backend: "python" output { name: "y" data_type: TYPE_FP32 dims: 1 }'
    models.write_python(
        root, "odd", source, config=config + 'input { name: "x" data_type: TYPE_FP32 dims: 1 }'
    )
    models.write(root, "good", models.add_constant(1))
    engine = Engine(transport_threads=0)
    repository = ModelRepository(engine, RepositoryOptions(paths=(root,)))
    try:
        assert list(repository.start()) == ["odd"]
        assert repository.ready("good")
    finally:
        assert repository.close(10)
