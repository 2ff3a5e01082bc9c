"""One connection to the HTTP port."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

SILENCE_S = 5.0
"""How long a request may take to arrive; also what uvicorn allows between two of them."""


class HttpConnection(H11Protocol):
    """uvicorn's, and an end to those that do not finish a request.

    uvicorn's own timer runs between a response and the next byte only: whoever connects and says
    nothing, or half a header, would keep a place for ever, and the 256th of them would turn the
    readiness probe of everybody else into a 503.
    """

    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._waiting is None and self._unfinished:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
        super().connection_lost(exc)

    @property
    def _unfinished(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def _wait(self) -> None:
        self._waiting = self.loop.call_later(SILENCE_S, self._end_silence, self.cycle)

    def _end_silence(self, last: Any) -> None:
        self._waiting = None
        if self.cycle is last and self._unfinished and not self.transport.is_closing():
            self.transport.close()
