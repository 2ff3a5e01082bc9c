"""Sixty-four clients of four kinds; only the first knows manners."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import grpc
import numpy as np
from tritonclient.grpc import service_pb2 as pb

from tests.faults import raw_http2
from tests.faults.served import Served
from tests.faults.traffic import (
    MODEL_INFER,
    MODEL_STREAM_INFER,
    Tally,
    make_malformed,
    make_request,
)

UNARY, STREAMING, DISCONNECTING, SLOW = 28, 12, 12, 12
CALLS_PER_CONNECTION = 200
REFUSALS = (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED)
"""A deadline that passed, or that the server saw it would not make."""


@asynccontextmanager
async def connected(served: Served) -> AsyncIterator[grpc.aio.Channel]:
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
    async with grpc.aio.insecure_channel(served.grpc, options) as channel:
        yield channel


async def unary(served: Served, seed: int, tally: Tally, stop: threading.Event) -> None:
    """One call after the other; some cancelled, some in a hurry, some malformed."""
    random = np.random.default_rng(seed)
    while not stop.is_set():
        async with connected(served) as channel:
            infer = channel.unary_unary(
                MODEL_INFER,
                request_serializer=pb.ModelInferRequest.SerializeToString,
                response_deserializer=pb.ModelInferResponse.FromString,
            )
            for number in range(CALLS_PER_CONNECTION):
                if stop.is_set():
                    break
                request = make_request("plus", random, random.integers(1, 9), f"{seed}-{number}")
                kind = random.choice(
                    ["plain", "cancelled", "hurried", "malformed"], p=[0.7, 0.1, 0.1, 0.1]
                )
                if kind == "malformed":
                    request = make_malformed(random)
                timeout = random.uniform(0.0005, 0.02) if kind == "hurried" else 30
                call = infer(request, timeout=timeout)
                if kind == "cancelled":
                    await asyncio.sleep(random.uniform(0, 0.003))
                    call.cancel()
                await finish_unary(call, request, kind, tally)


async def finish_unary(
    call: grpc.aio.UnaryUnaryCall, request: pb.ModelInferRequest, kind: str, tally: Tally
) -> None:
    """Wait for the status, which must be one that ``kind`` may have."""
    try:
        response = await call
    except asyncio.CancelledError:
        # Of the call; nobody cancels a client.
        tally.count("cancelled")
        if kind != "cancelled":
            tally.violate(f"{request.id}: a {kind} call was cancelled")
    except grpc.aio.AioRpcError as error:
        allowed = {"hurried": REFUSALS, "malformed": (grpc.StatusCode.INVALID_ARGUMENT,)}
        tally.count(f"{kind}: {error.code().name}")
        if error.code() not in allowed.get(kind, ()):
            tally.violate(f"{request.id}: {kind}: {error.code().name}: {error.details()}")
    else:
        if kind == "malformed":
            tally.violate("a malformed request was answered")
        tally.check(request, response)


async def streaming(served: Served, seed: int, tally: Tally, stop: threading.Event) -> None:
    """Many requests in flight on one call; every fifth call is cancelled on its way."""
    random = np.random.default_rng(seed)
    async with connected(served) as channel:
        infer = channel.stream_stream(
            MODEL_STREAM_INFER,
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelStreamInferResponse.FromString,
        )
        while not stop.is_set():
            requests = {
                str(number): make_request("plus", random, random.integers(1, 5), str(number))
                for number in range(random.integers(1, 50))
            }
            cancel_after = random.integers(len(requests)) if random.random() < 0.2 else None
            call = infer(iter(requests.values()), timeout=30)
            try:
                await answered_once(call, requests, cancel_after, tally)
            except asyncio.CancelledError:
                tally.count("stream cancelled")
                if cancel_after is None:
                    tally.violate("a stream was cancelled that nobody cancelled")
            except grpc.aio.AioRpcError as error:
                tally.violate(f"stream: {error.code().name}: {error.details()}")


async def answered_once(
    call: grpc.aio.StreamStreamCall,
    requests: dict[str, pb.ModelInferRequest],
    cancel_after: int | None,
    tally: Tally,
) -> None:
    """Read the whole stream; each id must come once."""
    waiting = dict(requests)
    async for response in call:
        answer = response.infer_response
        request = waiting.pop(answer.id, None)
        if request is None:
            tally.violate(f"stream: id {answer.id!r} came twice or was never sent")
        elif response.error_message:
            tally.violate(f"stream: {answer.id}: {response.error_message}")
        else:
            tally.check(request, answer)
        if cancel_after is not None and len(requests) - len(waiting) > cancel_after:
            call.cancel()
    if waiting and cancel_after is None:
        tally.violate(f"stream: ended with {len(waiting)} of {len(requests)} unanswered")


def disconnecting(served: Served, seed: int, tally: Tally, stop: threading.Event) -> None:
    """Sends some calls, cut off anywhere, and goes without a word or with a reset."""
    random = np.random.default_rng(seed)
    while not stop.is_set():
        calls = b"".join(
            raw_http2.call(
                stream,
                str(random.choice([MODEL_INFER, MODEL_STREAM_INFER])),
                make_request("plus", random, 4, str(stream)).SerializeToString(),
                half_close=bool(random.random() < 0.7),
            )
            for stream in range(1, 2 * int(random.integers(1, 20)), 2)
        )
        sent = raw_http2.opening() + calls
        with socket.create_connection((served.grpc_host, served.grpc_port)) as connection:
            if random.random() < 0.5:
                # Closing sends a reset.
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            with contextlib.suppress(ConnectionError):
                connection.sendall(sent[: random.integers(1, len(sent) + 1)])
                stop.wait(random.uniform(0, 0.05))
        tally.count("disconnected")


def slow(served: Served, seed: int, tally: Tally, stop: threading.Event) -> None:
    """Asks for more than the sockets between hold, and takes it in sips."""
    random = np.random.default_rng(seed)
    while not stop.is_set():
        requests = {
            stream: make_request("wide", random, 4, str(stream)) for stream in range(1, 7, 2)
        }
        with socket.socket() as connection:
            # Before connecting, or the window has been offered already (tcp(7)).
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * 1024)
            connection.settimeout(30)
            connection.connect((served.grpc_host, served.grpc_port))
            calls = [
                raw_http2.call(stream, MODEL_INFER, request.SerializeToString())
                for stream, request in requests.items()
            ]
            connection.sendall(raw_http2.opening() + b"".join(calls))
            sip = int(random.integers(16, 64)) * 1024
            for stream, body in bodies(connection, set(requests), sip, stop):
                response = pb.ModelInferResponse.FromString(body[5:])
                tally.check(requests.pop(stream), response)
        if requests:
            tally.violate(f"slow reader: {len(requests)} calls never answered")


def bodies(
    connection: socket.socket, streams: set[int], sip: int, stop: threading.Event
) -> Iterator[tuple[int, bytes]]:
    """Each stream's DATA once the stream has ended, until all have."""
    data = {stream: bytearray() for stream in streams}
    for frame in raw_http2.frames(connection, sip):
        if frame.type in (raw_http2.RST_STREAM, raw_http2.GOAWAY):
            raise AssertionError(f"slow reader: the server gave up: {frame}")
        if frame.type in (raw_http2.SETTINGS, raw_http2.PING) and not frame.flags & raw_http2.ACK:
            echoed = frame.payload if frame.type == raw_http2.PING else b""
            connection.sendall(raw_http2.frame(frame.type, raw_http2.ACK, 0, echoed))
        if frame.type == raw_http2.DATA:
            data[frame.stream] += frame.payload
            # Half a millisecond a frame: 32 MiB/s at most, a sip of them at a time.
            stop.wait(0.0005)
        if frame.type in (raw_http2.DATA, raw_http2.HEADERS) and (
            frame.flags & raw_http2.END_STREAM
        ):
            yield frame.stream, bytes(data.pop(frame.stream))
        if not data:
            return
