"""Connections on which nothing happens: keep-alive pings, idle time, clients that take nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from tests.conformance import http2, wire
from tests.conformance.http2 import ACK, PING, Connection, Frame
from tests.conformance.process import Running

Start = Callable[..., AbstractContextManager[Running]]
FEW = ["--model-control", "explicit", "--load-model", "echo_fp32", "--load-model", "slow"]
INFER = wire.SERVICE + "ModelInfer"
QUICK = http2.message(wire.encoded(wire.full("echo_fp32", 1)))


def pings(connection: Connection) -> list[Frame]:
    return [frame for frame in connection.seen if frame.type == PING and not frame.flags & ACK]


def test_who_answers_pings_stays(models: Path, start: Start) -> None:
    flags = [*FEW, "--keepalive-time", "0.2", "--keepalive-timeout", "1"]
    with start(models, *flags) as own, Connection(own.grpc) as connection:
        slow = http2.message(wire.encoded(wire.full("slow", 900)))
        connection.send(connection.call(1, INFER, slow))
        for count in (1, 2, 3):
            assert connection.until(lambda count=count: len(pings(connection)) >= count)
            connection.send(http2.frame(PING, ACK, 0, pings(connection)[-1].payload))
        assert connection.wait(1).status == "0"
        connection.send(connection.call(3, INFER, QUICK))
        assert connection.wait(3).status == "0"


def test_who_answers_no_ping_is_gone(models: Path, start: Start) -> None:
    flags = [*FEW, "--keepalive-time", "0.2", "--keepalive-timeout", "0.3"]
    with start(models, *flags) as own, Connection(own.grpc) as connection:
        connection.greet()
        began = time.monotonic()
        connection.until(lambda: connection.closed)
        assert connection.closed
        assert pings(connection)
        assert time.monotonic() - began > 0.4


def test_idle_connections_are_sent_away(models: Path, start: Start) -> None:
    """With GOAWAY, so that a client knows that nothing was lost; one with a call is not idle."""
    with start(models, *FEW, "--idle-timeout", "0.4") as own:
        with Connection(own.grpc) as busy, Connection(own.grpc) as idle:
            slow = http2.message(wire.encoded(wire.full("slow", 1_000)))
            busy.send(busy.call(1, INFER, slow))
            idle.send(idle.call(1, INFER, QUICK))
            assert idle.wait(1).status == "0"
            idle.until(lambda: idle.closed)
            assert idle.closed
            assert idle.goaway is not None
            assert idle.goaway[1] == http2.NO_ERROR
            assert busy.wait(1).status == "0"
        # A client library connects again by itself.
        with own.channel() as channel:
            wire.infer(channel, wire.full("echo_fp32", 1))
            time.sleep(0.7)
            wire.infer(channel, wire.full("echo_fp32", 1))


def test_who_takes_no_bytes_is_cut_off(models: Path, start: Start) -> None:
    """The window is never opened: the answer would be held for ever."""
    with start(models, *FEW, "--stall-timeout", "0.5") as own:
        with Connection(own.grpc, {http2.INITIAL_WINDOW_SIZE: 0}) as connection:
            connection.send(connection.call(1, INFER, QUICK))
            stream = connection.streams[1]
            connection.until(lambda: connection.closed or stream.reset is not None)
            assert connection.closed or stream.reset not in (None, http2.NO_ERROR)
        with own.channel() as channel:
            wire.infer(channel, wire.full("echo_fp32", 1))


def test_half_a_message_does_not_wait_for_ever(models: Path, start: Start) -> None:
    with start(models, *FEW, "--stall-timeout", "0.5") as own, Connection(own.grpc) as connection:
        head = http2.frame(http2.HEADERS, http2.END_HEADERS, 1, connection.headers(INFER))
        connection.send(head + http2.frame(http2.DATA, 0, 1, QUICK[:10]))
        stream = connection.streams[1]
        connection.until(lambda: connection.closed or stream.over)
        assert connection.closed or stream.over
        assert stream.status != "0"
