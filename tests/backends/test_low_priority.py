"""Threads that load must yield, and the threads that they leave behind must not."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from penstock.backends.low_priority import NICE, run_at_low_priority


def nice_of(thread_id: int) -> int:
    return os.getpriority(os.PRIO_PROCESS, thread_id)


@pytest.fixture(autouse=True)
def at_the_usual_priority() -> None:
    if nice_of(threading.get_native_id()) + NICE > 19:
        pytest.skip("the tests themselves run at a low priority")


def test_work_runs_elsewhere_and_lower() -> None:
    here = threading.get_native_id()
    mine = nice_of(here)
    there, lower = run_at_low_priority(
        lambda: (threading.get_native_id(), nice_of(threading.get_native_id()))
    )
    assert there != here
    assert lower == max(mine, NICE)
    assert nice_of(here) == mine


def test_errors_come_back() -> None:
    with pytest.raises(ZeroDivisionError):
        run_at_low_priority(lambda: 1 // 0)


def test_threads_that_stay_keep_the_usual_priority() -> None:
    mine = nice_of(threading.get_native_id())
    stop = threading.Event()

    def work() -> tuple[list[int], int]:
        started: list[int] = []
        ready = threading.Barrier(4)

        def stay() -> None:
            started.append(threading.get_native_id())
            ready.wait(10)
            stop.wait(10)

        for _ in range(3):
            threading.Thread(target=stay, daemon=True).start()
        ready.wait(10)
        # The loader itself is lowered as soon as they are seen.
        deadline = time.monotonic() + 5
        while nice_of(threading.get_native_id()) < NICE and time.monotonic() < deadline:
            time.sleep(0.001)
        return started, nice_of(threading.get_native_id())

    try:
        started, loader = run_at_low_priority(work, own_threads=3)
        assert len(started) == 3
        assert [nice_of(thread_id) for thread_id in started] == [mine] * 3
        assert loader == max(mine, NICE)
    finally:
        stop.set()


def test_a_session_s_threads_keep_the_usual_priority(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    from penstock.backends.sessions import SessionSettings, create_session
    from tests import models

    mine = nice_of(threading.get_native_id())
    before = set(os.listdir("/proc/self/task"))
    folder = models.write(tmp_path, "m", models.mlp((256, 256, 256)))
    session = create_session(folder / "1" / "model.onnx", SessionSettings(), 4)
    # The loader's own thread may be on its way out.
    deadline = time.monotonic() + 5
    while len(pool := set(os.listdir("/proc/self/task")) - before) > 3:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    assert [nice_of(int(task)) for task in pool] == [mine] * 3
    del session


def test_loaders_at_the_same_time_know_their_own_threads() -> None:
    """What one loader leaves behind must not be counted as another's, nor be lowered."""
    mine = nice_of(threading.get_native_id())
    stop = threading.Event()
    started: list[int] = []

    def work() -> None:
        # Late, so that the threads of all loaders start about together.
        time.sleep(0.02)
        ready = threading.Barrier(3)

        def stay() -> None:
            started.append(threading.get_native_id())
            ready.wait(10)
            stop.wait(10)

        for _ in range(2):
            threading.Thread(target=stay, daemon=True).start()
            time.sleep(0.01)
        ready.wait(10)

    loaders = [threading.Thread(target=run_at_low_priority, args=(work, 2)) for _ in range(4)]
    try:
        for loader in loaders:
            loader.start()
        for loader in loaders:
            loader.join(20)
        assert [nice_of(thread_id) for thread_id in started] == [mine] * 8
    finally:
        stop.set()
