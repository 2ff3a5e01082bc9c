"""A ``penstock serve`` process and what can be known of it from outside."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SAMPLE = re.compile(r"^(?P<name>\w+)(?:\{(?P<labels>.*)\})? (?P<value>\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Held:
    """What a process holds while nobody asks anything of it."""

    descriptors: int
    threads: int
    resident_mib: float


class Served:
    """A running server; the flags are those of ``penstock serve``."""

    def __init__(self, process: subprocess.Popen[str], grpc: str, http: str) -> None:
        self.process = process
        self.grpc = grpc
        self.http = http
        self.grpc_host, _, port = grpc.rpartition(":")
        self.grpc_port = int(port)

    def metrics(self) -> dict[str, float]:
        """``/metrics``, each name summed over its labels."""
        with urllib.request.urlopen(f"http://{self.http}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        sums: dict[str, float] = defaultdict(float)
        for sample in SAMPLE.finditer(text):
            sums[sample["name"]] += float(sample["value"])
        return sums

    def held(self) -> Held:
        proc = Path(f"/proc/{self.process.pid}")
        status = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines())
        return Held(
            descriptors=len(os.listdir(proc / "fd")),
            threads=int(status["Threads"]),
            resident_mib=int(status["VmRSS"].split()[0]) / 1024,
        )

    def wait_idle(self, timeout_s: float = 20) -> dict[str, float]:
        """The metrics once no call, no request and no byte is in flight, or the last ones."""
        give_up = time.monotonic() + timeout_s
        while True:
            metrics = self.metrics()
            busy = [name for name in IDLE_GAUGES if metrics[name] != 0]
            if not busy or time.monotonic() > give_up:
                return metrics
            time.sleep(0.1)


FREED_IS_RETURNED = {
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": "131072",
    "MALLOC_TRIM_THRESHOLD_": "131072",
}
"""For glibc (mallopt(3)): what is freed goes back to the system, so that resident memory which
stays is memory that somebody holds."""

IDLE_GAUGES = (
    "penstock_open_connections",
    "penstock_open_calls",
    "penstock_in_flight_requests",
    "penstock_in_flight_bytes",
    "penstock_queue_depth",
)
"""Zero when every client has gone."""


@contextmanager
def serve(repository: Path, *flags: str) -> Iterator[Served]:
    """Serve ``repository`` on free ports; told to stop, the server must end with 0."""
    command = [sys.executable, "-m", "penstock", "serve", str(repository)]
    command += ["--grpc-port", "0", "--http-port", "0", "--log-format", "json", *flags]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | FREED_IS_RETURNED,
    )
    assert process.stdout is not None
    log: list[str] = []
    ready = None
    for line in process.stdout:
        log.append(line)
        event = json.loads(line) if line.startswith("{") else {}
        if event.get("event") == "ready":
            ready = event
            break
    # Goes on reading, or the server would wait for a full pipe.
    reader = threading.Thread(target=log.extend, args=(process.stdout,))
    reader.start()
    try:
        assert ready is not None, f"not ready, status {process.wait()}:\n{''.join(log)}"
        yield Served(process, ready["grpc"], ready["http"])
        assert process.poll() is None, f"died with status {process.poll()}:\n{''.join(log)}"
        process.terminate()
        status = process.wait(timeout=60)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        reader.join()
    assert status == 0, f"ended with status {status}:\n{''.join(log)}"
