"""Bad requests: the right status, a text that helps, and no harm to the next request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as pb

from tests.conformance import wire
from tests.conformance.conftest import Running

GOOD = np.ones((1, 4), np.float32)
INVALID, MISSING = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND


def base() -> Any:
    message = pb.ModelInferRequest(model_name="pair")
    for name in ("a", "b"):
        message.inputs.add(name=name, datatype="FP32", shape=[1, 4])
        message.raw_input_contents.append(GOOD.tobytes())
    return message


def edit(change: Callable[[Any], object]) -> Any:
    message = base()
    change(message)
    return message


def shape(*dims: int) -> Callable[[Any], object]:
    def change(message: Any) -> None:
        del message.inputs[0].shape[:]
        message.inputs[0].shape.extend(dims)

    return change


def remove_input(message: Any) -> None:
    del message.inputs[1]
    del message.raw_input_contents[1]


def extra_input(name: str) -> Callable[[Any], object]:
    def change(message: Any) -> None:
        message.inputs.add(name=name, datatype="FP32", shape=[1, 4])
        message.raw_input_contents.append(GOOD.tobytes())

    return change


def unequal_rows(message: Any) -> None:
    message.inputs[1].shape[0] = 2
    message.raw_input_contents[1] = np.ones((2, 4), np.float32).tobytes()


def typed(count: int) -> Callable[[Any], object]:
    def change(message: Any) -> None:
        del message.raw_input_contents[:]
        for tensor in message.inputs:
            tensor.contents.fp32_contents.extend([1.0] * count)

    return change


def typed_elsewhere(message: Any) -> None:
    del message.raw_input_contents[:]
    for tensor in message.inputs:
        tensor.contents.int_contents.extend([1] * 4)


def shared_memory(message: Any) -> None:
    message.inputs[0].parameters["shared_memory_region"].string_param = "region"


def negative_timeout(message: Any) -> None:
    message.parameters["timeout"].int64_param = -1


BAD: dict[str, tuple[Any, grpc.StatusCode, tuple[str, ...]]] = {
    "dtype": (
        edit(lambda m: setattr(m.inputs[0], "datatype", "INT32")),
        INVALID,
        ("'a'", "INT32", "FP32"),
    ),
    "dtype unknown": (
        edit(lambda m: setattr(m.inputs[0], "datatype", "FP99")),
        INVALID,
        ("'a'", "FP99"),
    ),
    "shape": (edit(shape(1, 5)), INVALID, ("'a'", "[1,5]", "4")),
    "rank": (edit(shape(4)), INVALID, ("'a'", "[4]")),
    "rank too high": (edit(shape(*[1] * 40)), INVALID, ("inputs[0]", "8")),
    "negative dimension": (edit(shape(1, -4)), INVALID, ("'a'", "-4")),
    "no rows": (edit(shape(0, 4)), INVALID, ("'a'", "[0,4]")),
    "overflowing dimensions": (edit(shape(2**62, 2**62)), INVALID, ("'a'",)),
    "too many rows": (
        edit(lambda m: (shape(17, 4)(m), m.raw_input_contents.__setitem__(0, bytes(17 * 16)))),
        INVALID,
        ("'a'", "17", "16"),
    ),
    "rows that differ": (edit(unequal_rows), INVALID, ("'b'",)),
    "too few bytes": (
        edit(lambda m: m.raw_input_contents.__setitem__(0, bytes(15))),
        INVALID,
        ("'a'", "15", "16"),
    ),
    "too many bytes": (
        edit(lambda m: m.raw_input_contents.__setitem__(0, bytes(20))),
        INVALID,
        ("'a'", "20", "16"),
    ),
    "missing input": (edit(remove_input), INVALID, ("'b'",)),
    "extra input": (edit(extra_input("c")), INVALID, ("'c'",)),
    "duplicated input": (edit(extra_input("a")), INVALID, ("'a'",)),
    "no inputs": (pb.ModelInferRequest(model_name="pair"), INVALID, ("'a'",)),
    "fewer contents than inputs": (
        edit(lambda m: m.raw_input_contents.pop()),
        INVALID,
        ("1", "2"),
    ),
    "typed contents too short": (edit(typed(3)), INVALID, ("'a'", "3", "4")),
    "typed contents of another type": (edit(typed_elsewhere), INVALID, ("'a'",)),
    "unknown output": (edit(lambda m: m.outputs.add(name="product")), INVALID, ("'product'",)),
    "unknown model": (
        edit(lambda m: setattr(m, "model_name", "nobody")),
        MISSING,
        ("'nobody'",),
    ),
    "unknown version": (
        edit(lambda m: setattr(m, "model_version", "7")),
        MISSING,
        ("'7'", "'pair'"),
    ),
    "version that is no number": (
        edit(lambda m: setattr(m, "model_version", "latest")),
        MISSING,
        ("'latest'",),
    ),
    "shared memory": (edit(shared_memory), INVALID, ("shared_memory_region",)),
    "timeout": (edit(negative_timeout), INVALID, ("'timeout'",)),
    "garbage": (b"\xff" * 64, INVALID, ()),
    "cut off": (base().SerializeToString()[:-3], INVALID, ()),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_request(channel: grpc.Channel, server: Running | None, name: str) -> None:
    message, code, words = BAD[name]
    error = wire.refusal(channel, message)
    assert error.code() == code, error.details()
    if server is not None:
        for word in words:
            assert word in error.details()
        assert len(error.details()) < 1_000
    # The same connection goes on.
    np.testing.assert_array_equal(wire.answer(wire.infer(channel, base())), 2 * GOOD)


@pytest.mark.parametrize(
    ("datatype", "data"),
    [("BYTES", b"\x05\0\0\0abc"), ("BYTES", b"\0\0\0"), ("BYTES", b"\xff\xff\xff\xffabc")],
)
def test_bad_byte_elements(channel: grpc.Channel, datatype: str, data: bytes) -> None:
    message = pb.ModelInferRequest(model_name="echo_bytes")
    message.inputs.add(name="x", datatype=datatype, shape=[1, 1])
    message.raw_input_contents.append(data)
    assert wire.refusal(channel, message).code() == INVALID


@pytest.mark.parametrize(("datatype", "value"), [("INT8", 128), ("UINT8", 256), ("INT16", -40000)])
def test_typed_contents_out_of_range(channel: grpc.Channel, datatype: str, value: int) -> None:
    message = pb.ModelInferRequest(model_name=f"echo_{datatype.lower()}")
    tensor = message.inputs.add(name="x", datatype=datatype, shape=[1, 1])
    getattr(tensor.contents, wire.CONTENTS[datatype]).append(value)
    error = wire.refusal(channel, message)
    assert error.code() == INVALID
    assert str(value) in error.details()


def test_an_unknown_method(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as error:
        channel.unary_unary(wire.SERVICE + "ModelDream")(b"", timeout=5)
    assert error.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_a_bad_request_among_good_ones_harms_none(channel: grpc.Channel) -> None:
    call = channel.unary_unary(
        wire.SERVICE + "ModelInfer", response_deserializer=pb.ModelInferResponse.FromString
    )
    bad = [message for message, _, _ in BAD.values()]
    futures = []
    for i in range(600):
        if i % 3 == 0:
            message = bad[i // 3 % len(bad)]
            data = message if isinstance(message, bytes) else message.SerializeToString()
        else:
            data = base().SerializeToString()
        futures.append(call.future(data, timeout=20))
    for i, future in enumerate(futures):
        if i % 3 == 0:
            assert future.code() in (INVALID, MISSING)
        else:
            np.testing.assert_array_equal(wire.answer(future.result()), 2 * GOOD)
