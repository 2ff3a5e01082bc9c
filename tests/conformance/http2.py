"""A client made of HTTP/2 frames (RFC 9113), to send what no library would.

It keeps no rules but two: it acknowledges the server's SETTINGS and keeps HPACK's state.
"""

from __future__ import annotations

import socket
import struct
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType

from hpack import Decoder, Encoder

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY = range(8)
WINDOW_UPDATE, CONTINUATION = 8, 9
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITISED = 0x1, 0x1, 0x4, 0x8, 0x20
MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = 0x3, 0x4, 0x5
NO_ERROR, PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR = 0, 1, 3, 5, 6
REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, ENHANCE_YOUR_CALM = 7, 8, 9, 11
DEFAULT_WINDOW, LARGEST_WINDOW = 65_535, 2**31 - 1
DEFAULT_FRAME = 16_384


@dataclass(frozen=True)
class Frame:
    type: int
    flags: int
    stream: int
    payload: bytes


def frame(type: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    """Section 4.1."""
    return struct.pack(">IBI", len(payload) << 8 | type, flags, stream) + payload


def settings(values: dict[int, int]) -> bytes:
    """Section 6.5."""
    pairs = (struct.pack(">HI", key, value) for key, value in values.items())
    return frame(SETTINGS, payload=b"".join(pairs))


def window_update(stream: int, more: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", more))


def reset(stream: int, code: int = CANCEL) -> bytes:
    return frame(RST_STREAM, 0, stream, struct.pack(">I", code))


def data(stream: int, body: bytes) -> bytes:
    """DATA frames of the size that every server takes, the last of which ends the stream."""
    pieces = [body[i : i + DEFAULT_FRAME] for i in range(0, len(body), DEFAULT_FRAME)] or [b""]
    frames = [frame(DATA, 0, stream, piece) for piece in pieces[:-1]]
    return b"".join([*frames, frame(DATA, END_STREAM, stream, pieces[-1])])


def message(data: bytes) -> bytes:
    """gRPC's own frame, uncompressed."""
    return struct.pack(">BI", 0, len(data)) + data


@dataclass
class Stream:
    """What came on one stream so far."""

    blocks: list[dict[str, str]] = field(default_factory=list)
    """Headers and, if there are two, trailers."""
    data: bytes = b""
    frames: list[int] = field(default_factory=list)
    """Sizes of its DATA frames."""
    ended: bool = False
    reset: int | None = None

    @property
    def over(self) -> bool:
        return self.ended or self.reset is not None

    @property
    def status(self) -> str | None:
        """grpc-status, wherever it is."""
        return self.blocks[-1].get("grpc-status") if self.blocks else None

    def messages(self) -> list[bytes]:
        found, rest = [], self.data
        while rest:
            flag, size = struct.unpack_from(">BI", rest)
            assert flag == 0
            found.append(rest[5 : 5 + size])
            rest = rest[5 + size :]
        return found


class Connection:
    """One connection to ``address``, after the preface unless ``preface`` is false."""

    def __init__(
        self, address: str, values: dict[int, int] | None = None, *, preface: bool = True
    ) -> None:
        host, _, port = address.rpartition(":")
        self.authority = address
        self.socket = socket.create_connection((host, int(port)), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.encoder, self._decoder = Encoder(), Decoder()
        self._pending = bytearray()
        self._block = b""
        self.streams: dict[int, Stream] = defaultdict(Stream)
        self.seen: list[Frame] = []
        self.settings: dict[int, int] = {}
        self.goaway: tuple[int, int] | None = None
        """Last stream and error code."""
        self.closed = False
        if preface:
            self.send(PREFACE + settings(values or {}))

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def headers(self, path: str, more: Iterable[tuple[str, str]] = ()) -> bytes:
        """The field block of a gRPC request."""
        fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", self.authority),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ]
        return bytes(self.encoder.encode([*fields, *more]))

    def call(self, stream: int, path: str, body: bytes) -> bytes:
        """HEADERS and DATA: the whole request."""
        return frame(HEADERS, END_HEADERS, stream, self.headers(path)) + data(stream, body)

    def until(self, done: Callable[[], object], timeout_s: float = 10) -> bool:
        """Read until ``done()``; false if the connection ended or nothing came for a while."""
        self.socket.settimeout(timeout_s)
        while not done():
            try:
                data = self.socket.recv(1 << 16)
            except TimeoutError:
                return False
            except ConnectionError:
                data = b""
            if not data:
                self.closed = True
                return bool(done())
            self._pending += data
            self._take()
        return True

    def greet(self) -> None:
        """Wait for the server's settings: its windows are 64 KiB until they are acknowledged."""
        assert self.until(lambda: self.settings)

    def wait(self, stream: int, timeout_s: float = 10) -> Stream:
        """The stream once it is over."""
        assert self.until(lambda: self.streams[stream].over, timeout_s), (
            f"stream {stream} goes on: {self.streams[stream]}, goaway {self.goaway}"
        )
        return self.streams[stream]

    def _take(self) -> None:
        while len(self._pending) >= 9:
            size_and_type, flags, stream = struct.unpack_from(">IBI", self._pending)
            size = size_and_type >> 8
            if len(self._pending) < 9 + size:
                return
            payload = bytes(self._pending[9 : 9 + size])
            del self._pending[: 9 + size]
            self._handle(Frame(size_and_type & 0xFF, flags, stream & LARGEST_WINDOW, payload))

    def _handle(self, came: Frame) -> None:
        self.seen.append(came)
        payload = came.payload
        if came.type == DATA:
            self.streams[came.stream].data += payload
            self.streams[came.stream].frames.append(len(payload))
        elif came.type in (HEADERS, CONTINUATION):
            self._block += payload
            if came.flags & END_HEADERS:
                fields = dict(self._decoder.decode(self._block))
                self.streams[came.stream].blocks.append(fields)
                self._block = b""
        elif came.type == RST_STREAM:
            (self.streams[came.stream].reset,) = struct.unpack(">I", payload)
        elif came.type == SETTINGS and not came.flags & ACK:
            self.settings.update(struct.iter_unpack(">HI", payload))
            with suppress(ConnectionError):
                self.send(frame(SETTINGS, ACK))
        elif came.type == GOAWAY:
            last, code = struct.unpack_from(">II", payload)
            self.goaway = last & LARGEST_WINDOW, code
        if came.type in (DATA, HEADERS) and came.flags & END_STREAM:
            self.streams[came.stream].ended = True
