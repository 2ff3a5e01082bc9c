"""Models that are Python classes, through the core."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from penstock._native.engine import RequestError, submit
from penstock.backends.base import LoadError
from penstock.repository import LoadedVersion
from tests import models
from tests.backends.conftest import Load

CONFIG = """
backend: "python"
max_batch_size: 8
input { name: "x" data_type: TYPE_FP32 dims: 2 }
output { name: "y" data_type: TYPE_FP32 dims: 2 }
"""


def infer(loaded: LoadedVersion, parameters: dict[str, Any] | None = None, **inputs: Any) -> Any:
    return submit(loaded.version, inputs, parameters=parameters).result(10)


def row(*values: float) -> Any:
    return np.array([values], np.float32)


def test_a_class_with_infer(tmp_path: Path, load: Load) -> None:
    source = """
class Model:
    def infer(self, inputs):
        return {"y": inputs["x"] * 2}
"""
    loaded = load(models.write_python(tmp_path, "m", source, config=CONFIG))
    assert (loaded.backend, loaded.platform) == ("python", "python")
    assert infer(loaded, x=row(1, 2))["y"].tolist() == [[2, 4]]
    assert not loaded.spec.parameters_matter


def test_load_sees_the_context_and_runs_before_infer(tmp_path: Path, load: Load) -> None:
    source = """
import numpy as np

class Model:
    def load(self, context):
        assert (context.name, context.version) == ("m", 3)
        self.shift = np.float32(context.parameters["shift"])
        self.weights = np.load(context.folder / "weights.npy")

    def infer(self, inputs):
        return {"y": inputs["x"] * self.weights + self.shift}
"""
    config = CONFIG + 'parameters { key: "shift" value { string_value: "10" } }'
    folder = models.write_python(tmp_path, "m", source, config=config, version=3)
    np.save(folder / "3" / "weights.npy", np.array([1, -1], np.float32))
    assert infer(load(folder), x=row(1, 2))["y"].tolist() == [[11, 8]]


def test_load_without_arguments_and_unload(tmp_path: Path, load: Load) -> None:
    source = """
from pathlib import Path

class Model:
    def load(self):
        self.log = Path(__file__).with_name("log.txt")

    def infer(self, inputs):
        return {"y": inputs["x"]}

    def unload(self):
        self.log.write_text("unloaded")
"""
    folder = models.write_python(tmp_path, "m", source, config=CONFIG)
    loaded = load(folder)
    infer(loaded, x=row(0, 0))
    assert not (folder / "1" / "log.txt").exists()
    loaded.close()
    assert loaded.join(10)
    assert (folder / "1" / "log.txt").read_text() == "unloaded"


def test_parameters_reach_models_that_take_them(tmp_path: Path, load: Load) -> None:
    source = """
import numpy as np

class Model:
    def infer(self, inputs, parameters):
        return {"y": inputs["x"] + np.float32(parameters.get("shift", 0))}
"""
    loaded = load(models.write_python(tmp_path, "m", source, config=CONFIG))
    assert loaded.spec.parameters_matter
    requests = [
        submit(loaded.version, {"x": row(i, i)}, parameters={"shift": i % 3}) for i in range(60)
    ]
    for i, request in enumerate(requests):
        assert request.result(10)["y"].tolist() == [[i + i % 3] * 2]
    assert infer(loaded, x=row(1, 1))["y"].tolist() == [[1, 1]]


def test_each_instance_has_its_own_object(tmp_path: Path, load: Load) -> None:
    source = """
import threading
import numpy as np

both = threading.Barrier(2)

class Model:
    def infer(self, inputs):
        # Passes only if two run at the same time.
        both.wait(10)
        return {"y": inputs["x"]}
"""
    config = CONFIG.replace("max_batch_size: 8", "max_batch_size: 1") + (
        "instance_group { count: 2 }"
    )
    loaded = load(models.write_python(tmp_path, "m", source, config=config))
    requests = [submit(loaded.version, {"x": row(i, i)}) for i in range(6)]
    assert [request.result(20)["y"][0, 0] for request in requests] == list(range(6))


def test_strings_bf16_and_optional_inputs(tmp_path: Path, load: Load) -> None:
    source = """
import numpy as np

class Model:
    def infer(self, inputs):
        text = inputs["text"]
        assert text.dtype == object and all(type(word) is bytes for word in text.flat)
        number = inputs.get("number", np.zeros(len(text), np.uint16))
        upper = np.array([word.upper() for word in text.flat], object).reshape(text.shape)
        return {"upper": upper, "same": number, "count": [len(word) for word in text.flat]}
"""
    config = """
backend: "python"
max_batch_size: 8
input [ { name: "text" data_type: TYPE_STRING dims: 1 },
        { name: "number" data_type: TYPE_BF16 dims: [ ] optional: true } ]
output [ { name: "upper" data_type: TYPE_STRING dims: 1 },
         { name: "same" data_type: TYPE_BF16 },
         { name: "count" data_type: TYPE_INT64 } ]
"""
    loaded = load(models.write_python(tmp_path, "m", source, config=config))
    text = np.array([[b"ab"], [b"\xff"]], object)
    answer = infer(loaded, text=text, number=np.array([7, 9], np.uint16))
    assert answer["upper"].tolist() == [[b"AB"], [b"\xff"]]
    assert answer["same"].tolist() == [7, 9]
    assert answer["count"].tolist() == [2, 1]
    assert infer(loaded, text=text)["same"].tolist() == [0, 0]


def test_reshape(tmp_path: Path, load: Load) -> None:
    source = """
class Model:
    def infer(self, inputs):
        assert inputs["x"].shape[1:] == (2, 2), inputs["x"].shape
        return {"y": inputs["x"].transpose(0, 2, 1)}
"""
    config = """
backend: "python"
max_batch_size: 8
input { name: "x" data_type: TYPE_FP32 dims: 4 reshape { shape: [ 2, 2 ] } }
output { name: "y" data_type: TYPE_FP32 dims: 4 reshape { shape: [ 2, 2 ] } }
"""
    loaded = load(models.write_python(tmp_path, "m", source, config=config))
    assert infer(loaded, x=row(1, 2, 3, 4))["y"].tolist() == [[1, 3, 2, 4]]


def test_an_exception_fails_its_batch_and_is_logged(
    tmp_path: Path, load: Load, caplog: pytest.LogCaptureFixture
) -> None:
    source = """
class Model:
    def infer(self, inputs):
        if inputs["x"][0, 0] < 0:
            raise ValueError("negative")
        return {"y": inputs["x"]}
"""
    loaded = load(models.write_python(tmp_path, "m", source, config=CONFIG))
    with caplog.at_level(logging.ERROR), pytest.raises(RequestError) as raised:
        infer(loaded, x=row(-1, 0))
    assert raised.value.code == 13
    assert raised.value.message == "model 'm': ValueError: negative"
    assert "raise ValueError" in caplog.text
    assert infer(loaded, x=row(1, 0))["y"].tolist() == [[1, 0]]


def test_a_request_error_chooses_the_code(tmp_path: Path, load: Load) -> None:
    source = """
from penstock import RequestError

class Model:
    def infer(self, inputs):
        raise RequestError(3, "too red")
"""
    loaded = load(models.write_python(tmp_path, "m", source, config=CONFIG))
    with pytest.raises(RequestError) as raised:
        infer(loaded, x=row(1, 1))
    assert (raised.value.code, raised.value.message) == (3, "too red")


@pytest.mark.parametrize(
    ("result", "error"),
    [
        ("None", "infer returned NoneType, expected a mapping"),
        ("{}", "infer returned outputs [], expected ['y']"),
        ("{'y': inputs['x'], 'z': 1}", "infer returned outputs ['y', 'z'], expected ['y']"),
        ("{'y': inputs['x'].astype('f8')}", "dtype float64, expected float32 (FP32)"),
        ("{'y': inputs['x'][:, :1]}", "shape [1,1], expected [1,2]"),
        ("{'y': inputs['x'][:0]}", "shape [0,2], expected [1,2]"),
    ],
)
def test_results_are_checked(tmp_path: Path, load: Load, result: str, error: str) -> None:
    source = f"class Model:\n    def infer(self, inputs):\n        return {result}\n"
    loaded = load(models.write_python(tmp_path, "m", source, config=CONFIG))
    with pytest.raises(RequestError) as raised:
        infer(loaded, x=row(1, 1))
    assert raised.value.code == 13
    assert error.replace(" ", "") in raised.value.message.replace(" ", "")


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("x = 1", r"^model\.py: expected a class 'Model' with a method 'infer'$"),
        ("class Model: pass", r"^model\.py: expected a class 'Model' with a method 'infer'$"),
        ("import nowhere_at_all", r"^model\.py: ModuleNotFoundError: .*nowhere_at_all"),
        ("def broken(:", r"^model\.py: SyntaxError: "),
        (
            "class Model:\n  def load(self): raise OSError('no disk')\n  def infer(self, i): ...",
            r"^Model\.load: OSError: no disk$",
        ),
    ],
)
def test_models_that_do_not_load(tmp_path: Path, load: Load, source: str, error: str) -> None:
    before = set(sys.modules)
    folder = models.write_python(tmp_path, "m", source, config=CONFIG)
    with pytest.raises(LoadError, match=error):
        load(folder)
    assert not [name for name in set(sys.modules) - before if name.startswith("penstock_model_")]


def test_python_models_are_not_placed_on_gpus(tmp_path: Path, load: Load) -> None:
    source = "class Model:\n    def infer(self, inputs): ..."
    config = CONFIG + "instance_group { kind: KIND_GPU }"
    with pytest.raises(LoadError, match="KIND_GPU came for a Python model, expected KIND_CPU"):
        load(models.write_python(tmp_path, "m", source, config=config))


def test_versions_are_modules_of_their_own_with_neighbours(tmp_path: Path, load: Load) -> None:
    source = """
from .helper import SHIFT

class Model:
    def infer(self, inputs):
        return {"y": inputs["x"] + SHIFT}
"""
    for version in (1, 2):
        folder = models.write_python(tmp_path, "m", source, config=CONFIG, version=version)
        models.put(folder / str(version) / "helper.py", f"SHIFT = {version * 10}".encode())
    first = load(folder, CONFIG + "version_policy { specific { versions: 1 } }")
    second = load(folder)
    assert infer(first, x=row(0, 0))["y"].tolist() == [[10, 10]]
    assert infer(second, x=row(0, 0))["y"].tolist() == [[20, 20]]


@pytest.mark.parametrize("raised", ["SystemExit(3)", "GeneratorExit()", "MemoryError()"])
@pytest.mark.parametrize("where", ["module", "init", "load"])
def test_what_ends_a_program_ends_a_load(
    tmp_path: Path, load: Load, raised: str, where: str
) -> None:
    source = f"""
def fail(here):
    if here == {where!r}:
        raise {raised}

fail("module")

class Model:
    def __init__(self):
        fail("init")

    def load(self):
        fail("load")

    def infer(self, inputs):
        return {{"y": inputs["x"]}}
"""
    with pytest.raises(LoadError, match=raised.partition("(")[0]):
        load(models.write_python(tmp_path, "m", source, config=CONFIG))


def test_what_ends_a_program_ends_no_executor(tmp_path: Path, load: Load) -> None:
    source = """
import sys

class Model:
    def infer(self, inputs):
        if inputs["x"][0, 0] < 0:
            sys.exit("enough")
        return {"y": inputs["x"]}

    def unload(self):
        sys.exit("at last")
"""
    loaded = load(models.write_python(tmp_path, "m", source, config=CONFIG))
    with pytest.raises(RequestError, match="SystemExit: enough"):
        infer(loaded, x=row(-1, 0))
    assert infer(loaded, x=row(1, 2))["y"].tolist() == [[1, 2]]


@pytest.mark.parametrize(
    "method",
    [
        "@staticmethod\n    def infer(inputs, parameters)",
        "@classmethod\n    def infer(cls, inputs, parameters)",
        "def infer(self, inputs, scale=1, *, parameters)",
    ],
)
def test_parameters_are_known_by_their_name(tmp_path: Path, load: Load, method: str) -> None:
    source = f"""
class Model:
    {method}:
        return {{"y": inputs["x"] * parameters["factor"]}}
"""
    loaded = load(models.write_python(tmp_path, "m", source, config=CONFIG))
    assert loaded.spec.parameters_matter
    assert infer(loaded, {"factor": 3}, x=row(1, 2))["y"].tolist() == [[3, 6]]


def test_another_argument_is_not_the_parameters(tmp_path: Path, load: Load) -> None:
    source = """
class Model:
    def infer(self, inputs, scale=2):
        return {"y": inputs["x"] * scale}
"""
    loaded = load(models.write_python(tmp_path, "m", source, config=CONFIG))
    assert not loaded.spec.parameters_matter
    assert infer(loaded, x=row(1, 2))["y"].tolist() == [[2, 4]]
