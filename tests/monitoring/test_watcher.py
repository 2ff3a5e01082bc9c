"""One model version watched: a real engine, a clock that the test turns."""

from pathlib import Path

import numpy as np
import pytest

import penstock
from penstock.monitoring.merge import MergeError, merge_states, replica_state
from penstock.monitoring.report import model_report
from penstock.monitoring.watcher import ModelWatcher
from penstock.spec import MISSING
from tests import models

RANDOM = np.random.default_rng(1)


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    models.write(tmp_path, "m", models.mlp())
    return tmp_path / "m"


def rows(count: int, shift: float = 0.0) -> np.ndarray:
    return RANDOM.normal(shift, 1, (count, 4)).astype(np.float32)


def watch(model, clock: Clock, profile=None) -> ModelWatcher:
    return ModelWatcher(model._loaded.version, profile, clock, clock)


def test_a_window_holds_what_came_in_it_and_time_empties_it(folder: Path, clock: Clock) -> None:
    with penstock.load(folder) as model:
        watcher = watch(model, clock)
        for _ in range(10):
            model.infer({"x": rows(3)})
        clock.now += 5
        watcher.tick()
        windows = watcher.windows()
        for view in windows.values():
            assert (view.requests, view.rows, view.batches) == (10, 30, 10)
            assert view.latency["total"].count == 10
        total, parts = windows["1m"].latency["total"], windows["1m"].latency
        assert total.sum == pytest.approx(parts["queue"].sum + parts["compute"].sum, rel=1e-6)
        for _ in range(70):
            clock.now += 5
            watcher.tick()
        windows = watcher.windows()
        assert windows["1m"].latency["total"].count == windows["5m"].requests == 0
        assert windows["start"].latency["total"].count == 10
        assert [point.rate for point in watcher.history()] == [0.0] * 60
        assert model_report(watcher)["latency"]["5m"]["total"] is None


def test_slices_have_windows_of_their_own(folder: Path, clock: Clock) -> None:
    with penstock.load(folder) as model:
        watcher = watch(model, clock)
        for index in range(40):
            model.infer({"x": rows(1)}, parameters={"slice": f"s{index % 20}"})
        model.infer({"x": rows(1)})
        slices = watcher.windows()["start"].slices
        assert len(slices) == 17
        assert slices["s0"]["total"].count == 2
        assert slices["other"]["total"].count == 8
        assert watcher.windows()["start"].latency["total"].count == 41


def test_a_profile_beside_the_model_is_held_against_live_rows(folder: Path) -> None:
    with penstock.load(folder) as model:
        penstock.build_profile(rows(5_000), model=model).save(folder / "1/profile.json")
    with penstock.load(folder) as model:
        watcher = model._loaded.watcher
        assert (watcher.state, watcher.origin) == ("watching", "file")
        model.infer_rows({"x": rows(1_000)})
        report = model_report(watcher)["drift"]["start"]
        assert (report["rows"], report["verdict"]) == (1_000, "stable")
        shifted = rows(1_000)
        shifted[:, 2] += 1
        shifted[::10, 1] = np.nan
        model.infer_rows({"x": shifted})
        report = model_report(watcher)["drift"]["start"]
        drifted = {each["name"] for each in report["features"] if each["verdict"] == "drifted"}
        assert {"column_1", "column_2"} <= drifted
        assert not drifted & {"column_0", "column_3"}
        assert report["features"][1]["missing"] == pytest.approx(0.05)
        assert watcher.windows()["start"].drift[1, MISSING] == 100


def test_a_profile_is_learned_from_the_first_rows(folder: Path, clock: Clock) -> None:
    (folder / "config.pbtxt").write_text(
        'parameters { key: "learn_profile_rows" value { string_value: "500" } }'
    )
    with penstock.load(folder) as model:
        watcher = model._loaded.watcher
        assert watcher.state == "learning"
        model.infer_rows({"x": rows(400)})
        watcher.tick()
        assert (watcher.state, watcher.learned_rows) == ("learning", 400)
        model.infer_rows({"x": rows(400)})
        watcher.tick()
        assert (watcher.state, watcher.origin) == ("watching", "learned")
        assert watcher.profile.rows == 500
        assert watcher.windows()["start"].drift.sum() == 0
        model.infer_rows({"x": rows(400, shift=2.0)})
        report = model_report(watcher)
        assert report["drift"]["start"]["verdict"] == "drifted"
        assert report["profile"]["origin"] == "learned"


def test_learning_leaves_out_what_no_bins_fit(tmp_path: Path, clock: Clock) -> None:
    """BF16 comes as bits; the columns beside it are learned all the same."""
    config = (
        'backend: "python" max_batch_size: 64 '
        'input [ { name: "x" data_type: TYPE_FP32 dims: 2 }, '
        '{ name: "half" data_type: TYPE_BF16 dims: 3 } ] '
        'output { name: "score" data_type: TYPE_FP32 dims: 1 } '
        'parameters { key: "learn_profile_rows" value { string_value: "100" } }'
    )
    source = """
class Model:
    def infer(self, inputs):
        return {"score": inputs["x"][:, :1]}
"""
    folder = models.write_python(tmp_path, "m", source, config=config)
    with penstock.load(folder) as model:
        for _ in range(2):
            model.infer({"x": rows(60)[:, :2], "half": np.zeros((60, 3), np.uint16)})
        watcher = model._loaded.watcher
        watcher.tick()
        assert watcher.state == "watching"
        assert [each.name for each in watcher.profile.features] == ["x[0]", "x[1]", "score"]


def test_what_is_not_monitored_has_no_watcher(folder: Path) -> None:
    (folder / "config.pbtxt").write_text(
        'parameters { key: "monitoring" value { string_value: "off" } }'
    )
    with penstock.load(folder) as model:
        model.infer({"x": rows(1)})
        assert model._loaded.watcher is None
        with pytest.raises(RuntimeError, match="not monitored"):
            model._loaded.version.latencies()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("monitoring", "maybe"),
        ("max_slices", "-1"),
        ("max_slices", "1000"),
        ("learn_profile_rows", "x"),
    ],
)
def test_settings_that_cannot_be_are_refused(folder: Path, key: str, value: str) -> None:
    (folder / "config.pbtxt").write_text(
        f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}'
    )
    with pytest.raises(penstock.LoadError, match=f"parameter {key} is '{value}'"):
        penstock.load(folder)


def test_the_memory_of_a_watched_version_with_full_windows(folder: Path, clock: Clock) -> None:
    """The bar is 2 MiB for 32 features; these eight have less, so the bar here is lower."""
    with penstock.load(folder) as model:
        penstock.build_profile(rows(5_000), model=model).save(folder / "1/profile.json")
    with penstock.load(folder) as model:
        profile = model._loaded.watcher.profile
        watcher = watch(model, clock, profile)
        for _ in range(80):
            model.infer_rows({"x": rows(50)})
            clock.now += 5
            watcher.tick()
        assert 0 < watcher.window_bytes < 1 << 20


# --- Replicas ------------------------------------------------------------------------------------


def test_replicas_merge_to_the_union(folder: Path) -> None:
    with penstock.load(folder) as model:
        penstock.build_profile(rows(5_000), model=model).save(folder / "1/profile.json")
    states, sketches, counts = [], [], []
    for shift in (0.0, 0.7):
        with penstock.load(folder) as model:
            model.infer({"x": rows(1)}, parameters={"slice": f"only {shift}"})
            model.infer_rows({"x": rows(800, shift)})
            watcher = model._loaded.watcher
            states.append((f"replica {shift}", replica_state(watcher)))
            view = watcher.windows()["start"]
            sketches.append(view.latency["total"])
            counts.append(view.drift)
    merged = merge_states(states)
    assert merged.replicas == 2
    window = merged.windows["start"]
    union = sketches[0]
    union.merge(sketches[1])
    assert window.latency["total"].quantiles((0.5, 0.99)) == union.quantiles((0.5, 0.99))
    assert np.array_equal(window.drift, counts[0] + counts[1])
    assert set(window.slices) == {"only 0.0", "only 0.7"}
    assert merged.drift("start").verdict == "drifted"
    assert merged.to_dict()["windows"]["start"]["rows"] == 1_602


def test_replicas_that_cannot_be_one_are_refused(folder: Path) -> None:
    with penstock.load(folder) as model:
        state = replica_state(model._loaded.watcher)
    for change, message in (
        ({"model": "other"}, "b serves model 'other', a 'm'"),
        ({"version": "2"}, "b serves version '2', a '1'"),
        ({"profile": {}}, "other profiles"),
        ({"schema": 9}, "schema 9"),
        ({"windows": {"1m": {}}}, "b: not a replica's state"),
    ):
        with pytest.raises(MergeError, match=message):
            merge_states([("a", state), ("b", state | change)])
    with pytest.raises(MergeError, match="no replica"):
        merge_states([])
