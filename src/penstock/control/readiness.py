"""Whether the server is ready, and for whom that matters."""

from __future__ import annotations

import asyncio


class Readiness:
    """Ready once the repository is loaded, until it drains.

    Belongs to the loop's thread; ``changed`` wakes whoever watches.
    """

    def __init__(self) -> None:
        self._ready = False
        self._changed = asyncio.Event()

    @property
    def ready(self) -> bool:
        return self._ready

    def set(self, ready: bool) -> None:
        """Turn the answer, and tell the watchers."""
        self._ready = ready
        self.notify()

    def notify(self) -> None:
        """Something that a watcher may see has changed: a model came or went."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def changed(self) -> None:
        """Wait for the next notify()."""
        await self._changed.wait()
