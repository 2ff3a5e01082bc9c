"""Servers as processes, what they cost, and the load that h2load puts on them."""

from __future__ import annotations

import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

METHOD = "/inference.GRPCInferenceService/ModelInfer"
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Server:
    """A server process and the port it answers ModelInfer on."""

    pid: int
    port: int
    seconds_to_ready: float

    def cpu_s(self) -> float:
        """User and system seconds of all threads so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * TICK_S

    def rss_mib(self) -> float:
        """Resident memory now."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]


@contextmanager
def process(command: list[str], core: int | None = None) -> Iterator[subprocess.Popen[str]]:
    """Run ``command`` (on one core), end it with SIGTERM and expect it to obey."""
    if core is not None:
        command = ["taskset", "-c", str(core), *command]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        yield running
    finally:
        running.send_signal(signal.SIGTERM)
        try:
            running.wait(30)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


def drain_output(running: subprocess.Popen[str]) -> None:
    """Keep reading, so that a full pipe never stops the server."""
    assert running.stdout is not None
    threading.Thread(target=running.stdout.read, daemon=True).start()


@contextmanager
def penstock(repository: Path, *flags: str, core: int | None = None) -> Iterator[Server]:
    """`penstock serve`, once it says that it is ready."""
    command = [sys.executable, "-m", "penstock", "serve", str(repository)]
    command += ["--grpc-port", "0", "--http-port", "0", "--log-format", "json", *flags]
    began = time.monotonic()
    with process(command, core) as running:
        assert running.stdout is not None
        for line in running.stdout:
            event = json.loads(line) if line.startswith("{") else {}
            if event.get("event") == "ready":
                break
        else:
            raise RuntimeError(f"{' '.join(command)} ended with {running.wait()}")
        took = time.monotonic() - began
        drain_output(running)
        yield Server(running.pid, int(event["grpc"].rpartition(":")[2]), took)


@contextmanager
def peer(command: list[str], core: int | None = None) -> Iterator[Server]:
    """A server that prints where it listens, its port last, once it does."""
    began = time.monotonic()
    with process(command, core) as running:
        assert running.stdout is not None
        port = int(running.stdout.readline().rpartition(":")[2])
        took = time.monotonic() - began
        drain_output(running)
        yield Server(running.pid, port, took)


@dataclass(frozen=True)
class Load:
    """What one run of h2load saw, and what the server spent on it."""

    requests: int
    seconds: float
    cpu_us: float
    """Server CPU per request, user and system."""
    median_us: float
    p99_us: float

    @property
    def rate(self) -> float:
        return self.requests / self.seconds


def h2load(
    server: Server,
    body: bytes,
    *,
    requests: int,
    connections: int = 8,
    streams: int = 32,
    core: int | None = None,
    latencies: bool = False,
) -> Load:
    """Send ``body`` ``requests`` times; every answer must be HTTP 200 and gRPC OK."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "body")
        data.write_bytes(body)
        log = Path(folder, "log")
        command = [] if core is None else ["taskset", "-c", str(core)]
        command += ["h2load", "-c", str(connections), "-m", str(streams), "-n", str(requests)]
        command += ["-d", str(data), "-H", "te: trailers", "-H", "content-type: application/grpc"]
        if latencies:
            command += [f"--log-file={log}"]
        command += [f"http://127.0.0.1:{server.port}{METHOD}"]
        before = server.cpu_s()
        began = time.monotonic()
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        seconds = time.monotonic() - began
        cpu_s = server.cpu_s() - before
        if f"{requests} succeeded, 0 failed" not in output:
            raise RuntimeError(f"h2load did not succeed:\n{output}")
        taken = sorted(int(line.split("\t")[2]) for line in log.open()) if latencies else [0]
        finished = re.search(r"finished in ([\d.]+)(ms|s|us)", output)
        assert finished is not None
        seconds = float(finished[1]) * {"s": 1.0, "ms": 1e-3, "us": 1e-6}[finished[2]]
    return Load(
        requests,
        seconds,
        cpu_s / requests * 1e6,
        statistics.median(taken),
        taken[int(len(taken) * 0.99)],
    )
