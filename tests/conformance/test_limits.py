"""Bounds of the server: each with an answer that says which limit it was."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.conformance import http2, wire
from tests.conformance.process import Running, serve

INFER = wire.SERVICE + "ModelInfer"
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
MESSAGE = wire.full("echo_fp32", 1, 1, 4)


@pytest.fixture(scope="module")
def small(models: Path, request: pytest.FixtureRequest) -> Iterator[Running]:
    """A server with small limits."""
    if request.getfixturevalue("target").running is None:
        pytest.skip("needs a server that the suite started")
    flags = ["--model-control", "explicit", "--load-model", "echo_fp32", "--load-model", "slow"]
    flags += ["--max-message-bytes", "1M", "--max-header-bytes", "4K", "--max-streams", "5"]
    flags += ["--max-connections", "8", "--max-queued-requests", "6"]
    flags += ["--handshake-timeout", "1", "--max-bytes-in-flight", "3M"]
    with serve(models, *flags) as running:
        yield running


@pytest.fixture
def near(small: Running) -> Iterator[grpc.Channel]:
    with small.channel() as channel:
        yield channel
        assert wire.infer(channel, MESSAGE)


def test_a_message_over_the_limit(near: grpc.Channel) -> None:
    error = wire.refusal(near, wire.full("echo_fp32", 1, 8, 100_000))
    assert error.code() == EXHAUSTED
    assert "max_message_bytes" in error.details()
    assert str(1 << 20) in error.details()


@pytest.mark.parametrize("over", [0, 1])
def test_the_limit_is_exact(near: grpc.Channel, over: int) -> None:
    message = wire.full("echo_fp32", 1)
    note = message.parameters["note"]
    note.string_param = "x" * (1 << 20)
    note.string_param = "x" * ((2 << 20) - message.ByteSize() + over)
    assert message.ByteSize() == (1 << 20) + over
    if over:
        assert wire.refusal(near, message).code() == EXHAUSTED
    else:
        wire.infer(near, message)


def test_an_answer_over_the_limit(near: grpc.Channel) -> None:
    message = wire.full("echo_fp32", 1)
    message.id = "x" * (1_000_000)
    wire.infer(near, message)
    large = wire.full("echo_fp32", 1, 8, 30_000)
    large.id = "x" * ((1 << 20) - large.ByteSize() - 5)
    error = wire.refusal(near, large)
    assert error.code() == EXHAUSTED
    assert "max_message_bytes" in error.details()


def test_a_length_that_nobody_sends(small: Running) -> None:
    """Refused by its prefix alone."""
    with http2.Connection(small.grpc) as connection:
        connection.send(http2.frame(http2.HEADERS, http2.END_HEADERS, 1, connection.headers(INFER)))
        connection.send(http2.frame(http2.DATA, 0, 1, b"\0\xff\xff\xff\xff"))
        assert connection.wait(1).status == str(EXHAUSTED.value[0])
        connection.send(connection.call(3, INFER, http2.message(wire.encoded(MESSAGE))))
        assert connection.wait(3).status == "0"


def test_headers_over_the_limit(small: Running) -> None:
    with http2.Connection(small.grpc) as connection:
        long = [(f"note-{i}", "x" * 500) for i in range(10)]
        block = connection.headers(INFER, long)
        body = http2.message(wire.encoded(MESSAGE))
        connection.send(http2.frame(http2.HEADERS, http2.END_HEADERS, 1, block))
        connection.send(http2.frame(http2.DATA, http2.END_STREAM, 1, body))
        stream = connection.wait(1)
        assert stream.status == str(EXHAUSTED.value[0])
        assert "max_header_bytes" in stream.blocks[-1]["grpc-message"]
        connection.send(connection.call(3, INFER, body))
        assert connection.wait(3).status == "0"


def test_the_limit_of_streams_is_told(small: Running) -> None:
    with http2.Connection(small.grpc) as connection:
        connection.greet()
        assert connection.settings[http2.MAX_CONCURRENT_STREAMS] == 5


def test_clients_queue_beyond_the_limit_of_streams(near: grpc.Channel) -> None:
    call = wire.method(near)
    futures = [call.future(wire.encoded(MESSAGE), timeout=20) for _ in range(100)]
    assert all(future.code() == grpc.StatusCode.OK for future in futures)


def test_a_full_queue(small: Running) -> None:
    with small.channel() as first, small.channel() as second, small.channel() as third:
        running = wire.method(first).future(wire.encoded(wire.full("slow", 400)), timeout=20)
        time.sleep(0.1)
        quick = wire.encoded(wire.full("slow", 1))
        futures = [
            wire.method(channel).future(quick, timeout=20)
            for channel in (first, second, third)
            for _ in range(4)
        ]
        codes = [future.code() for future in futures]
        assert codes.count(EXHAUSTED) == len(futures) - 6
        assert codes.count(grpc.StatusCode.OK) == 6
        refused = next(future for future in futures if future.code() == EXHAUSTED)
        assert "'slow'" in refused.details()
        assert "6" in refused.details()
        assert running.code() == grpc.StatusCode.OK


def test_bytes_in_flight(small: Running) -> None:
    """Unfinished messages of five calls: more than the server will hold."""
    with http2.Connection(small.grpc) as connection:
        connection.greet()
        body = http2.message(wire.encoded(wire.full("echo_fp32", 1, 8, 30_000)))
        for stream in range(1, 11, 2):
            connection.send(
                http2.frame(http2.HEADERS, http2.END_HEADERS, stream, connection.headers(INFER))
            )
        sent = 0
        streams = [connection.streams[stream] for stream in range(1, 11, 2)]
        while not any(each.over for each in streams) and sent < len(body) - 1:
            piece = body[sent : sent + 4_000][: len(body) - 1 - sent]
            for stream in range(1, 11, 2):
                connection.send(http2.frame(http2.DATA, 0, stream, piece))
            sent += len(piece)
            connection.until(lambda: False, timeout_s=0.001)
        connection.until(lambda: any(each.over for each in streams), timeout_s=2)
        refused = [each for each in streams if each.status == str(EXHAUSTED.value[0])]
        assert refused
        assert "max_bytes_in_flight" in refused[0].blocks[-1]["grpc-message"]


def test_more_connections_than_there_may_be(small: Running) -> None:
    connections = []
    try:
        served = 0
        for _ in range(12):
            connection = http2.Connection(small.grpc)
            connections.append(connection)
            connection.send(connection.call(1, INFER, http2.message(wire.encoded(MESSAGE))))
            connection.until(lambda c=connection: c.streams[1].over or c.closed, timeout_s=2)
            served += connection.streams[1].status == "0"
        assert 6 <= served <= 8
    finally:
        for connection in connections:
            connection.socket.close()


def test_who_says_nothing_is_sent_away(small: Running) -> None:
    host, _, port = small.grpc.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=5) as silent:
        # Its SETTINGS may come first.
        assert silent.recv(1 << 10) == b"" or silent.recv(1 << 10) == b""
