"""Work that blocks, beside the loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run ``work`` on a thread of its own.

    Unlike ``asyncio.to_thread``, whose threads a loop and the interpreter wait for when they end:
    a model that takes minutes to load must not hold up a server that was told to stop.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]

    def body() -> None:
        result, error = None, None
        try:
            result = work(*args, **kwargs)
        except Exception as raised:
            error = raised
        except BaseException as raised:
            # What a task raises of these would end the loop, and with it every other call.
            error = RuntimeError(f"{type(raised).__name__}: {raised}")
            error.__cause__ = raised
        try:
            loop.call_soon_threadsafe(settle, result, error)
        except RuntimeError:
            # The loop has ended; nobody waits.
            return

    threading.Thread(target=body, name="penstock-worker", daemon=True).start()
    return await done
