"""HTTP/2 (RFC 9113) as it may be used: requests cut into any frames, and flow control."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as pb

from tests.conformance import http2, wire
from tests.conformance.http2 import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    PADDED,
    PING,
    PRIORITISED,
    PRIORITY,
    SETTINGS,
    Connection,
    Stream,
    frame,
    window_update,
)

INFER = wire.SERVICE + "ModelInfer"
VALUES = np.arange(12, dtype=np.float32).reshape(2, 6)
BODY = http2.message(wire.encoded(wire.request("echo_fp32", "FP32", VALUES)))


@pytest.fixture
def connection(address: str) -> Iterator[Connection]:
    with Connection(address) as open_connection:
        yield open_connection


@pytest.fixture
def whole_http2(strict: bool) -> None:
    """Skips for other servers: gRPC C++ takes neither padding nor unknown flags of DATA."""
    if not strict:
        pytest.skip("gRPC C++ has not all of HTTP/2")


def expect_values(stream: Stream) -> None:
    """The answer to BODY, in the form that gRPC over HTTP/2 has for an answer."""
    assert stream.reset in (None, http2.NO_ERROR)
    headers, trailers = stream.blocks
    assert headers[":status"] == "200"
    assert headers["content-type"].startswith("application/grpc")
    assert trailers["grpc-status"] == "0"
    assert not [name for name in trailers if name.startswith(":")]
    (message,) = stream.messages()
    response = pb.ModelInferResponse.FromString(message)
    np.testing.assert_array_equal(wire.answer(response), VALUES)


def open_stream(connection: Connection, stream: int, *, flags: int = END_HEADERS) -> bytes:
    return frame(HEADERS, flags, stream, connection.headers(INFER))


def test_a_server_begins_with_settings_and_acknowledges_ours(connection: Connection) -> None:
    assert connection.until(
        lambda: any(f.type == SETTINGS and f.flags & ACK for f in connection.seen)
    )
    first = connection.seen[0]
    assert (first.type, first.flags & ACK, first.stream) == (SETTINGS, 0, 0)


def test_a_ping_comes_back_with_its_bytes(connection: Connection) -> None:
    connection.send(frame(PING, payload=b"penstock"))
    assert connection.until(lambda: any(f.type == PING for f in connection.seen))
    (pong,) = [f for f in connection.seen if f.type == PING]
    assert (pong.flags, pong.payload) == (ACK, b"penstock")


def test_one_write_for_all(connection: Connection) -> None:
    connection.send(connection.call(1, INFER, BODY))
    expect_values(connection.wait(1))


@pytest.mark.parametrize("size", [1, 3, 5, 6, 17])
def test_a_message_in_many_frames(connection: Connection, size: int) -> None:
    pieces = [BODY[i : i + size] for i in range(0, len(BODY), size)]
    frames = b"".join(frame(DATA, 0, 1, piece) for piece in pieces)
    connection.send(open_stream(connection, 1) + frames + frame(DATA, END_STREAM, 1))
    expect_values(connection.wait(1))


def test_a_connection_byte_by_byte(address: str) -> None:
    with Connection(address, preface=False) as connection:
        call = connection.call(1, INFER, BODY)
        for byte in http2.PREFACE + http2.settings({}) + call:
            connection.send(bytes([byte]))
        expect_values(connection.wait(1))


def test_empty_frames(connection: Connection) -> None:
    connection.send(open_stream(connection, 1) + frame(DATA, 0, 1) * 3)
    connection.send(frame(DATA, 0, 1, BODY) + frame(DATA, 0, 1) + frame(DATA, END_STREAM, 1))
    expect_values(connection.wait(1))


@pytest.mark.usefixtures("whole_http2")
def test_empty_and_padded_frames(connection: Connection) -> None:
    padded = bytes([7]) + BODY[:20] + bytes(7)
    connection.send(
        open_stream(connection, 1)
        + frame(DATA, 0, 1)
        + frame(DATA, PADDED, 1, padded)
        + frame(DATA, 0, 1)
        + frame(DATA, PADDED | END_STREAM, 1, b"\xff" + BODY[20:] + bytes(255))
    )
    expect_values(connection.wait(1))


def test_headers_in_many_frames(connection: Connection) -> None:
    block = connection.headers(INFER, [("note", "x" * 300)])
    # Servers bound how many there may be: nghttp2 takes eight.
    pieces = [block[i : i + 60] for i in range(0, len(block), 60)]
    frames = frame(HEADERS, 0, 1, pieces[0])
    frames += b"".join(frame(CONTINUATION, 0, 1, piece) for piece in pieces[1:])
    frames += frame(CONTINUATION, END_HEADERS, 1)
    connection.send(frames + frame(DATA, END_STREAM, 1, BODY))
    expect_values(connection.wait(1))


@pytest.mark.usefixtures("whole_http2")
def test_padded_and_prioritised_headers(connection: Connection) -> None:
    block = connection.headers(INFER)
    priority = struct.pack(">IB", 0, 15)
    payload = bytes([4]) + priority + block + bytes(4)
    connection.send(frame(HEADERS, END_HEADERS | PADDED | PRIORITISED, 1, payload))
    connection.send(frame(PRIORITY, 0, 1, priority) + frame(DATA, END_STREAM, 1, BODY))
    expect_values(connection.wait(1))


def test_what_is_unknown_is_passed_over(connection: Connection) -> None:
    """RFC 9113, 5.5: frame types, settings and flags that nobody has defined."""
    connection.send(frame(0xFA, 0xFF, 0, b"anything") + http2.settings({0xFACE: 7}))
    connection.send(open_stream(connection, 1, flags=END_HEADERS | 0x40))
    connection.send(frame(0xFB, 0, 1, b"") + frame(DATA, END_STREAM, 1, BODY))
    expect_values(connection.wait(1))


@pytest.mark.usefixtures("whole_http2")
def test_unknown_flags_of_data(connection: Connection) -> None:
    connection.send(open_stream(connection, 1) + frame(DATA, END_STREAM | 0x80, 1, BODY))
    expect_values(connection.wait(1))


def test_headers_repeated_through_the_dynamic_table(connection: Connection) -> None:
    for stream in range(1, 101, 2):
        connection.send(connection.call(stream, INFER, BODY))
    for stream in range(1, 101, 2):
        expect_values(connection.wait(stream))


def test_calls_between_each_other(connection: Connection) -> None:
    streams = range(1, 41, 2)
    frames = [open_stream(connection, stream) for stream in streams]
    half = len(BODY) // 2
    frames += [frame(DATA, 0, stream, BODY[:half]) for stream in streams]
    frames += [frame(DATA, END_STREAM, stream, BODY[half:]) for stream in reversed(streams)]
    connection.send(b"".join(frames))
    for stream in streams:
        expect_values(connection.wait(stream))


def test_many_messages_in_one_frame(connection: Connection) -> None:
    requests = [wire.full("echo_fp32", i, id=str(i)) for i in range(50)]
    body = b"".join(http2.message(wire.encoded(each)) for each in requests)
    connection.send(connection.call(1, wire.SERVICE + "ModelStreamInfer", body))
    stream = connection.wait(1)
    assert stream.status == "0"
    responses = [pb.ModelStreamInferResponse.FromString(each) for each in stream.messages()]
    assert {each.infer_response.id for each in responses} == {str(i) for i in range(50)}


def test_an_error_is_one_block(connection: Connection) -> None:
    """ "Trailers-Only" of gRPC over HTTP/2."""
    body = http2.message(wire.encoded(wire.full("nobody", 1)))
    connection.send(connection.call(1, INFER, body))
    stream = connection.wait(1)
    (block,) = stream.blocks
    assert (block[":status"], block["grpc-status"]) == ("200", "5")
    assert block["content-type"].startswith("application/grpc")
    assert stream.data == b""


def test_answers_keep_within_a_streams_window(address: str) -> None:
    with Connection(address, {INITIAL_WINDOW_SIZE: 0}) as connection:
        connection.send(connection.call(1, INFER, BODY))
        stream = connection.streams[1]
        assert connection.until(lambda: stream.blocks)
        assert not connection.until(lambda: stream.data or stream.over, timeout_s=0.3)
        while not stream.over:
            had = len(stream.data)
            connection.send(window_update(1, 10))
            assert connection.until(lambda had=had: len(stream.data) > had or stream.over)
            assert len(stream.data) <= had + 10
        expect_values(stream)


def test_a_later_setting_changes_open_windows(address: str) -> None:
    """Section 6.9.2, a window below zero included."""
    with Connection(address, {INITIAL_WINDOW_SIZE: 100}) as connection:
        large = wire.request("echo_fp32", "FP32", np.ones((8, 64), np.float32))
        connection.send(connection.call(1, INFER, http2.message(wire.encoded(large))))
        stream = connection.streams[1]
        assert connection.until(lambda: len(stream.data) == 100)
        connection.send(http2.settings({INITIAL_WINDOW_SIZE: 10}) + window_update(1, 90))
        assert not connection.until(lambda: len(stream.data) > 100, timeout_s=0.3)
        connection.send(window_update(1, 1))
        assert connection.until(lambda: len(stream.data) == 101)
        connection.send(http2.settings({INITIAL_WINDOW_SIZE: 1 << 20}))
        assert connection.wait(1).status == "0"


def test_a_full_connection_window_holds_all_streams_back(address: str) -> None:
    with Connection(address, {INITIAL_WINDOW_SIZE: http2.LARGEST_WINDOW}) as connection:
        connection.greet()
        large = wire.request("echo_fp32", "FP32", np.ones((8, 1_000), np.float32))
        body = http2.message(wire.encoded(large))
        for stream in (1, 3, 5):
            connection.send(connection.call(stream, INFER, body))

        def came() -> int:
            return sum(len(stream.data) for stream in connection.streams.values())

        assert not connection.until(lambda: came() > http2.DEFAULT_WINDOW, timeout_s=0.5)
        assert came() == http2.DEFAULT_WINDOW
        connection.send(window_update(0, 1 << 20))
        for stream in (1, 3, 5):
            assert connection.wait(stream).status == "0"


def test_frames_are_no_larger_than_the_client_takes(address: str) -> None:
    values = {INITIAL_WINDOW_SIZE: http2.LARGEST_WINDOW}
    with Connection(address, values) as connection:
        connection.greet()
        connection.send(window_update(0, 1 << 30))
        large = wire.request("echo_fp32", "FP32", np.ones((8, 6_000), np.float32))
        body = http2.message(wire.encoded(large))
        connection.send(connection.call(1, INFER, body))
        stream = connection.wait(1)
        assert stream.status == "0"
        assert max(stream.frames) <= http2.DEFAULT_FRAME


def test_a_reset_call_is_forgotten(connection: Connection, strict: bool) -> None:
    slow = http2.message(wire.encoded(wire.full("slow", 50)))
    connection.send(connection.call(1, INFER, slow) + http2.reset(1))
    # Frames that were on their way when the reset was: section 5.1, "closed".
    connection.send(window_update(1, 100))
    connection.send(connection.call(3, INFER, BODY))
    expect_values(connection.wait(3))
    if strict:
        assert not connection.streams[1].over
