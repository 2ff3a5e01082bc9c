"""`penstock serve` as a process of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
]
"""A channel without limits, and with a connection of its own."""

DEADLINE_S = 30
"""For the start and for the end of a process."""


@dataclass
class Running:
    """A `penstock serve` process that is ready."""

    process: subprocess.Popen[str]
    ready: dict[str, Any]
    """Its log's line "ready"."""
    log: list[str] = field(default_factory=list)
    told_to_end: bool = False

    @property
    def grpc(self) -> str:
        return str(self.ready["grpc"])

    @property
    def http(self) -> str:
        return str(self.ready["http"])

    def channel(self) -> grpc.Channel:
        return grpc.insecure_channel(self.grpc, OPTIONS)

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Tell it to end, which is for :func:`serve` to do otherwise."""
        self.told_to_end = True
        self.process.send_signal(number)

    def events(self) -> list[str]:
        """Names of what the log told so far."""
        lines = list(self.log)
        return [json.loads(line).get("event", "") for line in lines if line.startswith("{")]


@contextmanager
def serve(folder: Path, *flags: str, status: int = 0) -> Iterator[Running]:
    """Serve ``folder`` on free ports; the process must end with ``status``."""
    command = [sys.executable, "-m", "penstock", "serve", str(folder), "--grpc-port", "0"]
    command += ["--http-port", "0", "--log-format", "json", *flags]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    log: list[str] = []
    hurry = threading.Timer(DEADLINE_S, process.kill)
    hurry.start()
    try:
        event: dict[str, Any] = {}
        for line in process.stdout:
            log.append(line)
            event = json.loads(line) if line.startswith("{") else {}
            if event.get("event") == "ready":
                break
        else:
            raise AssertionError(f"{command} ended with {process.wait()}:\n{''.join(log)}")
    finally:
        hurry.cancel()
    # Goes on reading, or the server would wait for a full pipe.
    reader = threading.Thread(target=log.extend, args=(process.stdout,), daemon=True)
    reader.start()
    running = Running(process, event, log)
    try:
        yield running
        if not running.told_to_end:
            running.end()
        ended = process.wait(DEADLINE_S)
    finally:
        process.kill()
        process.wait()
        reader.join(10)
    assert ended == status, f"ended with {ended}, expected {status}:\n{''.join(log)}"
