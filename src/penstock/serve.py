"""What ``penstock serve`` does between the first log line and the exit status."""

from __future__ import annotations

import logging
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

from penstock.banner import banner_text
from penstock.logs import event
from penstock.options import OptionsError, ServerOptions
from penstock.server import BindError, NoModelError, Server

log = logging.getLogger("penstock.serve")

EXIT_OK = 0
EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_BIND = 3
EXIT_NO_MODEL = 4
EXIT_SIGNAL = 128
"""And the signal's number, as a shell has it."""

SAME_SIGNAL_S = 0.1
"""Terminals and wrappers deliver one Ctrl-C or one stop twice: this soon it is no second one."""

Happening = signal.Signals | tuple[str, BaseException | None]
"""A signal, or a step ("start", "stop") that has ended, with its error."""


def serve(repositories: Sequence[str], options: ServerOptions, *, show_banner: bool) -> int:
    """Serve until a signal comes; returns the exit status."""
    happenings: queue.SimpleQueue[Happening] = queue.SimpleQueue()
    with _signals_into(happenings):
        try:
            server = Server(repositories, options)
        except OptionsError as refused:
            return _failed("bad_configuration", refused, EXIT_USAGE)
        # Steps run beside this thread, so that a signal is heard while one of them takes long.
        starting = _in_background("start", server.start, happenings)
        stopping: float | None = None
        while True:
            happening = happenings.get()
            if isinstance(happening, signal.Signals):
                if happening is signal.SIGHUP:
                    _reload_tls(server)
                elif stopping is None:
                    stopping = time.monotonic()
                    event(log, logging.INFO, "stopping", signal=happening.name)
                    _in_background("stop", server.stop, happenings)
                elif time.monotonic() - stopping > SAME_SIGNAL_S:
                    _exit_at_once(happening)
                continue
            step, error = happening
            if step == "stop":
                if error is not None:
                    return _failed("stop_failed", error, EXIT_FAILURE)
                event(log, logging.INFO, "stopped")
                if starting.is_alive():
                    # It loads a model that nobody will ask: native code that cannot be stopped.
                    _exit(EXIT_OK)
                return EXIT_OK
            if stopping is not None:
                continue
            if error is not None:
                return _start_failed(error)
            _announce(server, show_banner)


def seconds_since_process_start() -> float:
    """By the kernel's clock, so that the interpreter's own start is in it (proc_pid_stat(5))."""
    with open("/proc/self/stat") as file:
        ticks = int(file.read().rpartition(")")[2].split()[19])
    began = ticks / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - began


@contextmanager
def _signals_into(happenings: queue.SimpleQueue[Happening]) -> Iterator[None]:
    def handler(number: int, _frame: object) -> None:
        # The one queue that may be filled by code which interrupts its own get().
        happenings.put(signal.Signals(number))

    handled = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.signal(number, handler) for number in handled]
    try:
        yield
    finally:
        for number, old in zip(handled, before, strict=True):
            signal.signal(number, old)


def _in_background(
    step: str, work: Callable[[], object], happenings: queue.SimpleQueue[Happening]
) -> threading.Thread:
    def body() -> None:
        try:
            work()
        except BaseException as error:
            happenings.put((step, error))
        else:
            happenings.put((step, None))

    thread = threading.Thread(target=body, name=f"penstock-{step}", daemon=True)
    thread.start()
    return thread


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
            return _failed("bad_configuration", error, EXIT_USAGE)
        case BindError():
            return _failed("cannot_listen", error, EXIT_BIND)
        case NoModelError():
            for name, reason in error.failures.items():
                event(log, logging.ERROR, "model_failed", model=name, reason=reason)
            return _failed("no_model", error, EXIT_NO_MODEL)
        case _:
            log.error("the start failed", exc_info=error)
            return EXIT_FAILURE


def _failed(what: str, error: BaseException, status: int) -> int:
    event(log, logging.ERROR, what, reason=str(error))
    return status


def _announce(server: Server, show_banner: bool) -> None:
    seconds = round(seconds_since_process_start(), 3)
    versions = server.versions()
    for name, reason in server.failures.items():
        event(log, logging.ERROR, "model_failed", model=name, reason=reason)
    if show_banner:
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
    _exit(EXIT_SIGNAL + number)


def _exit(status: int) -> NoReturn:
    """End without waiting for any thread."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
