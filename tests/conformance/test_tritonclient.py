"""Triton's own Python client: blocking, with callbacks, on asyncio, streams of both."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import InferenceServerException

from tests.conformance import wire
from tests.conformance.test_datatypes import EXTREMES, extremes


@pytest.fixture
def client(address: str) -> Iterator[Any]:
    with triton.InferenceServerClient(address) as open_client:
        yield open_client


def tensor(array: np.ndarray, datatype: str = "FP32") -> Any:
    made = triton.InferInput("x", array.shape, datatype)
    made.set_data_from_numpy(array)
    return made


def full(value: float) -> Any:
    return tensor(np.full((1, 3), value, np.float32))


# The client's releases do not agree on what BF16 is in NumPy.
@pytest.mark.parametrize("datatype", [name for name in EXTREMES if name != "BF16"])
def test_datatypes(client: Any, datatype: str) -> None:
    array = extremes(datatype)
    result = client.infer(f"echo_{datatype.lower()}", [tensor(array, datatype)]).as_numpy("y")
    assert result.shape == array.shape
    assert wire.raw(result) == wire.raw(array)


def test_what_a_call_can_be_told(client: Any) -> None:
    inputs = []
    for name, value in (("a", 5), ("b", 2)):
        inputs.append(triton.InferInput(name, (1, 4), "FP32"))
        inputs[-1].set_data_from_numpy(np.full((1, 4), value, np.float32))
    result = client.infer(
        "pair",
        inputs,
        model_version="1",
        outputs=[triton.InferRequestedOutput("difference")],
        request_id="told",
        priority=0,
        timeout=10_000_000,
        client_timeout=10,
        headers={"x-note": "anything", "x-data-bin": b"\0\xff"},
        parameters={"tag": "blue"},
    )
    assert (result.as_numpy("difference") == 3).all()
    assert result.as_numpy("sum") is None
    assert result.get_response().id == "told"


def test_classes(client: Any) -> None:
    array = np.array([[0.5, 3, -2, 1]], np.float32)
    output = triton.InferRequestedOutput("y", class_count=2)
    result = client.infer("labelled", [tensor(array)], outputs=[output]).as_numpy("y")
    assert [item.decode().split(":")[2] for item in result.reshape(-1)] == ["birch", "elm"]


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compression(client: Any, strict: bool, algorithm: str) -> None:
    """deflate is no must: gRPC has UNIMPLEMENTED for it."""
    array = np.zeros((8, 10_000), np.float32)
    try:
        result = client.infer("echo_fp32", [tensor(array)], compression_algorithm=algorithm)
    except InferenceServerException as error:
        assert (algorithm, error.status()) == ("deflate", "StatusCode.UNIMPLEMENTED")
        return
    assert not (strict and algorithm == "deflate")
    np.testing.assert_array_equal(result.as_numpy("y"), array)


def test_errors(client: Any) -> None:
    for _ in range(3):
        with pytest.raises(InferenceServerException, match="nobody") as error:
            client.infer("nobody", [full(1)])
        assert error.value.status() == "StatusCode.NOT_FOUND"
        assert (client.infer("echo_fp32", [full(1)]).as_numpy("y") == 1).all()


def test_callbacks(client: Any) -> None:
    results: queue.Queue[tuple[Any, Any]] = queue.Queue()
    for i in range(100):
        client.async_infer(
            "echo_fp32",
            [full(i)],
            callback=lambda result, error: results.put((result, error)),
            request_id=str(i),
        )
    for _ in range(100):
        result, error = results.get(timeout=10)
        assert error is None
        assert (result.as_numpy("y") == int(result.get_response().id)).all()


def test_a_stream(client: Any) -> None:
    results: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.start_stream(lambda result, error: results.put((result, error)))
    for i in range(200):
        model = "nobody" if i == 77 else "echo_fp32"
        client.async_stream_infer(model, [full(i)], request_id=str(i))
    errors = 0
    for _ in range(200):
        result, error = results.get(timeout=10)
        if error is not None:
            assert "nobody" in error.message()
            errors += 1
        else:
            assert (result.as_numpy("y") == int(result.get_response().id)).all()
    assert errors == 1
    client.stop_stream()


def test_a_streams_last_answer_says_so(client: Any) -> None:
    """``triton_final_response``: a client of decoupled models waits for it."""
    results: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.start_stream(lambda result, error: results.put((result, error)))
    client.async_stream_infer("echo_fp32", [full(1)], enable_empty_final_response=True)
    result, error = results.get(timeout=10)
    assert error is None
    assert result.get_response().parameters["triton_final_response"].bool_param
    client.stop_stream()


def test_asyncio(address: str) -> None:
    async def one(client: Any, value: int) -> np.ndarray:
        return (await client.infer("echo_fp32", [full(value)])).as_numpy("y")

    async def ask() -> list[np.ndarray]:
        async with triton_aio.InferenceServerClient(address) as client:
            assert await client.is_server_ready()
            assert not await client.is_model_ready("nobody")
            return await asyncio.gather(*(one(client, value) for value in range(100)))

    for value, result in enumerate(asyncio.run(ask())):
        assert (result == value).all()


def test_a_stream_on_asyncio(address: str) -> None:
    async def requests() -> AsyncIterator[dict[str, Any]]:
        for i in range(100):
            yield {"model_name": "echo_fp32", "inputs": [full(i)], "request_id": str(i)}

    async def ask() -> set[str]:
        seen = set()
        async with triton_aio.InferenceServerClient(address) as client:
            async for result, error in client.stream_infer(requests()):
                assert error is None
                response = result.get_response()
                assert (result.as_numpy("y") == int(response.id)).all()
                seen.add(response.id)
        return seen

    assert asyncio.run(ask()) == {str(i) for i in range(100)}
