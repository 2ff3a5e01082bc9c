"""Work on threads: what it gives and raises arrives on the loop."""

from __future__ import annotations

import asyncio

import pytest

from penstock.control.worker import in_thread
from tests.control.fakes import run


def test_what_work_gives_and_raises() -> None:
    async def test() -> None:
        assert await in_thread(divmod, 7, 2) == (3, 1)
        with pytest.raises(ZeroDivisionError):
            await in_thread(divmod, 7, 0)

    run(test())


def test_work_that_exits_ends_no_loop() -> None:
    async def test() -> None:
        def leave() -> None:
            raise SystemExit("enough")

        with pytest.raises(RuntimeError, match="SystemExit: enough") as error:
            await in_thread(leave)
        assert isinstance(error.value.__cause__, SystemExit)
        # As a task, which is how it would get at the loop.
        (failed,) = await asyncio.gather(
            asyncio.create_task(in_thread(leave)), return_exceptions=True
        )
        assert isinstance(failed, RuntimeError)

    run(test())
