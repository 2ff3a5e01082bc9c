"""HTTP/2 as it may not be used: the connection at fault ends, and no other notices."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from tests.conformance import http2, wire
from tests.conformance.http2 import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Connection,
    frame,
)

INFER = wire.SERVICE + "ModelInfer"
BODY = http2.message(wire.encoded(wire.full("echo_fp32", 1)))


@pytest.fixture(autouse=True)
def neighbour(channel: grpc.Channel) -> Iterator[None]:
    """Another client, connected before the fault and served after it."""
    wire.infer(channel, wire.full("echo_fp32", 1))
    yield
    wire.infer(channel, wire.full("echo_fp32", 1))


def head(connection: Connection, stream: int, *more: tuple[str, str]) -> bytes:
    return frame(HEADERS, END_HEADERS, stream, connection.headers(INFER, more))


FAULTS: dict[str, tuple[Callable[[Connection], bytes], int]] = {
    "DATA on stream 0": (lambda c: frame(DATA, 0, 0, b"x"), http2.PROTOCOL_ERROR),
    "DATA on an idle stream": (lambda c: frame(DATA, 0, 7, b"x"), http2.PROTOCOL_ERROR),
    "HEADERS on stream 0": (lambda c: head(c, 0), http2.PROTOCOL_ERROR),
    "HEADERS on the server's stream": (lambda c: head(c, 2), http2.PROTOCOL_ERROR),
    "RST_STREAM of an idle stream": (lambda c: http2.reset(9), http2.PROTOCOL_ERROR),
    "RST_STREAM of five bytes": (
        lambda c: head(c, 1) + frame(RST_STREAM, 0, 1, bytes(5)),
        http2.FRAME_SIZE_ERROR,
    ),
    "SETTINGS of five bytes": (lambda c: frame(SETTINGS, 0, 0, bytes(5)), http2.FRAME_SIZE_ERROR),
    "SETTINGS on a stream": (lambda c: frame(SETTINGS, 0, 1), http2.PROTOCOL_ERROR),
    "a window larger than there are": (
        lambda c: http2.settings({http2.INITIAL_WINDOW_SIZE: 2**31}),
        http2.FLOW_CONTROL_ERROR,
    ),
    "a window that overflows": (
        lambda c: http2.window_update(0, http2.LARGEST_WINDOW) * 2,
        http2.FLOW_CONTROL_ERROR,
    ),
    "a window update of nothing": (lambda c: http2.window_update(0, 0), http2.PROTOCOL_ERROR),
    "WINDOW_UPDATE of three bytes": (
        lambda c: frame(WINDOW_UPDATE, 0, 0, bytes(3)),
        http2.FRAME_SIZE_ERROR,
    ),
    "PING of seven bytes": (lambda c: frame(PING, payload=bytes(7)), http2.FRAME_SIZE_ERROR),
    "a frame beyond the largest": (
        lambda c: head(c, 1) + struct.pack(">IBI", 0xFFFFFF << 8, 0, 1) + bytes(100),
        http2.FRAME_SIZE_ERROR,
    ),
    "padding longer than the frame": (
        lambda c: head(c, 1) + frame(DATA, http2.PADDED, 1, b"\x20abc"),
        http2.PROTOCOL_ERROR,
    ),
    "a field block that is none": (
        lambda c: frame(HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff"),
        http2.COMPRESSION_ERROR,
    ),
    "something between HEADERS and CONTINUATION": (
        lambda c: frame(HEADERS, 0, 1, c.headers(INFER)) + frame(PING, payload=bytes(8)),
        http2.PROTOCOL_ERROR,
    ),
    "CONTINUATION of nothing": (
        lambda c: frame(CONTINUATION, END_HEADERS, 1, b""),
        http2.PROTOCOL_ERROR,
    ),
    "PUSH_PROMISE": (
        lambda c: head(c, 1) + frame(http2.PUSH_PROMISE, END_HEADERS, 1, bytes(4)),
        http2.PROTOCOL_ERROR,
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_the_connection(address: str, strict: bool, name: str) -> None:
    make, code = FAULTS[name]
    with Connection(address) as connection:
        connection.send(make(connection))
        if not strict:
            # Some servers overlook some of these.
            connection.until(lambda: connection.closed, timeout_s=0.3)
            return
        connection.until(lambda: connection.goaway)
        assert connection.goaway is not None
        assert connection.goaway[1] == code
        connection.until(lambda: connection.closed)
        assert connection.closed


def rest(stream: int) -> bytes:
    return frame(DATA, END_STREAM, stream, BODY)


STREAM_FAULTS: dict[str, Callable[[Connection], bytes]] = {
    "a name with capitals": lambda c: head(c, 1, ("Note", "x")) + rest(1),
    "a connection's own field": lambda c: head(c, 1, ("connection", "close")) + rest(1),
    "an unknown pseudo-field": lambda c: head(c, 1, (":note", "x")) + rest(1),
    "a pseudo-field twice": lambda c: head(c, 1, (":path", INFER)) + rest(1),
    "te that is not trailers": lambda c: head(c, 1, ("te", "gzip")) + rest(1),
    "content-length of another length": lambda c: head(c, 1, ("content-length", "1")) + rest(1),
}


@pytest.mark.parametrize("name", STREAM_FAULTS)
def test_a_fault_of_one_stream(address: str, strict: bool, name: str) -> None:
    with Connection(address) as connection:
        connection.send(STREAM_FAULTS[name](connection))
        connection.until(lambda: connection.streams[1].over or connection.goaway, 10 * strict + 0.3)
        if connection.goaway:
            assert not strict, "the whole connection ended"
            return
        stream = connection.streams[1]
        assert stream.reset or stream.status != "0" or not strict
        connection.send(connection.call(3, INFER, BODY))
        assert connection.wait(3).status == "0"


def test_no_preface(address: str, strict: bool) -> None:
    for opening in (
        b"GET /v2/health/live HTTP/1.1\r\nhost: here\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
        http2.PREFACE + frame(PING, payload=bytes(8)),
        bytes(range(256)),
        b"\x16\x03\x01\x00\xf4\x01\x00\x00\xf0\x03\x03" + bytes(200),
    ):
        with Connection(address, preface=False) as connection:
            connection.send(opening)
            connection.until(lambda c=connection: c.closed, timeout_s=10 * strict + 0.3)
            assert connection.closed or not strict


def test_more_calls_than_a_connection_may_have(ours: Any, address: str) -> None:
    with Connection(address) as connection:
        connection.greet()
        most = connection.settings[http2.MAX_CONCURRENT_STREAMS]
    ids = range(1, 2 * (most + 10) + 1, 2)
    with Connection(address) as connection:
        # A client may send before it has seen the server's limit.
        connection.send(b"".join(head(connection, stream) for stream in ids))
        beyond = [connection.streams[stream] for stream in ids[most:]]
        assert connection.until(lambda: all(stream.over for stream in beyond))
        assert {stream.reset for stream in beyond} == {http2.REFUSED_STREAM}
        assert not any(connection.streams[stream].over for stream in ids[:most])
        connection.send(rest(1))
        assert connection.wait(1).status == "0"
        # Now it has: to go beyond it is a fault.
        late = 2 * (most + 100) + 1
        connection.send(head(connection, late) + head(connection, late + 2))
        assert connection.until(lambda: connection.goaway or connection.streams[late + 2].over)


def flood(connection: Connection, frames: Callable[[int], bytes], count: int = 40_000) -> None:
    """Send without reading, until the server ends it or ``count`` is reached."""
    connection.socket.settimeout(5)
    try:
        for i in range(0, count, 500):
            connection.send(b"".join(frames(j) for j in range(i, i + 500)))
    except OSError:
        connection.closed = True


FLOODS: dict[str, Callable[[Connection], Callable[[int], bytes]]] = {
    "resets": lambda c: lambda i: head(c, 2 * i + 1) + http2.reset(2 * i + 1),
    "pings": lambda c: lambda i: frame(PING, payload=bytes(8)),
    "settings": lambda c: lambda i: http2.settings({http2.INITIAL_WINDOW_SIZE: 1000 + i % 2}),
    "empty data": lambda c: lambda i: frame(DATA, 0, 1) if i else head(c, 1),
    "continuations": lambda c: (
        lambda i: frame(CONTINUATION, 0, 1) if i else frame(HEADERS, 0, 1, c.headers(INFER))
    ),
    "calls answered with errors": lambda c: lambda i: c.call(2 * i + 1, "/nobody", b""),
}


@pytest.mark.parametrize("name", FLOODS)
def test_floods_harm_nobody(address: str, strict: bool, channel: grpc.Channel, name: str) -> None:
    with Connection(address) as connection:
        flood(connection, FLOODS[name](connection))
        wire.infer(channel, wire.full("echo_fp32", 2))
        if strict and name == "continuations":
            connection.until(lambda: connection.closed)
            assert connection.closed


def test_half_open_and_slow_peers_harm_nobody(address: str, channel: grpc.Channel) -> None:
    host, _, port = address.rpartition(":")
    peers = [socket.create_connection((host, int(port)), timeout=5) for _ in range(30)]
    for i, peer in enumerate(peers):
        if i % 3 == 0:
            peer.sendall(http2.PREFACE[: i % len(http2.PREFACE)])
        elif i % 3 == 1:
            peer.sendall(http2.PREFACE + http2.settings({}) + b"\0\0\x40\x00")
    with Connection(address) as unread:
        large = wire.encoded(wire.full("echo_fp32", 1, 8, 500))
        for stream in range(1, 101, 2):
            unread.send(head(unread, stream) + frame(DATA, 0, stream, http2.message(large)[:9000]))
        for _ in range(20):
            wire.infer(channel, wire.full("echo_fp32", 3))
    for peer in peers:
        peer.close()


def test_connections_that_break_mid_message(address: str, channel: grpc.Channel) -> None:
    for cut in range(9, 120, 10):
        connection = Connection(address)
        connection.send(connection.call(1, INFER, BODY)[:cut])
        if cut % 20 == 9:
            # An RST instead of a FIN.
            linger = struct.pack("ii", 1, 0)
            connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        connection.socket.close()
    for _ in range(20):
        wire.infer(channel, wire.full("echo_fp32", 3))
