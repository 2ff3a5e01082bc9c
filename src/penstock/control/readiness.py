"""Whether the server is ready, and for whom that matters."""

from __future__ import annotations

import asyncio
from typing import Literal

State = Literal["starting", "ready", "draining"]


class Readiness:
    """Ready once the repository is loaded, until the server drains.

    Written on the loop's thread, read by any; ``changed`` wakes whoever watches.
    """

    def __init__(self) -> None:
        self._state: State = "starting"
        self._changed = asyncio.Event()

    @property
    def ready(self) -> bool:
        """Whether the server as a whole takes requests."""
        return self._state == "ready"

    @property
    def draining(self) -> bool:
        """Whether it is on its way down; it does not come back."""
        return self._state == "draining"

    def set(self, state: State) -> None:
        """Turn the answer, and tell the watchers."""
        if self._state != "draining":
            self._state = state
        self.notify()

    def notify(self) -> None:
        """Something that a watcher may see has changed: a model came or went."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def changed(self) -> None:
        """Wait for the next notify()."""
        await self._changed.wait()
