from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from tests.conformance import repository

OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
]


@dataclass
class Running:
    """A `penstock serve` process."""

    process: subprocess.Popen[str]
    ready: dict[str, object]
    log: list[str] = field(default_factory=list)

    @property
    def grpc(self) -> str:
        return str(self.ready["grpc"])

    @property
    def http(self) -> str:
        return str(self.ready["http"])

    def channel(self) -> grpc.Channel:
        return grpc.insecure_channel(self.grpc, OPTIONS)


@contextmanager
def serve(folder: Path, *flags: str) -> Iterator[Running]:
    """Serve ``folder``; the process must end with 0 when told to."""
    command = [sys.executable, "-m", "penstock", "serve", str(folder), "--grpc-port", "0"]
    command += ["--http-port", "0", "--log-format", "json", *flags]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        event = json.loads(line) if line.startswith("{") else {}
        if event.get("event") == "ready":
            break
    else:
        pytest.fail(f"{' '.join(command)} ended with {process.wait()}:\n{''.join(seen)}")
    running = Running(process, event, seen)
    reader = threading.Thread(target=lambda: running.log.extend(process.stdout), daemon=True)
    reader.start()
    try:
        yield running
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(30)
        finally:
            process.kill()
            process.wait()
        reader.join(10)
    assert code == 0, "".join(running.log)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--address", help="host:port of a server that has the suite's models")


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The suite's model repository."""
    folder = tmp_path_factory.mktemp("conformance")
    repository.write(folder)
    return folder


@pytest.fixture(scope="session")
def server(models: Path, request: pytest.FixtureRequest) -> Iterator[Running | None]:
    """Our own server, shared by the suite; None with --address."""
    if request.config.getoption("--address"):
        yield None
        return
    with serve(models) as running:
        yield running


@pytest.fixture(scope="session")
def address(server: Running | None, request: pytest.FixtureRequest) -> str:
    return server.grpc if server else str(request.config.getoption("--address"))


@pytest.fixture
def ours(server: Running | None) -> Running:
    """For what only Penstock promises: texts, its own flags."""
    if server is None:
        pytest.skip("another server is under test")
    return server


@pytest.fixture
def start(ours: Running) -> Callable[..., AbstractContextManager[Running]]:
    """Starts a server of the test's own."""
    return serve


@pytest.fixture
def channel(address: str) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(address, OPTIONS) as open_channel:
        yield open_channel
