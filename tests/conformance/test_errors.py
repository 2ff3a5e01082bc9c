"""Bad requests: the right status, a text that helps, and no harm to the next request."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as pb

from tests.conformance import wire
from tests.conformance.bad_requests import BAD, CODE, GOOD, INVALID, LENIENT, MISSING, UNREAD, base
from tests.conformance.process import Running

UNREADABLE = {CODE.INTERNAL, CODE.CANCELLED, CODE.UNKNOWN, CODE.UNAVAILABLE, INVALID}
"""What gRPC's libraries answer to bytes that are no message of the method's type."""


@pytest.fixture(autouse=True)
def goes_on(channel: grpc.Channel) -> Iterator[None]:
    """The same connection serves on."""
    yield
    np.testing.assert_array_equal(wire.by_name(wire.infer(channel, base()))["sum"], 2 * GOOD)


def outcome(channel: grpc.Channel, message: Any) -> tuple[grpc.StatusCode, str]:
    try:
        wire.infer(channel, message)
    except grpc.RpcError as error:
        return error.code(), error.details()
    return CODE.OK, ""


@pytest.mark.parametrize("name", BAD)
def test_bad_request(channel: grpc.Channel, strict: bool, name: str) -> None:
    message, expected, words = BAD[name]
    code, text = outcome(channel, message)
    if not strict:
        assert code in LENIENT.get(name, {expected}), text
        return
    assert code == expected, text
    for word in words:
        assert word in text
    assert len(text) < 1_000


@pytest.mark.parametrize("name", UNREAD)
def test_bytes_that_are_no_request(channel: grpc.Channel, strict: bool, name: str) -> None:
    code, text = outcome(channel, UNREAD[name])
    assert code in ({INVALID} if strict else {*UNREADABLE, MISSING}), text
    if strict:
        assert "ModelInferRequest" in text


def test_an_empty_message_names_no_model(channel: grpc.Channel) -> None:
    assert outcome(channel, b"")[0] in (MISSING, INVALID)


@pytest.mark.parametrize(
    "data", [b"\x05\0\0\0abc", b"\0\0\0", b"\xff\xff\xff\xffabc", b"\0\0\0\0" * 2, b""]
)
@pytest.mark.parametrize("model", ["echo_bytes", "blob"])
def test_bad_byte_elements(channel: grpc.Channel, strict: bool, model: str, data: bytes) -> None:
    message = pb.ModelInferRequest(model_name=model)
    message.inputs.add(name="x", datatype="BYTES", shape=[1, 1])
    message.raw_input_contents.append(data)
    code, text = outcome(channel, message)
    assert code in ({INVALID} if strict else {INVALID, CODE.INTERNAL}), text
    if strict:
        assert "'x'" in text


def test_bytes_that_are_no_text_for_an_onnx_model(channel: grpc.Channel, strict: bool) -> None:
    """ONNX Runtime's strings are UTF-8; other back ends take any bytes."""
    message = wire.request("echo_bytes", "BYTES", np.array([[b"\xff\xfe"]], object))
    code, text = outcome(channel, message)
    if strict:
        assert code in (INVALID, CODE.OK), text
        assert code == CODE.OK or ("'x'" in text and "UTF-8" in text)


@pytest.mark.parametrize("value", [2, 255])
def test_booleans_other_than_0_and_1(channel: grpc.Channel, strict: bool, value: int) -> None:
    message = pb.ModelInferRequest(model_name="echo_bool")
    message.inputs.add(name="x", datatype="BOOL", shape=[1, 2])
    message.raw_input_contents.append(bytes([1, value]))
    code, text = outcome(channel, message)
    if strict:
        assert code == INVALID
        assert "'x'" in text
        assert str(value) in text


@pytest.mark.parametrize(
    ("datatype", "value"),
    [("INT8", 128), ("INT8", -129), ("UINT8", 256), ("INT16", -40_000), ("UINT16", 65_536)],
)
def test_typed_contents_out_of_range(
    channel: grpc.Channel, strict: bool, datatype: str, value: int
) -> None:
    message = pb.ModelInferRequest(model_name=f"echo_{datatype.lower()}")
    tensor = message.inputs.add(name="x", datatype=datatype, shape=[1, 1])
    getattr(tensor.contents, wire.CONTENTS[datatype]).append(value)
    code, text = outcome(channel, message)
    if strict:
        assert code == INVALID
        assert str(value) in text


def test_a_model_that_fails(channel: grpc.Channel) -> None:
    """An index beyond the table; the model goes on."""
    index = wire.request("lookup", "INT64", np.array([7], np.int64), name="index")
    assert outcome(channel, index)[0] == CODE.INTERNAL
    index = wire.request("lookup", "INT64", np.array([2], np.int64), name="index")
    np.testing.assert_array_equal(wire.answer(wire.infer(channel, index)), [[4, 5]])


def test_classes_of_what_has_none(ours: Running, channel: grpc.Channel) -> None:
    """Not for others: Triton 2.51 divides by the size of an element and dies of it."""
    message = wire.request("blob", "BYTES", np.array([[b"a"]], object))
    message.outputs.add(name="y").parameters["classification"].int64_param = 1
    assert outcome(channel, message)[0] == INVALID


def test_many_bad_requests_among_good_ones(channel: grpc.Channel, strict: bool) -> None:
    call = wire.method(channel)
    bad = [message for message, _, _ in BAD.values()] if strict else [BAD["shape"][0]]
    futures = []
    for i in range(600):
        message = base() if i % 3 else bad[i // 3 % len(bad)]
        futures.append(call.future(wire.encoded(message), timeout=20))
    for i, future in enumerate(futures):
        if i % 3 == 0:
            assert future.code() in (INVALID, MISSING)
        else:
            response = pb.ModelInferResponse.FromString(future.result())
            np.testing.assert_array_equal(wire.by_name(response)["sum"], 2 * GOOD)
