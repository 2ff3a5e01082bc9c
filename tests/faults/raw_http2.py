"""The least HTTP/2 that makes a gRPC call, for clients no library would be.

Header fields go as literals without indexing (RFC 7541, 6.2.2), so no HPACK state is kept, and
what the server's field blocks say is not read: only how much data came and that the stream ended.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 0x1, 0x1, 0x4
INITIAL_WINDOW_SIZE = 0x4
LARGEST_WINDOW = 2**31 - 1
DEFAULT_WINDOW = 65_535


@dataclass(frozen=True)
class Frame:
    type: int
    flags: int
    stream: int
    payload: bytes


def frame(type: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """RFC 9113, 4.1."""
    return struct.pack(">IBI", len(payload) << 8 | type, flags, stream) + payload


def opening() -> bytes:
    """The preface, with windows as large as they can be: the socket alone holds the server back."""
    settings = struct.pack(">HI", INITIAL_WINDOW_SIZE, LARGEST_WINDOW)
    window = struct.pack(">I", LARGEST_WINDOW - DEFAULT_WINDOW)
    return PREFACE + frame(SETTINGS, 0, 0, settings) + frame(WINDOW_UPDATE, 0, 0, window)


def call(stream: int, path: str, message: bytes, *, half_close: bool = True) -> bytes:
    """HEADERS and one gRPC message in one DATA frame (at most 16 KiB with its prefix)."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "faults",
        "content-type": "application/grpc",
        "te": "trailers",
    }
    block = b"".join(_literal(name.encode(), value.encode()) for name, value in fields.items())
    body = struct.pack(">BI", 0, len(message)) + message
    return frame(HEADERS, END_HEADERS, stream, block) + frame(
        DATA, END_STREAM if half_close else 0, stream, body
    )


def _literal(name: bytes, value: bytes) -> bytes:
    # Both lengths fit the seven bits of RFC 7541, 5.1.
    assert max(len(name), len(value)) < 127
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


def frames(connection: socket.socket, chunk: int) -> Iterator[Frame]:
    """Frames as they come, read ``chunk`` bytes at a time; ends where the connection does."""
    pending = bytearray()
    while data := connection.recv(chunk):
        pending += data
        while len(pending) >= 9:
            size_and_type, flags, stream = struct.unpack_from(">IBI", pending)
            size = size_and_type >> 8
            if len(pending) < 9 + size:
                break
            payload = bytes(pending[9 : 9 + size])
            del pending[: 9 + size]
            yield Frame(size_and_type & 0xFF, flags, stream & LARGEST_WINDOW, payload)
