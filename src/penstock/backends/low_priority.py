"""Heavy native work beside serving: on a thread that yields to every other one.

Linux gives each thread its own nice value, and a thread may only make its own worse without a
privilege. So the thread that loads is a fresh one which ends with its work, and models that are
Python code stay off it: a thread that the kernel rarely lets run should not hold the interpreter's
lock for longer than it takes to call into native code.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")

NICE = 10
"""A tenth of the CPU of a thread at 0 that wants the same core; see sched(7)."""

THREAD_NAME = "penstock-load"
_TASKS = "/proc/self/task"
_WATCH_S = 1.0


def run_at_low_priority(work: Callable[[], T], own_threads: int = 0) -> T:
    """Run ``work`` on a thread with a nice value of :data:`NICE` and wait for it.

    Args:
        work: mostly native, without the interpreter's lock.
        own_threads: how many threads ``work`` starts first of all and leaves behind, such as the
            pool of a session. New threads take over the nice value of the one that starts them,
            for good; so the priority is lowered when they are there.

    Returns:
        What ``work`` returns; its exception is raised.
    """
    done: Future[T] = Future()
    thread_id: Future[int] = Future()

    def body() -> None:
        _set_name(threading.get_native_id())
        if own_threads == 0:
            _lower(threading.get_native_id())
        thread_id.set_result(threading.get_native_id())
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    before = set(_tasks())
    thread = threading.Thread(target=body, name=THREAD_NAME, daemon=True)
    thread.start()
    if own_threads > 0:
        _lower_once_started(thread_id.result(), own_threads, before, done)
    thread.join()
    return done.result()


def _lower_once_started(loader: int, own_threads: int, before: set[str], done: Future[T]) -> None:
    """Lower ``loader`` when it has started its threads; they bear its name, as they copy that."""
    give_up = time.monotonic() + _WATCH_S
    pause = 0.0005
    while not done.done() and time.monotonic() < give_up:
        children = [
            task
            for task in _tasks()
            if task not in before and int(task) != loader and _name(task) == _own_name(loader)
        ]
        if len(children) >= own_threads:
            _lower(loader)
            return
        time.sleep(pause)
        pause *= 1.5


def _lower(thread_id: int) -> None:
    try:
        os.setpriority(os.PRIO_PROCESS, thread_id, NICE)
    except OSError:
        # It has ended, or a sandbox forbids it: the work is done at the usual priority.
        return


def _tasks() -> list[str]:
    try:
        return os.listdir(_TASKS)
    except OSError:
        return []


def _name(task: str) -> str:
    try:
        with open(f"{_TASKS}/{task}/comm") as file:
            return file.read().rstrip("\n")
    except OSError:
        return ""


def _own_name(thread_id: int) -> str:
    """Of one loader alone, as several load at the same time; the kernel keeps 15 characters."""
    return f"ps-load-{thread_id}"[:15]


def _set_name(thread_id: int) -> None:
    try:
        with open(f"{_TASKS}/{thread_id}/comm", "w") as file:
            file.write(_own_name(thread_id))
    except OSError:
        return
