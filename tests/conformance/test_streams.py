"""ModelStreamInfer: many requests in flight on one stream."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2 as pb

from tests.conformance import wire


def stream(channel: grpc.Channel, requests: Iterator[Any], timeout: float = 20) -> Any:
    call = channel.stream_stream(
        wire.SERVICE + "ModelStreamInfer",
        request_serializer=pb.ModelInferRequest.SerializeToString,
        response_deserializer=pb.ModelStreamInferResponse.FromString,
    )
    return call(requests, timeout=timeout)


def numbered(i: int, model: str = "echo_fp32") -> Any:
    return wire.request(model, "FP32", np.full((1, 3), i, np.float32), id=str(i))


def test_every_request_is_answered_under_its_id(channel: grpc.Channel) -> None:
    seen = set()
    for response in stream(channel, (numbered(i) for i in range(1_000))):
        assert response.error_message == ""
        answer = response.infer_response
        np.testing.assert_array_equal(wire.answer(answer), np.full((1, 3), int(answer.id)))
        seen.add(answer.id)
    assert seen == {str(i) for i in range(1_000)}


def test_an_error_stays_inside_the_stream(channel: grpc.Channel) -> None:
    def requests() -> Iterator[Any]:
        yield numbered(1)
        yield numbered(2, "nobody")
        bad = numbered(3)
        bad.raw_input_contents[0] = b"abc"
        yield bad
        yield numbered(4)

    responses = list(stream(channel, requests()))
    errors = {r.infer_response.id: r.error_message for r in responses if r.error_message}
    assert set(errors) == {"2", "3"}
    assert "nobody" in errors["2"]
    answered = {r.infer_response.id for r in responses if not r.error_message}
    assert answered == {"1", "4"}


def test_an_empty_stream_ends_well(channel: grpc.Channel) -> None:
    call = stream(channel, iter(()))
    assert list(call) == []
    assert call.code() == grpc.StatusCode.OK


def test_answers_come_while_the_client_still_sends(channel: grpc.Channel) -> None:
    outgoing: queue.Queue[Any] = queue.Queue()
    call = stream(channel, iter(outgoing.get, None))
    for i in range(20):
        outgoing.put(numbered(i))
        assert next(call).infer_response.id == str(i)
    outgoing.put(None)
    assert list(call) == []


def test_cancelling_mid_stream_harms_nobody(channel: grpc.Channel) -> None:
    def endless() -> Iterator[Any]:
        i = 0
        while True:
            yield numbered(i)
            i += 1
            time.sleep(0.001)

    call = stream(channel, endless())
    for _ in range(5):
        next(call)
    call.cancel()
    with pytest.raises(grpc.RpcError):
        for _ in call:
            pass
    np.testing.assert_array_equal(wire.answer(wire.infer(channel, numbered(7))), np.full((1, 3), 7))


def test_large_messages_through_a_stream(channel: grpc.Channel) -> None:
    array = np.arange(2 << 20, dtype=np.float32).reshape(2, 1 << 20)
    requests = (wire.request("echo_fp32", "FP32", array, id=str(i)) for i in range(4))
    count = 0
    for response in stream(channel, requests, timeout=60):
        np.testing.assert_array_equal(wire.answer(response.infer_response), array)
        count += 1
    assert count == 4


def test_tritonclient_streams(address: str) -> None:
    results: queue.Queue[tuple[Any, Any]] = queue.Queue()
    with triton.InferenceServerClient(address) as client:
        client.start_stream(lambda result, error: results.put((result, error)))
        for i in range(200):
            tensor = triton.InferInput("x", (1, 2), "FP32")
            tensor.set_data_from_numpy(np.full((1, 2), i, np.float32))
            client.async_stream_infer("echo_fp32", [tensor], request_id=str(i))
        for _ in range(200):
            result, error = results.get(timeout=10)
            assert error is None
            assert (result.as_numpy("y") == int(result.get_response().id)).all()
        client.stop_stream()
