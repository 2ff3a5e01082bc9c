"""Deadlines, cancellation and the timeout parameter, on a model that sleeps."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.conformance import http2, wire
from tests.conformance.process import Running

EXCEEDED = grpc.StatusCode.DEADLINE_EXCEEDED


def sleep(milliseconds: float, **fields: Any) -> Any:
    return wire.full("slow", milliseconds, **fields)


def begin(channel: grpc.Channel, message: Any, timeout: float = 10) -> Any:
    return wire.method(channel).future(wire.encoded(message), timeout=timeout)


def statistics(channel: grpc.Channel) -> Any:
    (stats,) = wire.control(channel, "ModelStatistics", name="slow").model_stats
    return stats


@pytest.fixture(autouse=True)
def idle(channel: grpc.Channel) -> Iterator[None]:
    """Nothing runs before a test, and after it all is as before.

    A server that learns what a model costs must believe that it is fast, or it refuses at the door
    what is to expire in the queue.
    """
    for _ in range(150):
        wire.infer(channel, sleep(0), timeout=20)
    yield
    wire.infer(channel, sleep(0), timeout=20)


@pytest.mark.parametrize("method", ["call", "stream"])
def test_a_deadline_ends_the_call_in_time(channel: grpc.Channel, method: str) -> None:
    began = time.monotonic()
    with pytest.raises(grpc.RpcError) as error:
        if method == "call":
            wire.infer(channel, sleep(1_000), timeout=0.1)
        else:
            list(wire.stream(channel, [sleep(1_000)], timeout=0.1))
    assert error.value.code() == EXCEEDED
    assert time.monotonic() - began < 0.8


def test_the_server_itself_ends_the_call(ours: Running, address: str) -> None:
    """grpc-timeout in a request whose client does not watch the clock."""
    with http2.Connection(address) as connection:
        block = connection.headers(wire.SERVICE + "ModelInfer", [("grpc-timeout", "100m")])
        body = http2.message(wire.encoded(sleep(1_000)))
        connection.send(http2.frame(http2.HEADERS, http2.END_HEADERS, 1, block))
        began = time.monotonic()
        connection.send(http2.data(1, body))
        assert connection.wait(1).status == str(EXCEEDED.value[0])
        assert 0.09 < time.monotonic() - began < 0.8


def test_what_cannot_be_in_time_is_refused_at_the_door(models: Path, start: Any) -> None:
    """By the cost that the server has learned, and without computing it."""
    flags = ["--model-control", "explicit", "--load-model", "slow"]
    with start(models, *flags) as own, own.channel() as channel:
        for _ in range(3):
            wire.infer(channel, sleep(200))
        before = statistics(channel)
        error = wire.refusal(channel, sleep(0), timeout=0.1)
        assert error.code() in (EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED)
        assert "predicted" in error.details()
        assert "'slow'" in error.details()
        # Who has time is served, and so is who has none to lose.
        wire.infer(channel, sleep(0), timeout=5)
        wire.method(channel)(wire.encoded(sleep(0)))
        assert statistics(channel).inference_count - before.inference_count == 2


def test_what_expires_in_the_queue_is_not_computed(ours: Running, channel: grpc.Channel) -> None:
    before = statistics(channel)
    running = begin(channel, sleep(600))
    time.sleep(0.1)
    queued = [begin(channel, sleep(0), timeout=0.1) for _ in range(5)]
    for future in queued:
        assert future.code() == EXCEEDED
    running.result()
    after = statistics(channel)
    assert after.inference_count - before.inference_count == 1
    assert after.execution_count - before.execution_count == 1
    assert after.inference_stats.fail.count - before.inference_stats.fail.count == 5


def test_what_is_cancelled_in_the_queue_is_not_computed(
    ours: Running, channel: grpc.Channel
) -> None:
    before = statistics(channel)
    running = begin(channel, sleep(400))
    time.sleep(0.1)
    queued = [begin(channel, sleep(0)) for _ in range(5)]
    time.sleep(0.1)
    for future in queued:
        future.cancel()
    running.result()
    assert statistics(channel).inference_count - before.inference_count == 1


def test_a_stream_that_is_cancelled_takes_its_requests_along(
    ours: Running, channel: grpc.Channel
) -> None:
    before = statistics(channel)
    running = begin(channel, sleep(400))
    time.sleep(0.1)
    call = wire.stream(channel, (sleep(0, id=str(i)) for i in range(5)))
    time.sleep(0.1)
    call.cancel()
    running.result()
    assert statistics(channel).inference_count - before.inference_count == 1


def test_a_cancelled_call_says_so(channel: grpc.Channel) -> None:
    future = begin(channel, sleep(300))
    time.sleep(0.05)
    assert future.cancel()
    assert future.code() == grpc.StatusCode.CANCELLED


def test_the_timeout_parameter_counts_in_the_queue(ours: Running, channel: grpc.Channel) -> None:
    running = begin(channel, sleep(500))
    time.sleep(0.1)
    message = sleep(0)
    message.parameters["timeout"].int64_param = 50_000
    began = time.monotonic()
    error = wire.refusal(channel, message)
    assert error.code() == EXCEEDED
    assert "'slow'" in error.details()
    assert "50.000 ms" in error.details()
    assert time.monotonic() - began < 0.35
    running.result()


def test_a_timeout_that_is_long_enough_changes_nothing(channel: grpc.Channel) -> None:
    message = sleep(1)
    message.parameters["timeout"].int64_param = 10_000_000
    assert wire.answer(wire.infer(channel, message)).item() == 1


def test_a_timeout_inside_a_stream_fails_its_request_alone(
    ours: Running, channel: grpc.Channel
) -> None:
    impatient = sleep(0, id="impatient")
    impatient.parameters["timeout"].int64_param = 50_000
    running = begin(channel, sleep(300))
    time.sleep(0.1)
    responses = list(wire.stream(channel, [impatient, sleep(0, id="patient")]))
    running.result()
    by_id = {response.infer_response.id: response.error_message for response in responses}
    assert by_id["patient"] == ""
    assert "deadline" in by_id["impatient"]


def test_one_clients_deadline_is_not_anothers(channel: grpc.Channel) -> None:
    running = begin(channel, sleep(300))
    time.sleep(0.05)
    # These two may share a batch; one of them gives up while it runs.
    impatient = begin(channel, sleep(500), timeout=0.5)
    patient = begin(channel, sleep(500))
    running.result()
    assert impatient.code() == EXCEEDED
    assert patient.code() == grpc.StatusCode.OK
