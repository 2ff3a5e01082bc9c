"""Calls by their bytes, and requests put together field by field."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2 as pb

SERVICE = "/inference.GRPCInferenceService/"
DTYPES: dict[str, Any] = {
    "BOOL": np.bool_,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "FP16": np.float16,
    "BF16": np.uint16,
    "FP32": np.float32,
    "FP64": np.float64,
}
CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def raw(array: np.ndarray) -> bytes:
    """As raw_input_contents carries it."""
    if array.dtype == object:
        return b"".join(struct.pack("<I", len(item)) + item for item in array.reshape(-1))
    return array.tobytes()


def unraw(data: bytes, datatype: str, shape: Iterable[int]) -> np.ndarray:
    """The reverse."""
    if datatype != "BYTES":
        return np.frombuffer(data, DTYPES[datatype]).reshape(tuple(shape))
    items, offset = [], 0
    while offset < len(data):
        (length,) = struct.unpack_from("<I", data, offset)
        items.append(data[offset + 4 : offset + 4 + length])
        offset += 4 + length
    array = np.empty(len(items), object)
    array[:] = items
    return array.reshape(tuple(shape))


def request(model: str, datatype: str, array: np.ndarray, *, name: str = "x", **fields: Any) -> Any:
    """A ModelInferRequest with one raw input."""
    message = pb.ModelInferRequest(model_name=model, **fields)
    message.inputs.add(name=name, datatype=datatype, shape=array.shape)
    message.raw_input_contents.append(raw(array))
    return message


def full(model: str, value: float, *shape: int, **fields: Any) -> Any:
    """The request for FP32 ``x`` of ``shape``, all of it ``value``."""
    return request(model, "FP32", np.full(shape or (1, 1), value, np.float32), **fields)


def answer(response: Any, index: int = 0) -> np.ndarray:
    """One output of an answer, which must carry all of them raw, as Triton's do."""
    assert len(response.raw_output_contents) == len(response.outputs)
    output = response.outputs[index]
    assert not output.HasField("contents")
    return unraw(response.raw_output_contents[index], output.datatype, output.shape)


def by_name(response: Any) -> dict[str, np.ndarray]:
    return {output.name: answer(response, i) for i, output in enumerate(response.outputs)}


def infer(channel: grpc.Channel, message: Any, timeout: float = 10) -> Any:
    """ModelInfer; ``message`` may be bytes that are no message."""
    return pb.ModelInferResponse.FromString(method(channel)(encoded(message), timeout=timeout))


def method(channel: grpc.Channel, name: str = "ModelInfer") -> Any:
    """A unary method that takes bytes and gives bytes."""
    return channel.unary_unary(SERVICE + name)


def encoded(message: Any) -> bytes:
    return message if isinstance(message, bytes) else bytes(message.SerializeToString())


def control(channel: grpc.Channel, name: str, /, *, timeout: float = 10, **fields: Any) -> Any:
    """A method beside inference, by the names of its request's fields."""
    request_bytes = getattr(pb, name + "Request")(**fields).SerializeToString()
    answered = method(channel, name)(request_bytes, timeout=timeout)
    return getattr(pb, name + "Response").FromString(answered)


def stream(channel: grpc.Channel, requests: Iterable[Any], timeout: float = 20) -> Any:
    """ModelStreamInfer."""
    call = channel.stream_stream(
        SERVICE + "ModelStreamInfer",
        request_serializer=encoded,
        response_deserializer=pb.ModelStreamInferResponse.FromString,
    )
    return call(iter(requests), timeout=timeout)


def refusal(channel: grpc.Channel, message: Any, timeout: float = 10) -> grpc.RpcError:
    """The error that ModelInfer ends with."""
    try:
        infer(channel, message, timeout)
    except grpc.RpcError as error:
        return error
    raise AssertionError("the request was answered")
