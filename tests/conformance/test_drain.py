"""Going away in good order: SIGTERM while requests are in flight."""

from __future__ import annotations

import contextlib
import queue
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.conformance import http2, wire
from tests.conformance.process import Running

Start = Callable[..., AbstractContextManager[Running]]
FEW = ["--model-control", "explicit", "--load-model", "echo_fp32", "--load-model", "slow"]
OK = grpc.StatusCode.OK


def slow(milliseconds: float) -> bytes:
    return wire.encoded(wire.full("slow", milliseconds))


def test_all_that_is_in_flight_is_answered(models: Path, start: Start) -> None:
    with start(models, *FEW) as own, own.channel() as channel:
        call = wire.method(channel)
        futures = [call.future(slow(150), timeout=20) for _ in range(16)]
        time.sleep(0.1)
        own.end()
        assert {future.code() for future in futures} == {OK}
        assert own.process.wait(20) == 0
        host, _, port = own.grpc.rpartition(":")
        with pytest.raises(OSError):
            socket.create_connection((host, int(port)), timeout=1)
    assert own.events()[-1] == "stopped"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_server_ends_at_once(models: Path, start: Start, number: signal.Signals) -> None:
    with start(models, *FEW) as own, own.channel() as channel:
        wire.infer(channel, wire.full("echo_fp32", 1))
        began = time.monotonic()
        own.end(number)
        assert own.process.wait(10) == 0
        assert time.monotonic() - began < 5


def test_goaway_then_the_answer_then_the_end(models: Path, start: Start) -> None:
    """RFC 9113, 6.8, and no new call after it."""
    with start(models, *FEW) as own, http2.Connection(own.grpc) as connection:
        infer = wire.SERVICE + "ModelInfer"
        connection.send(connection.call(1, infer, http2.message(slow(600))))
        time.sleep(0.1)
        own.end()
        assert connection.until(lambda: connection.goaway)
        assert connection.goaway is not None
        assert connection.goaway[1] == http2.NO_ERROR
        assert not connection.streams[1].over
        assert connection.wait(1).status == "0"
        assert connection.goaway[0] >= 1
        connection.until(lambda: connection.closed)
        assert connection.closed


def test_a_call_that_crosses_the_goaway_is_told_or_answered(models: Path, start: Start) -> None:
    with start(models, *FEW) as own, http2.Connection(own.grpc) as connection:
        infer = wire.SERVICE + "ModelInfer"
        connection.send(connection.call(1, infer, http2.message(slow(400))))
        time.sleep(0.1)
        own.end()
        assert connection.until(lambda: connection.goaway)
        with contextlib.suppress(ConnectionError):
            connection.send(connection.call(3, infer, http2.message(slow(0))))
        connection.until(lambda: connection.closed)
        assert connection.streams[1].status == "0"
        assert connection.goaway is not None
        late = connection.streams[3]
        # Beyond the last stream of the GOAWAY a client knows that nothing was done.
        assert late.over or connection.goaway[0] < 3


def test_readiness_turns_false_while_the_rest_goes_on(models: Path, start: Start) -> None:
    with start(models, *FEW) as own, own.channel() as channel:
        running = wire.method(channel).future(slow(1_000), timeout=20)
        watch = health_pb2_grpc.HealthStub(channel).Watch(
            health_pb2.HealthCheckRequest(), timeout=20
        )
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        time.sleep(0.1)
        own.end()
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(f"http://{own.http}/v2/health/ready", timeout=5)
        assert error.value.code == 503
        with urllib.request.urlopen(f"http://{own.http}/v2/health/live", timeout=5) as answer:
            assert answer.status == 200
        assert running.code() == OK


def test_a_stream_that_is_open_gets_its_answers(models: Path, start: Start) -> None:
    """And is ended, as its client would go on for ever."""
    outgoing: queue.Queue[Any] = queue.Queue()
    flags = [*FEW, "--drain-timeout", "5"]
    with start(models, *flags) as own, own.channel() as channel:
        call = wire.stream(channel, iter(outgoing.get, None))
        outgoing.put(wire.full("slow", 300, id="last"))
        time.sleep(0.1)
        own.end()
        assert next(call).infer_response.id == "last"
        outgoing.put(None)
        with contextlib.suppress(grpc.RpcError):
            assert list(call) == []
        assert own.process.wait(10) == 0


def test_who_takes_longer_than_the_drain_may_is_cut_off(models: Path, start: Start) -> None:
    flags = [*FEW, "--drain-timeout", "0.3"]
    with start(models, *flags) as own, own.channel() as channel:
        running = wire.method(channel).future(slow(1_500), timeout=20)
        time.sleep(0.1)
        own.end()
        assert running.code() == grpc.StatusCode.UNAVAILABLE
    assert "drain_timed_out" in own.events()


def test_a_second_signal_ends_it_at_once(models: Path, start: Start) -> None:
    with start(models, *FEW, status=143) as own, own.channel() as channel:
        running = wire.method(channel).future(slow(5_000), timeout=20)
        time.sleep(0.2)
        own.end()
        time.sleep(0.3)
        began = time.monotonic()
        own.end()
        own.process.wait(10)
        assert time.monotonic() - began < 2
        assert running.code() == grpc.StatusCode.UNAVAILABLE
    assert "killed" in own.events()
