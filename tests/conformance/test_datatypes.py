"""Every datatype goes there and back, raw and typed, in every shape a tensor may have."""

from __future__ import annotations

from typing import Any

import grpc
import numpy as np
import pytest
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
NOT_A_NUMBER = {
    "FP16": 0x7E55,
    "BF16": 0x7FD5,
    "FP32": 0x7FC55555,
    "FP64": 0x7FF8555555555555,
}
"""Quiet, with a payload that must come back as well."""


def texts(*items: bytes) -> np.ndarray:
    array = np.empty(len(items), object)
    array[:] = items
    return array


def extremes(datatype: str) -> np.ndarray:
    """[2, 2]."""
    if datatype == "BYTES":
        return texts(*EXTREMES[datatype]).reshape(2, 2)
    return np.array(EXTREMES[datatype], wire.DTYPES[datatype]).reshape(2, 2)


def echo(channel: grpc.Channel, datatype: str, array: np.ndarray, **more: Any) -> None:
    """The same comes back, byte for byte."""
    model = more.pop("model", f"echo_{datatype.lower()}")
    response = wire.infer(channel, wire.request(model, datatype, array), **more)
    (output,) = response.outputs
    assert (output.name, output.datatype) == ("y", datatype)
    assert tuple(output.shape) == array.shape
    assert response.raw_output_contents[0] == wire.raw(array)


def typed(datatype: str, array: np.ndarray) -> Any:
    """A request with the values in InferTensorContents."""
    message = pb.ModelInferRequest(model_name=f"echo_{datatype.lower()}")
    tensor = message.inputs.add(name="x", datatype=datatype, shape=array.shape)
    getattr(tensor.contents, wire.CONTENTS[datatype]).extend(array.reshape(-1).tolist())
    return message


@pytest.mark.parametrize("datatype", EXTREMES)
def test_raw(channel: grpc.Channel, datatype: str) -> None:
    echo(channel, datatype, extremes(datatype))


@pytest.mark.parametrize("datatype", EXTREMES)
def test_a_full_batch(channel: grpc.Channel, datatype: str) -> None:
    echo(channel, datatype, np.tile(extremes(datatype), (4, 3)))


@pytest.mark.parametrize("datatype", wire.CONTENTS)
def test_typed_contents(channel: grpc.Channel, datatype: str) -> None:
    """Answers come raw all the same, as Triton's do."""
    array = extremes(datatype)
    response = wire.infer(channel, typed(datatype, array))
    assert response.raw_output_contents[0] == wire.raw(array)


@pytest.mark.parametrize("datatype", NOT_A_NUMBER)
def test_not_a_number_keeps_its_bits(channel: grpc.Channel, datatype: str) -> None:
    dtype = np.dtype(wire.DTYPES[datatype])
    bits = np.full((1, 3), NOT_A_NUMBER[datatype], f"<u{dtype.itemsize}")
    echo(channel, datatype, bits.view(dtype))


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_half_types_have_no_typed_contents(
    channel: grpc.Channel, strict: bool, datatype: str
) -> None:
    message = pb.ModelInferRequest(model_name=f"echo_{datatype.lower()}")
    tensor = message.inputs.add(name="x", datatype=datatype, shape=[1, 1])
    tensor.contents.fp32_contents.append(1)
    error = wire.refusal(channel, message)
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    if strict:
        assert "'x'" in error.details()
        assert datatype in error.details()


@pytest.mark.parametrize("datatype", EXTREMES)
def test_no_elements(channel: grpc.Channel, datatype: str) -> None:
    dtype = object if datatype == "BYTES" else wire.DTYPES[datatype]
    echo(channel, datatype, np.empty((2, 0), dtype))


def test_scalar_rows(channel: grpc.Channel) -> None:
    """Rows are [1] on the wire and nothing in the model."""
    for rows in (1, 5):
        echo(channel, "FP32", np.arange(rows, dtype=np.float32).reshape(rows, 1), model="scalars")


@pytest.mark.parametrize("height", [1, 2, 7])
@pytest.mark.parametrize("width", [1, 3, 640])
def test_several_dynamic_dimensions(channel: grpc.Channel, height: int, width: int) -> None:
    random = np.random.default_rng(height * width)
    array = random.integers(0, 256, (2, height, width), np.uint8)
    response = wire.infer(channel, wire.request("images", "UINT8", array))
    np.testing.assert_array_equal(wire.answer(response), array.swapaxes(1, 2))


def test_a_dynamic_dimension_without_a_batch(channel: grpc.Channel) -> None:
    """And an output whose size is in the data."""
    for array in ([0, 3, 0, 4], [1], [0, 0], []):
        values = np.array(array, np.float32)
        response = wire.infer(channel, wire.request("found", "FP32", values))
        np.testing.assert_array_equal(wire.answer(response), [values.nonzero()[0]])


def test_bytes_that_are_no_text(channel: grpc.Channel) -> None:
    items = texts(b"\xff\xfe\x00", b"", bytes(range(256)), b"\0")
    echo(channel, "BYTES", items.reshape(2, 2), model="blob")


def test_bytes_elements_of_any_size(channel: grpc.Channel) -> None:
    items = texts(b"", b"a" * 70_000, b"b", b"\0" * 5, b"c" * (1 << 20), b"")
    echo(channel, "BYTES", items.reshape(2, 3), model="blob")


def test_text_of_every_length_in_utf8(channel: grpc.Channel) -> None:
    words = ["\u00e9", "\u20ac", "\U0001f600", "a\u0301", "\0", "\ud7ff\ue000\U0010ffff"]
    echo(channel, "BYTES", texts(*(word.encode() for word in words)).reshape(1, 6))


def test_32_mib_both_ways(channel: grpc.Channel) -> None:
    """Hundreds of flow-control windows."""
    array = np.arange(8 << 20, dtype=np.float32).reshape(8, 1 << 20)
    echo(channel, "FP32", array, timeout=60)


def test_only_equal_shapes_share_a_batch(channel: grpc.Channel) -> None:
    call = wire.method(channel)
    arrays = [np.full((1 + i % 3, 1 + i % 7), i, np.float32) for i in range(200)]
    requests = [wire.encoded(wire.request("echo_fp32", "FP32", array)) for array in arrays]
    futures = [call.future(request, timeout=10) for request in requests]
    for array, future in zip(arrays, futures, strict=True):
        response = pb.ModelInferResponse.FromString(future.result())
        np.testing.assert_array_equal(wire.answer(response), array)
