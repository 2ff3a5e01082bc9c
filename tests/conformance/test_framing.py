"""gRPC over HTTP/2 below the client libraries: message frames, headers, encodings.

https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
"""

from __future__ import annotations

import gzip
import re
import struct
import zlib
from collections.abc import Callable, Iterator

import grpc
import pytest

from tests.conformance import http2, wire
from tests.conformance.process import Running

Post = Callable[..., dict[str, str]]
OK, INVALID_ARGUMENT, NOT_FOUND, EXHAUSTED, UNIMPLEMENTED = 0, 3, 5, 8, 12
MESSAGE = wire.encoded(wire.full("echo_fp32", 1, 1, 4))


def frame(message: bytes, *, flag: int = 0, length: int | None = None) -> bytes:
    return struct.pack(">BI", flag, len(message) if length is None else length) + message


@pytest.fixture
def post(address: str) -> Post:
    """Sends one request in one write, and gives the fields of the answer's last block, with
    ":status" and the names of the first."""

    def ask(
        body: bytes,
        *more: tuple[str, str],
        method: str = "ModelInfer",
        verb: str = "POST",
        kind: str = "application/grpc",
    ) -> dict[str, str]:
        with http2.Connection(address) as connection:
            connection.greet()
            fields = [
                (":method", verb),
                (":scheme", "http"),
                (":path", wire.SERVICE + method),
                (":authority", address),
                ("content-type", kind),
                ("te", "trailers"),
            ]
            block = connection.encoder.encode([*fields, *more])
            head = http2.frame(http2.HEADERS, http2.END_HEADERS, 1, block)
            connection.send(head + http2.data(1, body))
            stream = connection.wait(1)
            return {name: value for block in stream.blocks for name, value in block.items()}

    return ask


@pytest.fixture(autouse=True)
def still_serving(channel: grpc.Channel) -> Iterator[None]:
    yield
    wire.infer(channel, MESSAGE)


def test_a_good_frame(post: Post) -> None:
    fields = post(frame(MESSAGE))
    assert fields[":status"] == "200"
    assert fields["content-type"].startswith("application/grpc")
    assert fields["grpc-status"] == str(OK)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\0\0",
        frame(MESSAGE)[:-1],
        frame(MESSAGE, length=len(MESSAGE) + 10),
        frame(MESSAGE, length=len(MESSAGE) - 10),
        frame(MESSAGE) + b"\0",
        frame(MESSAGE) * 2,
    ],
    ids=[
        "no message",
        "half a prefix",
        "cut off",
        "length too long",
        "length too short",
        "a byte too many",
        "two messages",
    ],
)
def test_bad_frames(post: Post, strict: bool, body: bytes) -> None:
    """gRPC's libraries mostly have INTERNAL or UNIMPLEMENTED; C++ looks at no second message."""
    fields = post(body)
    if strict:
        assert fields["grpc-status"] == str(INVALID_ARGUMENT), fields
        assert fields["grpc-message"]
    elif not body.startswith(frame(MESSAGE)):
        assert fields.get("grpc-status") != str(OK)


def test_gzip(post: Post) -> None:
    zipped = frame(gzip.compress(MESSAGE), flag=1)
    assert post(zipped, ("grpc-encoding", "gzip"))["grpc-status"] == str(OK)
    # Not every message of a compressed call is compressed.
    assert post(frame(MESSAGE), ("grpc-encoding", "gzip"))["grpc-status"] == str(OK)
    assert post(frame(MESSAGE), ("grpc-encoding", "identity"))["grpc-status"] == str(OK)


def test_an_answer_is_compressed_for_who_accepts_it(ours: Running, post: Post) -> None:
    large = wire.encoded(wire.full("echo_fp32", 1, 8, 1000))
    zipped = frame(gzip.compress(large), flag=1)
    accepted = post(zipped, ("grpc-encoding", "gzip"), ("grpc-accept-encoding", "identity,gzip"))
    assert accepted["grpc-encoding"] == "gzip"
    for accepts in (("grpc-accept-encoding", "identity"), ("grpc-accept-encoding", "deflate")):
        fields = post(zipped, ("grpc-encoding", "gzip"), accepts)
        assert fields["grpc-status"] == str(OK)
        assert fields.get("grpc-encoding", "identity") == "identity"


@pytest.mark.parametrize(
    ("zipped", "encoding"),
    [
        (gzip.compress(MESSAGE)[:-9] + b"123456789", "gzip"),
        (gzip.compress(MESSAGE)[:-8], "gzip"),
        (gzip.compress(MESSAGE) + b"more", "gzip"),
        (b"", "gzip"),
        (zlib.compress(MESSAGE), "gzip"),
        (gzip.compress(MESSAGE), "identity"),
    ],
    ids=["wrong checksum", "cut off", "bytes behind it", "nothing", "not gzip", "not announced"],
)
def test_corrupt_compression(post: Post, strict: bool, zipped: bytes, encoding: str) -> None:
    fields = post(frame(zipped, flag=1), ("grpc-encoding", encoding))
    if strict or zipped:
        assert fields.get("grpc-status") != str(OK)
    if strict:
        assert fields["grpc-message"]


def test_compressed_without_an_encoding(post: Post) -> None:
    assert post(frame(gzip.compress(MESSAGE), flag=1)).get("grpc-status") != str(OK)


def test_an_unknown_encoding_is_told_the_known_ones(post: Post, strict: bool) -> None:
    fields = post(frame(MESSAGE, flag=1), ("grpc-encoding", "snappy"))
    assert fields["grpc-status"] != str(OK)
    if strict:
        assert fields["grpc-status"] == str(UNIMPLEMENTED)
        assert "gzip" in fields["grpc-accept-encoding"]


def test_a_flag_that_is_neither_0_nor_1(post: Post) -> None:
    assert post(frame(MESSAGE, flag=7)).get("grpc-status") != str(OK)


def test_a_gzip_bomb_meets_the_message_limit(ours: Running, post: Post) -> None:
    bomb = gzip.compress(bytes(80 << 20))
    fields = post(frame(bomb, flag=1), ("grpc-encoding", "gzip"))
    assert fields["grpc-status"] == str(EXHAUSTED)
    assert "max_message_bytes" in fields["grpc-message"]


@pytest.mark.parametrize("kind", ["application/grpc", "application/grpc+proto"])
def test_content_types_of_grpc(post: Post, kind: str) -> None:
    assert post(frame(MESSAGE), kind=kind)["grpc-status"] == str(OK)


@pytest.mark.parametrize("kind", ["application/json", "application/grpcx", "text/plain"])
def test_wrong_content_type(post: Post, strict: bool, kind: str) -> None:
    """gRPC over HTTP/2: 415. gRPC C++ answers all the same."""
    fields = post(frame(MESSAGE), kind=kind)
    if strict:
        assert fields[":status"] == "415"
        assert fields["grpc-status"] != str(OK)


def test_wrong_verb(post: Post) -> None:
    fields = post(b"", verb="GET")
    assert fields[":status"] == "405" or fields.get("grpc-status") != str(OK)


@pytest.mark.parametrize("method", ["Nothing", "", "ModelInfer/", "modelinfer"])
def test_unknown_method(post: Post, strict: bool, method: str) -> None:
    fields = post(frame(MESSAGE), method=method)
    assert fields[":status"] == "200"
    assert fields["grpc-status"] == str(UNIMPLEMENTED)
    if strict:
        assert method in fields["grpc-message"]


@pytest.mark.parametrize("value", ["1H", "99999999M", "10S", "9999m", "9999999u", "99999999n"])
def test_timeouts(post: Post, value: str) -> None:
    assert post(frame(MESSAGE), ("grpc-timeout", value))["grpc-status"] == str(OK)


@pytest.mark.parametrize("value", ["1", "S", "abcS", "123456789S", "-1S", "1.5S", "1s", "1 S"])
def test_bad_timeouts(post: Post, strict: bool, value: str) -> None:
    fields = post(frame(MESSAGE), ("grpc-timeout", value))
    if strict:
        assert fields["grpc-status"] == str(INVALID_ARGUMENT)
        assert "grpc-timeout" in fields["grpc-message"]


def test_a_timeout_of_nothing(post: Post) -> None:
    assert post(frame(MESSAGE), ("grpc-timeout", "0n")).get("grpc-status") in ("4", "1")


def test_messages_are_percent_encoded(post: Post) -> None:
    """gRPC over HTTP/2, "Status-Message": ASCII from space to tilde, but for percent."""
    message = wire.full("m\N{SNOWMAN}\n%", 1)
    fields = post(frame(wire.encoded(message)))
    assert fields["grpc-status"] == str(NOT_FOUND)
    assert re.fullmatch(r"(?:[ -$&-~]|%[0-9A-F]{2})*", fields["grpc-message"])
    assert "%25" in fields["grpc-message"]


def test_metadata_of_any_kind(post: Post) -> None:
    fields = post(
        frame(MESSAGE),
        ("x-note", "anything"),
        ("x-data-bin", "AP8="),
        ("user-agent", "curl-for-grpc/1"),
        ("grpc-message-type", "inference.ModelInferRequest"),
        ("x-long", "x" * 2000),
    )
    assert fields["grpc-status"] == str(OK)
