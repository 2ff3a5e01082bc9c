"""penstock.load: a model in this process, without sockets."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import penstock
from penstock import LoadError, RequestError
from tests import models

INVALID_ARGUMENT, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE = 3, 4, 13, 14

SLOW = """
import time

class Model:
    def infer(self, inputs):
        time.sleep(0.05)
        if (inputs["x"] == 13).any():
            raise ValueError("thirteen")
        return {"y": inputs["x"]}
"""
SLOW_CONFIG = """
backend: "python"
max_batch_size: 64
input { name: "x" data_type: TYPE_FP32 dims: 1 }
output { name: "y" data_type: TYPE_FP32 dims: 1 }
"""


@pytest.fixture
def plus(tmp_path: Path) -> Path:
    return models.write(tmp_path, "plus", models.add_constant(1.0))


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    return models.write_python(tmp_path, "slow", SLOW, config=SLOW_CONFIG)


def row(*values: float) -> np.ndarray[Any, Any]:
    return np.array([values], np.float32)


def test_infer(plus: Path) -> None:
    with penstock.load(plus) as model:
        answer = model.infer({"x": row(1, 2)})
        assert list(answer) == ["y"]
        assert answer["y"].dtype == np.float32
        np.testing.assert_array_equal(answer["y"], [[2, 3]])
        # What is no array is converted.
        np.testing.assert_array_equal(model.infer({"x": [[1, 2], [3, 4]]})["y"], [[2, 3], [4, 5]])


def test_what_it_is(plus: Path) -> None:
    with penstock.load(str(plus)) as model:
        (x,), (y,) = model.inputs, model.outputs
        assert (x.name, x.datatype, x.dims) == ("x", "FP32", (2,))
        assert (y.name, y.datatype, y.dims) == ("y", "FP32", (2,))
        assert (model.spec.name, model.spec.version) == ("plus", 1)
        assert repr(model) == "<LocalModel 'plus' version 1: x FP32[2]>"


def test_a_bare_file(plus: Path) -> None:
    with penstock.load(plus / "1" / "model.onnx") as model:
        assert (model.spec.name, model.spec.version) == ("model", 1)
        np.testing.assert_array_equal(model.infer({"x": row(0, 0)})["y"], [[1, 1]])


def test_the_newest_version_is_taken(plus: Path) -> None:
    models.write(plus.parent, "plus", models.add_constant(10.0), version=10)
    models.write(plus.parent, "plus", models.add_constant(9.0), version=9)
    with penstock.load(plus) as model:
        assert model.spec.version == 10
        np.testing.assert_array_equal(model.infer({"x": row(0, 0)})["y"], [[10, 10]])


def test_a_config_of_the_callers(plus: Path) -> None:
    with penstock.load(plus, config='{"max_batch_size": 3}') as model:
        assert model.spec.batching.max_batch_size == 3
        with pytest.raises(RequestError, match="4") as error:
            model.infer({"x": np.zeros((4, 2), np.float32)})
        assert error.value.code == INVALID_ARGUMENT


@pytest.mark.parametrize("datatype", ["BYTES", "BF16", "BOOL", "INT8", "FP16", "FP64", "UINT64"])
def test_datatypes(tmp_path: Path, datatype: str) -> None:
    values: Any = {
        "BYTES": np.array([[b"a", b"", "grün\0".encode()]], object),
        "BF16": np.array([[0x3F80, 0, 0x7FC0]], np.uint16),
    }.get(datatype)
    if values is None:
        numpy_name = {"FP": "float", "BO": "bool_", "IN": "int", "UI": "uint"}[datatype[:2]]
        bits = datatype.lstrip("FPUINTBOL")
        values = np.array([[1, 0, 1]]).astype(f"{numpy_name}{bits}")
    path = models.write(tmp_path, "same", models.identity(datatype))
    with penstock.load(path) as model:
        answer = model.infer({"x": values})["y"]
        assert answer.dtype == values.dtype
        assert answer.tolist() == values.tolist()


def test_lists_become_the_datatype_of_the_input(tmp_path: Path) -> None:
    path = models.write(tmp_path, "text", models.strings_and_numbers())
    with penstock.load(path) as model:
        answer = model.infer({"text": [["grün", b"red"]], "x": [[1]]})
        assert answer["same"].tolist() == [["grün".encode(), b"red"]]
        assert answer["y"].tolist() == [[1.0]]


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        (
            {"x": np.zeros((1, 2))},
            "input 'x' of model 'plus' has dtype float64, expected float32 (FP32)",
        ),
        ({"z": [1]}, "model 'plus': no input 'z'; its inputs are 'x'"),
    ],
)
def test_bad_input(plus: Path, inputs: dict[str, Any], text: str) -> None:
    with penstock.load(plus) as model:
        with pytest.raises(RequestError) as error:
            model.infer(inputs)
        assert (error.value.code, error.value.message) == (INVALID_ARGUMENT, text)
        np.testing.assert_array_equal(model.infer({"x": row(0, 0)})["y"], [[1, 1]])


def test_what_cannot_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="nowhere: no such folder or file"):
        penstock.load(tmp_path / "nowhere")
    with pytest.raises(LoadError, match=r"model.onnx"):
        penstock.load(models.write(tmp_path, "broken", b"not a model"))


def test_threads_share_batches(slow: Path) -> None:
    with penstock.load(slow) as model:
        answers: dict[int, float] = {}

        def ask(value: int) -> None:
            answers[value] = float(model.infer({"x": row(value)})["y"][0, 0])

        threads = [threading.Thread(target=ask, args=(value,)) for value in range(100, 132)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == {value: float(value) for value in range(100, 132)}
        statistics = model.statistics()
        assert statistics["success"] == statistics["inference_count"] == 32
        assert statistics["execution_count"] < 32


def test_submit(slow: Path) -> None:
    with penstock.load(slow) as model:
        done = threading.Event()
        request = model.submit({"x": row(5)})
        request.add_done_callback(lambda _: done.set())
        assert not request.done()
        assert done.wait(10)
        assert request.done()
        assert request.result()["y"].tolist() == [[5.0]]


def test_a_failure_is_its_own_requests_alone(slow: Path) -> None:
    with penstock.load(slow) as model:
        with pytest.raises(RequestError) as error:
            model.infer({"x": row(13)})
        assert error.value.code == INTERNAL
        assert "thirteen" in error.value.message
        assert model.infer({"x": row(12)})["y"].tolist() == [[12.0]]


def test_a_deadline_in_the_queue(slow: Path) -> None:
    with penstock.load(slow) as model:
        running = model.submit({"x": row(1)})
        while model.statistics()["queue_depth"] > 0:
            time.sleep(0.001)
        late = model.submit({"x": row(2)}, timeout_s=0.001)
        with pytest.raises(RequestError) as error:
            late.result(10)
        assert error.value.code == DEADLINE_EXCEEDED
        assert running.result()["y"].tolist() == [[1.0]]
        # It was never computed.
        assert model.statistics()["inference_count"] == 1


def test_a_deadline_while_it_is_computed(slow: Path) -> None:
    with penstock.load(slow) as model:
        for ask in (
            lambda: model.infer({"x": row(2)}, timeout_s=0.01),
            lambda: asyncio.run(model.infer_async({"x": row(2)}, timeout_s=0.01)),
        ):
            with pytest.raises(RequestError) as error:
                ask()
            assert error.value.code == DEADLINE_EXCEEDED
        assert model.infer({"x": row(3)}, timeout_s=60)["y"].tolist() == [[3.0]]


def test_many_at_once_on_a_loop(slow: Path) -> None:
    async def ask(model: penstock.LocalModel) -> list[float]:
        answers = await asyncio.gather(*(model.infer_async({"x": row(i)}) for i in range(100, 150)))
        return [float(answer["y"][0, 0]) for answer in answers]

    with penstock.load(slow) as model:
        assert asyncio.run(ask(model)) == [float(i) for i in range(100, 150)]
        assert model.statistics()["execution_count"] < 10


def test_cancelling_takes_a_request_out_of_the_queue(slow: Path) -> None:
    async def ask(model: penstock.LocalModel) -> None:
        first = asyncio.create_task(model.infer_async({"x": row(1)}))
        await asyncio.sleep(0.02)
        second = asyncio.create_task(model.infer_async({"x": row(2)}))
        await asyncio.sleep(0)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        assert (await first)["y"].tolist() == [[1.0]]

    with penstock.load(slow) as model:
        asyncio.run(ask(model))
        # The queue is empty: the next request is not behind another one.
        assert model.infer({"x": row(3)})["y"].tolist() == [[3.0]]
        statistics = model.statistics()
        assert statistics["inference_count"] == 2
        assert statistics["failure"]["cancelled"] == 1


def test_close_computes_what_is_queued_and_takes_no_more(slow: Path) -> None:
    model = penstock.load(slow)
    requests = [model.submit({"x": row(i)}) for i in range(3)]
    model.close()
    assert [request.result(0)["y"].tolist() for request in requests] == [[[0.0]], [[1.0]], [[2.0]]]
    with pytest.raises(RequestError) as error:
        model.infer({"x": row(1)})
    assert error.value.code == UNAVAILABLE
    model.close()


def test_a_loop_that_ended_first(slow: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def leave(model: penstock.LocalModel) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(model.infer_async({"x": row(1)}), 0.01)

    with penstock.load(slow) as model:
        asyncio.run(leave(model))
        give_up = time.monotonic() + 10
        while model.statistics()["in_flight"] > 0:
            assert time.monotonic() < give_up
            time.sleep(0.01)
    assert caplog.records == []
