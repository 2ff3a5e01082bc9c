"""Every datatype goes there and back, raw and typed, through each client."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.grpc import service_pb2 as pb

from tests.conformance import wire

EXTREMES: dict[str, list[Any]] = {
    "BOOL": [True, False, True, True],
    "INT8": [-128, 127, 0, -1],
    "INT16": [-(2**15), 2**15 - 1, 0, -1],
    "INT32": [-(2**31), 2**31 - 1, 0, -1],
    "INT64": [-(2**63), 2**63 - 1, 0, -1],
    "UINT8": [0, 255, 1, 128],
    "UINT16": [0, 65535, 1, 2],
    "UINT32": [0, 2**32 - 1, 1, 2],
    "UINT64": [0, 2**64 - 1, 1, 2],
    "FP16": [0.5, -np.inf, 6.1e-5, -0.0],
    "BF16": [0x3F80, 0xFF80, 1, 0x8000],
    "FP32": [1e-45, np.inf, -0.0, 3.4e38],
    "FP64": [5e-324, -np.inf, -0.0, 1.7e308],
    "BYTES": [b"", b"a", "h\N{LATIN SMALL LETTER E WITH ACUTE}llo".encode(), b"x" * 1000],
}


def array_of(datatype: str) -> np.ndarray:
    if datatype == "BYTES":
        array = np.empty(4, object)
        array[:] = EXTREMES[datatype]
        return array.reshape(2, 2)
    return np.array(EXTREMES[datatype], wire.DTYPES[datatype]).reshape(2, 2)


def same(a: np.ndarray, b: np.ndarray) -> None:
    assert a.shape == b.shape
    assert wire.raw(a) == wire.raw(b)


@pytest.mark.parametrize("datatype", EXTREMES)
def test_raw(channel: grpc.Channel, datatype: str) -> None:
    array = array_of(datatype)
    response = wire.infer(channel, wire.request(f"echo_{datatype.lower()}", datatype, array))
    assert response.outputs[0].name == "y"
    assert response.outputs[0].datatype == datatype
    same(wire.answer(response), array)


@pytest.mark.parametrize("datatype", wire.CONTENTS)
def test_typed_contents(channel: grpc.Channel, datatype: str) -> None:
    array = array_of(datatype)
    message = pb.ModelInferRequest(model_name=f"echo_{datatype.lower()}")
    tensor = message.inputs.add(name="x", datatype=datatype, shape=array.shape)
    getattr(tensor.contents, wire.CONTENTS[datatype]).extend(array.reshape(-1).tolist())
    same(wire.answer(wire.infer(channel, message)), array)


@pytest.mark.parametrize("datatype", [name for name in EXTREMES if name != "BF16"])
def test_tritonclient(address: str, datatype: str) -> None:
    array = array_of(datatype)
    tensor = triton.InferInput("x", array.shape, datatype)
    tensor.set_data_from_numpy(array)
    with triton.InferenceServerClient(address) as client:
        result = client.infer(f"echo_{datatype.lower()}", [tensor])
    same(result.as_numpy("y"), array)


def test_tritonclient_aio(address: str) -> None:
    async def ask() -> list[np.ndarray]:
        async with triton_aio.InferenceServerClient(address) as client:

            async def one(value: int) -> np.ndarray:
                array = np.full((1, 3), value, np.float32)
                tensor = triton_aio.InferInput("x", array.shape, "FP32")
                tensor.set_data_from_numpy(array)
                return (await client.infer("echo_fp32", [tensor])).as_numpy("y")

            return await asyncio.gather(*(one(value) for value in range(100)))

    for value, result in enumerate(asyncio.run(ask())):
        same(result, np.full((1, 3), value, np.float32))


@pytest.mark.parametrize("algorithm", ["gzip"])
def test_compressed_both_ways(address: str, algorithm: str) -> None:
    array = np.zeros((8, 10_000), np.float32)
    tensor = triton.InferInput("x", array.shape, "FP32")
    tensor.set_data_from_numpy(array)
    with triton.InferenceServerClient(address) as client:
        result = client.infer("echo_fp32", [tensor], compression_algorithm=algorithm)
    same(result.as_numpy("y"), array)


def test_a_message_far_larger_than_a_window(channel: grpc.Channel) -> None:
    array = np.arange(8 << 20, dtype=np.float32).reshape(8, 1 << 20)
    response = wire.infer(channel, wire.request("echo_fp32", "FP32", array), timeout=60)
    assert np.array_equal(wire.answer(response), array)


def test_no_elements(channel: grpc.Channel) -> None:
    array = np.empty((2, 0), np.float32)
    same(wire.answer(wire.infer(channel, wire.request("echo_fp32", "FP32", array))), array)


def test_only_equal_shapes_share_a_batch(channel: grpc.Channel) -> None:
    call = channel.unary_unary(
        wire.SERVICE + "ModelInfer", response_deserializer=pb.ModelInferResponse.FromString
    )
    arrays = [np.full((1 + i % 3, 1 + i % 7), i, np.float32) for i in range(200)]
    futures = [
        call.future(wire.request("echo_fp32", "FP32", array).SerializeToString(), timeout=10)
        for array in arrays
    ]
    for array, future in zip(arrays, futures, strict=True):
        same(wire.answer(future.result()), array)
