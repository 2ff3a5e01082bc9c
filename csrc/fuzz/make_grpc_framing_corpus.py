"""Writes the seeds of grpc_framing_fuzz: what a client sends, one case a file.

Run it with any interpreter::

    python csrc/fuzz/make_grpc_framing_corpus.py csrc/fuzz/corpus/grpc_framing

The first byte of a file seeds how its bytes are split, an even second byte puts
the HTTP/2 preface in front; methods and limits are those of
grpc_framing_fuzz.cc.
"""

from __future__ import annotations

import gzip
import struct
import sys
from pathlib import Path

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    0,
    1,
    3,
    4,
    6,
    7,
    8,
    9,
)
END_STREAM, END_HEADERS, PADDED = 1, 4, 8
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame (RFC 9113 section 4.1)."""
    length = struct.pack(">I", len(payload))[1:]
    return length + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def field(name: str, value: str) -> bytes:
    """A literal field without indexing (RFC 7541 section 6.2.2)."""
    return b"\x00" + b"".join(bytes([len(s)]) + s.encode() for s in (name, value))


def fields(path: str, *more: tuple[str, str]) -> bytes:
    """The fields of a gRPC request; 0x83 0x86 are :method POST and :scheme http."""
    usual = [(":path", path), (":authority", "f"), ("content-type", "application/grpc")]
    return b"\x83\x86" + b"".join(field(*each) for each in [*usual, ("te", "trailers"), *more])


def request(stream: int, path: str, *more: tuple[str, str], end: bool = False) -> bytes:
    flags = END_HEADERS | (END_STREAM if end else 0)
    return frame(HEADERS, flags, stream, fields(path, *more))


def message(body: bytes, compressed: int = 0) -> bytes:
    return struct.pack(">BI", compressed, len(body)) + body


def seed(split: int, *wire: bytes) -> bytes:
    return bytes([split, 0]) + b"".join(wire)


def cases() -> dict[str, bytes]:
    one, chat = request(1, "/f.F/One"), request(1, "/f.F/Chat")
    zipped = gzip.compress(b"\x03" * 5000, mtime=0)
    hello = message(b"\x00hello")

    def last(payload: bytes, stream: int = 1) -> bytes:
        return frame(DATA, END_STREAM, stream, payload)

    def part(payload: bytes, stream: int = 1) -> bytes:
        return frame(DATA, 0, stream, payload)

    encoded = request(1, "/f.F/One", ("grpc-encoding", "gzip"), ("grpc-accept-encoding", "gzip"))
    return {
        "unary": seed(0, one, last(hello)),
        "unary_split": seed(7, one, part(hello[:3]), part(hello[3:]), last(b"")),
        "error": seed(0, one, last(message(b"\x01 bad \xc3\xa9 %"))),
        "chat": seed(
            3,
            chat,
            part(message(b"\x03a") + message(b"\x03bb") + message(b"\x04c")),
            last(message(b"\x03d")),
        ),
        "up": seed(
            3, request(1, "/f.F/Up"), part(message(b"\x04a") + message(b"\x04bb")), last(b"")
        ),
        "down": seed(0, request(1, "/f.F/Down"), last(message(b"\x02abc"))),
        "gzip": seed(0, encoded, last(message(zipped, 1))),
        "gzip_cut": seed(0, encoded, last(message(zipped[:-4], 1))),
        "bomb": seed(0, encoded, last(message(gzip.compress(bytes(200_000), mtime=0), 1))),
        "two_messages": seed(0, one, last(message(b"a") + message(b"b"))),
        "no_message": seed(0, request(1, "/f.F/One", end=True)),
        "truncated": seed(0, one, last(hello[:7])),
        "too_large": seed(0, one, part(struct.pack(">BI", 0, 0x7FFFFFFF) + b"x" * 50)),
        "bad_flag": seed(0, one, last(message(b"", 5))),
        "timeout": seed(
            9,
            request(1, "/f.F/Chat", ("grpc-timeout", "2m")),
            part(message(b"\x03" + b"x" * 300)),
            frame(PING, 0, 0, b"12345678") * 20,
        ),
        "bad_timeout": seed(0, request(1, "/f.F/One", ("grpc-timeout", "soon"), end=True)),
        "unknown_method": seed(0, request(1, "/f.F/None", end=True)),
        # 0x82 0x86 0x84 are :method GET, :scheme http and :path /.
        "get": seed(
            0,
            frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x82\x86\x84" + field(":authority", "f")),
        ),
        "reset": seed(
            0,
            chat,
            part(message(b"\x03a")),
            frame(RST_STREAM, 0, 1, struct.pack(">I", 8)),
            request(3, "/f.F/One"),
            last(hello, 3),
        ),
        "tiny_window": seed(
            5,
            frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 3)),
            chat,
            part(message(b"\x03" + b"w" * 50)),
            frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 9)),
            frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 900)),
        ),
        "padded_trailers": seed(
            0,
            one,
            frame(DATA, PADDED, 1, b"\x04" + hello + bytes(4)),
            frame(HEADERS, END_HEADERS | END_STREAM, 1, field("x-end", "1")),
        ),
        "continuation": seed(
            0,
            frame(HEADERS, 0, 1, fields("/f.F/One")[:20]),
            frame(CONTINUATION, END_HEADERS, 1, fields("/f.F/One")[20:]),
            last(hello),
        ),
        "large_headers": seed(
            0, request(1, "/f.F/One", *[(f"x-{i}", "v" * 120) for i in range(16)], end=True)
        ),
        "many_streams": seed(0, *[request(2 * i + 1, "/f.F/Chat") for i in range(20)]),
        "goaway": seed(0, one, frame(GOAWAY, 0, 0, bytes(8)), last(hello)),
        "preface_only": b"\x01\x01" + PREFACE + frame(SETTINGS, 0, 0, b""),
        "http1": b"\x01\x01GET / HTTP/1.1\r\n\r\n",
    }


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in cases().items():
        (folder / name).write_bytes(content)


if __name__ == "__main__":
    main()
