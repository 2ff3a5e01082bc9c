"""model_warmup: what runs, with which data, and what its errors say."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from penstock._native.engine import Engine
from penstock.backends.base import LoadError
from penstock.repository import LoadedVersion, load_path
from tests import models
from tests.fakes.engine import FakeEngine

RECORDER = """
import numpy as np

class Model:
    def load(self, context):
        self.folder = context.folder

    def infer(self, inputs):
        count = len(list(self.folder.glob("*.npz")))
        np.savez(self.folder / f"{count:03}.npz", **inputs)
        return {"n": np.zeros((len(inputs["x"]), 1), np.float32)}
"""

TENSORS = """
backend: "python"
max_batch_size: 4
input [ { name: "x" data_type: TYPE_FP32 dims: [ 2, -1 ] },
        { name: "text" data_type: TYPE_STRING dims: 1 },
        { name: "k" data_type: TYPE_INT8 dims: 3 },
        { name: "b" data_type: TYPE_BF16 dims: 2 } ]
output { name: "n" data_type: TYPE_FP32 dims: 1 }
"""


def entry(x: str, text: str, k: str, b: str, more: str = "") -> str:
    return f"""model_warmup {{ name: "w" {more}
      inputs {{ key: "x" value {{ data_type: TYPE_FP32 dims: [ 2, 3 ] {x} }} }}
      inputs {{ key: "text" value {{ data_type: TYPE_STRING dims: 1 {text} }} }}
      inputs {{ key: "k" value {{ data_type: TYPE_INT8 dims: 3 {k} }} }}
      inputs {{ key: "b" value {{ data_type: TYPE_BF16 dims: 2 {b} }} }} }}
    """


ZERO, RANDOM = "zero_data: true", "random_data: true"


@pytest.fixture(params=["real", "fake"])
def engine(request: pytest.FixtureRequest) -> Any:
    return Engine(transport_threads=0) if request.param == "real" else FakeEngine()


def warmed(engine: Any, folder: Path) -> list[dict[str, np.ndarray[Any, Any]]]:
    """The inputs of each run."""
    loaded = load_path(cast(Engine, engine), folder)
    loaded.close()
    assert loaded.join(10)
    files = sorted((folder / "1").glob("*.npz"))
    return [dict(np.load(file, allow_pickle=True)) for file in files]


def test_zeros(engine: Any, tmp_path: Path) -> None:
    config = TENSORS + entry(ZERO, ZERO, ZERO, ZERO)
    runs = warmed(engine, models.write_python(tmp_path, "m", RECORDER, config=config))
    assert len(runs) == 1
    assert {name: array.shape for name, array in runs[0].items()} == {
        "x": (1, 2, 3), "text": (1, 1), "k": (1, 3), "b": (1, 2),
    }  # fmt: skip
    assert runs[0]["text"].tolist() == [[b""]]
    assert not any(runs[0][name].any() for name in ("x", "k", "b"))


def test_random_data(engine: Any, tmp_path: Path) -> None:
    config = TENSORS + entry(RANDOM, RANDOM, RANDOM, RANDOM, "batch_size: 3 count: 2")
    runs = warmed(engine, models.write_python(tmp_path, "m", RECORDER, config=config))
    assert len(runs) == 2
    for run in runs:
        assert run["x"].shape == (3, 2, 3)
        assert run["x"].min() >= 0 and run["x"].max() < 1 and np.unique(run["x"]).size > 10
        assert set(run["k"].reshape(-1).tolist()) == {0, 1}
        as_floats = (run["b"].astype(np.uint32) << 16).view(np.float32)
        assert as_floats.min() >= 0 and as_floats.max() < 1 and as_floats.any()
        words = run["text"].reshape(-1).tolist()
        assert all(len(word) == 8 and word.isalpha() for word in words)
        assert len(set(words)) == 3


def test_data_files(engine: Any, tmp_path: Path) -> None:
    files = ['input_data_file: "x"', 'input_data_file: "t"', 'input_data_file: "k"', ZERO]
    config = TENSORS + entry(*files, "batch_size: 2")
    folder = models.write_python(tmp_path, "m", RECORDER, config=config)
    # x for the whole batch; one row of the others, for every row.
    x = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    models.put(folder / "warmup" / "x", x.tobytes())
    models.put(folder / "warmup" / "t", b"\3\0\0\0abc")
    models.put(folder / "warmup" / "k", b"\1\2\xff")
    (run,) = warmed(engine, folder)
    assert run["x"].tolist() == x.tolist()
    assert run["text"].tolist() == [[b"abc"], [b"abc"]]
    assert run["k"].tolist() == [[1, 2, -1], [1, 2, -1]]


def test_every_instance_is_warmed_up(tmp_path: Path) -> None:
    config = TENSORS + "instance_group { count: 3 }" + entry(ZERO, ZERO, ZERO, ZERO, "count: 2")
    folder = models.write_python(tmp_path, "m", RECORDER, config=config)
    assert len(warmed(Engine(transport_threads=0), folder)) == 6


def test_models_without_entries_compute_zeros_once(tmp_path: Path) -> None:
    engine = FakeEngine()
    folder = models.write(tmp_path, "m", models.mlp(), config="instance_group { count: 2 }")
    loaded: LoadedVersion = load_path(cast(Engine, engine), folder)
    assert engine.added[0].warm_ups == 2
    loaded.close()


def test_python_models_without_entries_do_not(tmp_path: Path) -> None:
    folder = models.write_python(tmp_path, "m", RECORDER, config=TENSORS)
    assert warmed(Engine(transport_threads=0), folder) == []


def test_models_that_refuse_zeros_are_served_all_the_same(tmp_path: Path) -> None:
    """Reshape to a length that is in the data fails for zeros."""
    from onnx import helper

    data = models.model(
        [helper.make_node("Reshape", ["x", "shape"], ["y"])],
        [models.tensor("x", "FP32", [4]), models.tensor("shape", "INT64", [2])],
        [models.tensor("y", "FP32", ["a", "b"])],
    )
    loaded = load_path(Engine(transport_threads=0), models.write(tmp_path, "m", data))
    assert loaded.spec.name == "m"
    loaded.close()


CASES = [
    (
        entry(ZERO, ZERO, ZERO, ZERO, "batch_size: 5"),
        "batch_size is 5, expected 1 to 4",
    ),
    (
        entry(ZERO, ZERO, ZERO, ZERO, "count: 1000000"),
        "count is 1000000, expected 10000 at most",
    ),
    (
        entry(ZERO, ZERO, ZERO, ZERO).replace('key: "k"', 'key: "q"'),
        "input 'q' is not in the model, expected 'x', 'text', 'k', 'b'",
    ),
    ('model_warmup { name: "w" }', "input 'x' is missing"),
    (
        entry(ZERO, ZERO, ZERO, ZERO).replace("TYPE_INT8", "TYPE_INT16"),
        "input 'k' is TYPE_INT16, the model has TYPE_INT8",
    ),
    (
        entry(ZERO, ZERO, ZERO, ZERO).replace("dims: [ 2, 3 ]", "dims: [ 3, 3 ]"),
        "input 'x' has dims [3, 3], the model has [2, -1]",
    ),
    (
        entry(ZERO, ZERO, ZERO, ZERO).replace("dims: [ 2, 3 ]", "dims: [ 2, -1 ]"),
        "input 'x' has dims [2, -1], the model has [2, -1]",
    ),
    (
        entry("", ZERO, ZERO, ZERO),
        "input 'x' has no zero_data, random_data or input_data_file",
    ),
    (
        entry('input_data_file: "nowhere"', ZERO, ZERO, ZERO),
        "input 'x': warmup/nowhere: No such file or directory",
    ),
    (
        entry('input_data_file: "../config.pbtxt"', ZERO, ZERO, ZERO),
        "input 'x': '../config.pbtxt', expected a file in the folder 'warmup'",
    ),
    (
        entry('input_data_file: "short"', ZERO, ZERO, ZERO, "batch_size: 2"),
        "input 'x': warmup/short has 5 bytes, expected 24 for a row or 48",
    ),
    (
        entry('input_data_file: "short"', ZERO, ZERO, ZERO),
        "input 'x': warmup/short has 5 bytes, expected 24 for the batch",
    ),
    (
        entry(ZERO, 'input_data_file: "short"', ZERO, ZERO),
        "input 'text': the string at byte 0 is cut off",
    ),
]


@pytest.mark.parametrize(("text", "error"), CASES)
def test_entries_that_do_not_fit(tmp_path: Path, text: str, error: str) -> None:
    folder = models.write_python(tmp_path, "m", RECORDER, config=TENSORS + text)
    models.put(folder / "warmup" / "short", b"\1\2\3\4\5")
    with pytest.raises(LoadError) as raised:
        load_path(cast(Engine, FakeEngine()), folder)
    assert str(raised.value) == f"model_warmup 'w': {error}"


def test_a_model_that_fails_on_its_entry_is_not_served(tmp_path: Path) -> None:
    config = """model_warmup { name: "beyond" inputs { key: "index" value {
      data_type: TYPE_INT64 dims: 1 input_data_file: "index" } } }"""
    folder = models.write(tmp_path, "m", models.lookup(), config=config)
    models.put(folder / "warmup" / "index", np.array([99]).tobytes())
    with pytest.raises(LoadError, match=r"^model_warmup 'beyond': .*out of data bounds"):
        load_path(Engine(transport_threads=0), folder)
