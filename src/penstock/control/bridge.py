"""Carries calls between the native transport and handlers on an asyncio loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from google.protobuf.message import DecodeError

from penstock import protos
from penstock._native.engine import Engine, RequestError

if TYPE_CHECKING:
    from penstock._native.engine import ControlCall

log = logging.getLogger("penstock.control")

INVALID_ARGUMENT, NOT_FOUND, RESOURCE_EXHAUSTED = 3, 5, 8
UNIMPLEMENTED, INTERNAL, UNAVAILABLE = 12, 13, 14
"""gRPC status codes that handlers answer with."""

MAX_WAITING = 1_024
"""Messages of one call that its handler has not taken yet."""

Send = Callable[[Any], None]
UnaryHandler = Callable[[Any], Awaitable[Any]]
"""A request message to its response message."""
StreamHandler = Callable[[AsyncIterator[Any], Send], Awaitable[None]]
"""Request messages as they come, and a function that sends a response message."""

_NATIVE = frozenset(
    f"/inference.GRPCInferenceService/{name}" for name in ("ModelInfer", "ModelStreamInfer")
)
_STOPPING = "the server is stopping"
_End = Literal["half_close", "drain"]
_HALF_CLOSE: Final[_End] = "half_close"
_DRAIN: Final[_End] = "drain"


@dataclass(frozen=True, slots=True)
class Handler:
    """What answers one method: exactly one of the two functions."""

    unary: UnaryHandler | None = None
    stream: StreamHandler | None = None


@dataclass(slots=True)
class _Call:
    method: protos.Method
    task: asyncio.Task[None] | None = None
    messages: asyncio.Queue[bytes | _End] = field(default_factory=asyncio.Queue)


def control_methods() -> dict[str, protos.Method]:
    """Methods by path that Python answers: all of the contract but the inference itself."""
    return {
        method.path: method
        for methods in protos.services().values()
        for method in methods
        if method.path not in _NATIVE
    }


class Bridge:
    """Reads the engine's control queue and runs a handler for each call.

    Every call ends with one status: OK when its handler returns, that of a RequestError it
    raises, INTERNAL for any other exception. All methods belong to the loop's thread.

    Args:
        handlers: by path, one for each of :func:`control_methods`.
    """

    def __init__(self, engine: Engine, handlers: Mapping[str, Handler]) -> None:
        self._engine = engine
        self._handlers = handlers
        self._methods = control_methods()
        missing = self._methods.keys() - handlers.keys()
        if missing:
            raise ValueError(f"no handler for {', '.join(sorted(missing))}")
        self._calls: dict[int, _Call] = {}
        self._draining = False

    def attach(self) -> None:
        """Start reading, on the running loop."""
        asyncio.get_running_loop().add_reader(self._engine.control_fd, self._read)

    def drain(self) -> None:
        """End streams that wait for their client; answer what has come."""
        self._draining = True
        for call in self._calls.values():
            if call.method.client_streaming:
                call.messages.put_nowait(_DRAIN)

    async def close(self) -> None:
        """Stop reading and end what is open with UNAVAILABLE."""
        asyncio.get_running_loop().remove_reader(self._engine.control_fd)
        tasks = [call.task for call in self._calls.values() if call.task is not None]
        for number in list(self._calls):
            self._finish(number, UNAVAILABLE, _STOPPING)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _read(self) -> None:
        for event in self._engine.take_control_calls():
            self._on_event(event)

    def _on_event(self, event: ControlCall) -> None:
        number = event["id"]
        if event["event"] == "gone":
            call = self._calls.pop(number, None)
            if call is not None and call.task is not None:
                call.task.cancel()
            return
        call = self._calls.get(number)
        if call is None:
            if not event["first"]:
                # It was ended here while this was on its way.
                return
            call = self._calls[number] = _Call(self._methods[event["method"]])
            call.task = asyncio.get_running_loop().create_task(self._serve(number, call))
        if event["event"] == "half_close":
            call.messages.put_nowait(_HALF_CLOSE)
            return
        if call.messages.qsize() >= MAX_WAITING:
            self._finish(
                number, RESOURCE_EXHAUSTED, f"more than {MAX_WAITING} messages wait on this call"
            )
            if call.task is not None:
                call.task.cancel()
            return
        call.messages.put_nowait(event["message"])
        if not call.method.client_streaming:
            call.messages.put_nowait(_HALF_CLOSE)
        elif self._draining:
            call.messages.put_nowait(_DRAIN)

    async def _serve(self, number: int, call: _Call) -> None:
        code, text = 0, ""
        try:
            await self._answer(number, call)
        except RequestError as error:
            code, text = error.code, error.message
        except Exception as error:
            log.exception("the handler of %s failed", call.method.path)
            code, text = INTERNAL, f"{type(error).__name__}: {error}"
        self._finish(number, code, text)

    async def _answer(self, number: int, call: _Call) -> None:
        handler = self._handlers[call.method.path]
        request_type = protos.message(call.method.request)

        def send(response: Any) -> None:
            self._engine.control_send(number, response.SerializeToString())

        async def requests() -> AsyncIterator[Any]:
            while True:
                message = await call.messages.get()
                if message == _HALF_CLOSE:
                    return
                if message == _DRAIN:
                    raise RequestError(UNAVAILABLE, _STOPPING)
                yield _decode(request_type, message)

        if handler.stream is not None:
            await handler.stream(requests(), send)
            return
        assert handler.unary is not None
        async for request in requests():
            send(await handler.unary(request))

    def _finish(self, number: int, code: int, text: str) -> None:
        """Unless the call has ended, by its client or here."""
        if self._calls.pop(number, None) is not None:
            self._engine.control_finish(number, code, text)


def _decode(request_type: Any, data: Any) -> Any:
    try:
        return request_type.FromString(data)
    except DecodeError as error:
        raise RequestError(
            INVALID_ARGUMENT,
            f"{len(data)} bytes came that are no {request_type.DESCRIPTOR.full_name}: {error}",
        ) from None
