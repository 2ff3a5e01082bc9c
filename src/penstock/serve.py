"""What ``penstock serve`` does between the first log line and the exit status."""

from __future__ import annotations

import logging
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn

from penstock import exits
from penstock.banner import banner_text
from penstock.logs import event
from penstock.options import OptionsError, ServerOptions
from penstock.server import BindError, NoModelError, Server

log = logging.getLogger("penstock.serve")

SAME_SIGNAL_S = 0.1
"""Terminals and wrappers deliver one Ctrl-C or one stop twice: this soon it is no second one."""


class Happenings:
    """Signals, and the ends of steps that run on other threads, one after the other.

    Signals come through a pipe that the interpreter's own C handler writes to: a Python handler
    alone could be late by the length of a wait that begins as the signal comes. Used on the main
    thread, as a context manager.
    """

    def __init__(self) -> None:
        self._read, self._write = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._write, False)
        self._ended: queue.SimpleQueue[Ended] = queue.SimpleQueue()

    def __enter__(self) -> Happenings:
        self._old_fd = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._old = {number: signal.signal(number, _nothing) for number in HANDLED}
        return self

    def __exit__(self, *_error: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._old_fd)
        # The pipe stays: a step may still run, and say that it has ended.

    def next(self) -> signal.Signals | Ended:
        """Wait for the next one."""
        while True:
            (byte,) = os.read(self._read, 1)
            if byte == _STEP_ENDED:
                return self._ended.get()
            # Any signal that has a handler in Python writes its number.
            if byte in HANDLED:
                return signal.Signals(byte)

    def run(self, step: str, work: Callable[[], object]) -> threading.Thread:
        """Run ``work`` on a thread; its end is one of the happenings."""

        def body() -> None:
            error: BaseException | None = None
            try:
                work()
            except BaseException as raised:
                error = raised
            self._ended.put(Ended(step, error))
            os.write(self._write, bytes([_STEP_ENDED]))

        thread = threading.Thread(target=body, name=f"penstock-{step}", daemon=True)
        thread.start()
        return thread


@dataclass(frozen=True, slots=True)
class Ended:
    """A step of the server's life."""

    step: str
    error: BaseException | None


HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_STEP_ENDED = 0
"""No signal has this number."""


def _nothing(_number: int, _frame: object) -> None:
    """Not the default action; the byte in the pipe does it all."""


def serve(repositories: Sequence[str], options: ServerOptions, *, show_banner: bool) -> int:
    """Serve until a signal comes; returns the exit status."""
    with Happenings() as happenings:
        try:
            server = Server(repositories, options)
        except OptionsError as refused:
            return _failed("bad_configuration", refused, exits.USAGE)
        # Steps run beside this thread, so that a signal is heard while one of them takes long.
        starting = happenings.run("start", server.start)
        stopping: float | None = None
        while True:
            happening = happenings.next()
            if happening is signal.SIGHUP and options.tls is not None:
                _reload_tls(server)
            elif isinstance(happening, signal.Signals):
                if stopping is None:
                    stopping = time.monotonic()
                    event(log, logging.INFO, "stopping", signal=happening.name)
                    happenings.run("stop", server.stop)
                elif time.monotonic() - stopping > SAME_SIGNAL_S:
                    _exit_at_once(happening)
            elif happening.step == "stop":
                if happening.error is not None:
                    return _failed("stop_failed", happening.error, exits.FAILURE)
                event(log, logging.INFO, "stopped")
                if starting.is_alive():
                    # It loads a model that nobody will ask: native code that cannot be stopped.
                    _exit(exits.OK)
                return exits.OK
            elif stopping is None:
                if happening.error is not None:
                    return _start_failed(happening.error)
                _announce(server, show_banner)


def seconds_since_process_start() -> float:
    """By the kernel's clock, so that the interpreter's own start is in it (proc_pid_stat(5))."""
    with open("/proc/self/stat") as file:
        ticks = int(file.read().rpartition(")")[2].split()[19])
    began = ticks / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - began


def _reload_tls(server: Server) -> None:
    try:
        server.reload_tls()
    except (ValueError, RuntimeError) as error:
        event(log, logging.ERROR, "tls_reload_failed", reason=str(error))
    else:
        event(log, logging.INFO, "tls_reloaded", certificate=server.options.tls_cert)


def _start_failed(error: BaseException) -> int:
    match error:
        case OptionsError():
            return _failed("bad_configuration", error, exits.USAGE)
        case BindError():
            return _failed("cannot_listen", error, exits.BIND)
        case NoModelError():
            for name, reason in error.failures.items():
                event(log, logging.ERROR, "model_failed", model=name, reason=reason)
            return _failed("no_model", error, exits.NO_MODEL)
        case _:
            log.error("the start failed", exc_info=error)
            return exits.FAILURE


def _failed(what: str, error: BaseException, status: int) -> int:
    event(log, logging.ERROR, what, reason=str(error))
    return status


def _announce(server: Server, show_banner: bool) -> None:
    seconds = round(seconds_since_process_start(), 3)
    versions = server.versions()
    for name, reason in server.failures.items():
        event(log, logging.ERROR, "model_failed", model=name, reason=reason)
    if show_banner:
        with suppress(OSError):  # such as a closed pipe
            print(banner_text(server, seconds), flush=True)
        return
    for loaded in versions:
        spec = loaded.spec
        event(
            log,
            logging.INFO,
            "model",
            model=spec.name,
            version=spec.version,
            platform=loaded.platform,
            max_batch_size=spec.batching.max_batch_size,
            instances=spec.instance_count,
            inputs={tensor.name: [tensor.datatype, *tensor.dims] for tensor in spec.inputs},
            outputs={tensor.name: [tensor.datatype, *tensor.dims] for tensor in spec.outputs},
        )
    options = server.options
    event(
        log,
        logging.INFO,
        "ready",
        grpc=server.grpc_address,
        http=None if options.http_port is None else server.http_address,
        unix_socket=options.unix_socket,
        tls=options.tls is not None,
        models=len({loaded.spec.name for loaded in versions}),
        failed=len(server.failures),
        seconds=seconds,
        pid=os.getpid(),
    )


def _exit_at_once(number: signal.Signals) -> NoReturn:
    event(log, logging.WARNING, "killed", signal=number.name)
    _exit(exits.SIGNAL + number)


def _exit(status: int) -> NoReturn:
    """End without waiting for any thread."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(status)
