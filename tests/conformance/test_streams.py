"""ModelStreamInfer: many requests in flight on one stream."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest

from tests.conformance import http2, wire
from tests.conformance.bad_requests import BAD
from tests.conformance.process import Running


def numbered(i: int, model: str = "echo_fp32") -> Any:
    return wire.full(model, i, 1, 3, id=str(i))


def test_every_request_is_answered_under_its_id(channel: grpc.Channel) -> None:
    seen = []
    for response in wire.stream(channel, (numbered(i) for i in range(1_000))):
        assert response.error_message == ""
        answer = response.infer_response
        assert answer.model_name == "echo_fp32"
        np.testing.assert_array_equal(wire.answer(answer), np.full((1, 3), int(answer.id)))
        seen.append(answer.id)
    assert sorted(seen, key=int) == [str(i) for i in range(1_000)]


def test_models_of_any_speed_on_one_stream(channel: grpc.Channel, strict: bool) -> None:
    """The slow answer holds nobody up."""
    requests = [wire.full("slow", 300, id="slow"), *(numbered(i) for i in range(50))]
    ids = [response.infer_response.id for response in wire.stream(channel, requests)]
    assert sorted(ids) == sorted(["slow", *map(str, range(50))])
    if strict:
        assert ids[-1] == "slow"


def test_an_error_stays_inside_the_stream(channel: grpc.Channel, strict: bool) -> None:
    bad = numbered(3)
    bad.raw_input_contents[0] = b"abc"
    requests = [numbered(1), numbered(2, "nobody"), bad, numbered(4)]
    responses = list(wire.stream(channel, requests))
    assert len(responses) == 4
    errors = {r.infer_response.id: r.error_message for r in responses if r.error_message}
    assert len(errors) == 2 or not strict
    answered = {r.infer_response.id for r in responses if not r.error_message}
    assert answered == {"1", "4"}
    assert any("nobody" in text for text in errors.values())
    if strict:
        assert set(errors) == {"2", "3"}


def test_every_bad_request_stays_inside_the_stream(channel: grpc.Channel, strict: bool) -> None:
    if not strict:
        pytest.skip("what is a bad request is for each server to say")
    requests = []
    for i, (message, _, _) in enumerate(BAD.values()):
        copy = type(message).FromString(message.SerializeToString())
        copy.id = f"bad {i}"
        requests += [copy, numbered(i)]
    failed, answered = {}, set()
    for response in wire.stream(channel, requests):
        if response.error_message:
            failed[response.infer_response.id] = response.error_message
        else:
            answered.add(response.infer_response.id)
    assert answered == {str(i) for i in range(len(BAD))}
    assert failed.keys() == {f"bad {i}" for i in range(len(BAD))}
    for i, (_, _, words) in enumerate(BAD.values()):
        for word in words:
            assert word in failed[f"bad {i}"] or word == "-1"


def test_bytes_that_are_no_request_inside_a_stream(ours: Running, channel: grpc.Channel) -> None:
    responses = list(wire.stream(channel, [numbered(1), b"\xff" * 20, numbered(2)]))
    assert [bool(response.error_message) for response in responses].count(True) == 1
    assert {r.infer_response.id for r in responses if not r.error_message} == {"1", "2"}


def test_an_empty_stream_ends_well(channel: grpc.Channel) -> None:
    call = wire.stream(channel, [])
    assert list(call) == []
    assert call.code() == grpc.StatusCode.OK


def test_answers_come_while_the_client_still_sends(channel: grpc.Channel) -> None:
    outgoing: queue.Queue[Any] = queue.Queue()
    call = wire.stream(channel, iter(outgoing.get, None))
    for i in range(20):
        outgoing.put(numbered(i))
        assert next(call).infer_response.id == str(i)
    outgoing.put(None)
    assert list(call) == []
    assert call.code() == grpc.StatusCode.OK


def test_half_close_waits_for_all_answers(channel: grpc.Channel) -> None:
    requests = [wire.full("slow", 50, id=str(i)) for i in range(8)]
    call = wire.stream(channel, requests)
    assert len(list(call)) == 8
    assert call.code() == grpc.StatusCode.OK


def test_cancelling_mid_stream_harms_nobody(channel: grpc.Channel) -> None:
    def endless() -> Iterator[Any]:
        i = 0
        while True:
            yield numbered(i)
            i += 1
            time.sleep(0.001)

    other = wire.stream(channel, (numbered(i) for i in range(200)))
    call = wire.stream(channel, endless())
    for _ in range(5):
        next(call)
    call.cancel()
    with pytest.raises(grpc.RpcError):
        for _ in call:
            pass
    assert len(list(other)) == 200
    np.testing.assert_array_equal(wire.answer(wire.infer(channel, numbered(7))), np.full((1, 3), 7))


def test_a_streams_deadline_is_of_the_whole_stream(channel: grpc.Channel) -> None:
    outgoing: queue.Queue[Any] = queue.Queue()
    call = wire.stream(channel, iter(outgoing.get, None), timeout=0.4)
    outgoing.put(numbered(1))
    assert next(call).infer_response.id == "1"
    with pytest.raises(grpc.RpcError) as error:
        next(call)
    outgoing.put(None)
    assert error.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    wire.infer(channel, numbered(1))


def test_large_messages_through_a_stream(channel: grpc.Channel) -> None:
    array = np.arange(2 << 20, dtype=np.float32).reshape(2, 1 << 20)
    requests = (wire.request("echo_fp32", "FP32", array, id=str(i)) for i in range(4))
    count = 0
    for response in wire.stream(channel, requests, timeout=60):
        np.testing.assert_array_equal(wire.answer(response.infer_response), array)
        count += 1
    assert count == 4


def test_who_does_not_read_holds_up_nobody_else(address: str, channel: grpc.Channel) -> None:
    """A stream whose answers are not taken must not take their requests without end."""
    with http2.Connection(address, {http2.INITIAL_WINDOW_SIZE: 0}) as connection:
        connection.greet()
        body = http2.message(wire.encoded(wire.full("echo_fp32", 1, 8, 3_000)))
        head = connection.headers(wire.SERVICE + "ModelStreamInfer")
        connection.send(http2.frame(http2.HEADERS, http2.END_HEADERS, 1, head))
        frames = [
            http2.frame(http2.DATA, 0, 1, body[i : i + 16_000]) for i in range(0, len(body), 16_000)
        ]
        # Within the connection's first window, as nothing here keeps count of it.
        for _ in range(8):
            connection.send(b"".join(frames))
        for i in range(20):
            wire.infer(channel, numbered(i))
        connection.send(http2.window_update(0, 1 << 24) + http2.window_update(1, 1 << 24))
        connection.send(http2.frame(http2.DATA, http2.END_STREAM, 1))
        stream = connection.wait(1)
        assert stream.status == "0"
        assert len(stream.messages()) == 8
