from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2 as pb

from tests.conformance import repository, wire
from tests.conformance.process import OPTIONS, Running, serve


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("conformance", "a server from elsewhere, instead of our own")
    group.addoption(
        "--oip-address", "--address", metavar="HOST:PORT", help="its gRPC port, without TLS"
    )
    group.addoption("--oip-http", metavar="HOST:PORT", help="its HTTP port")
    group.addoption(
        "--oip-repository",
        metavar="FOLDER",
        help="the repository it serves, to which tests may add; it loads models on request",
    )


@dataclass(frozen=True)
class Target:
    """The server under test."""

    address: str
    http: str | None
    repository: Path | None
    """A folder of models that it loads on request."""
    strict: bool
    """It is Penstock: held to its texts and to what the protocol leaves open."""
    running: Running | None
    """Its process, if the suite started it."""


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The suite's model repository."""
    folder = tmp_path_factory.mktemp("conformance")
    repository.write(folder)
    return folder


@pytest.fixture(scope="session")
def target(models: Path, request: pytest.FixtureRequest) -> Iterator[Target]:
    """One server for the whole suite."""
    # Where pytest was not told this folder, it reads this file after the command line.
    address, http, folder = (
        request.config.getoption(name, default=None)
        for name in ("--oip-address", "--oip-http", "--oip-repository")
    )
    if address is not None:
        name = server_name(address)
        yield Target(address, http, Path(folder) if folder else None, name == "penstock", None)
        return
    with serve(models) as running:
        yield Target(running.grpc, running.http, None, True, running)


def server_name(address: str) -> str:
    with grpc.insecure_channel(address, OPTIONS) as channel:
        call = channel.unary_unary(
            wire.SERVICE + "ServerMetadata",
            response_deserializer=pb.ServerMetadataResponse.FromString,
        )
        return str(call(b"", timeout=10, wait_for_ready=True).name)


@pytest.fixture(scope="session")
def address(target: Target) -> str:
    return target.address


@pytest.fixture(scope="session")
def strict(target: Target) -> bool:
    return target.strict


@pytest.fixture(scope="session")
def http(target: Target) -> str:
    if target.http is None:
        pytest.skip("the HTTP port is not known (--oip-http)")
    return f"http://{target.http}"


@pytest.fixture
def ours(target: Target) -> Running:
    """For what needs flags, signals or limits of Penstock's own."""
    if target.running is None:
        pytest.skip("needs a server that the suite started")
    return target.running


@pytest.fixture
def start(ours: Running) -> Callable[..., AbstractContextManager[Running]]:
    """Starts a server of the test's own."""
    return serve


@pytest.fixture
def channel(address: str) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(address, OPTIONS) as open_channel:
        yield open_channel


@pytest.fixture
def ask(channel: grpc.Channel, strict: bool) -> Callable[..., Any]:
    """``ask("ModelReady", name="pair")``: a method beside inference. Skips the test where a
    server has no such method, which is none of Penstock's."""

    def call(method: str, /, *, timeout: float = 10, **fields: Any) -> Any:
        try:
            return wire.control(channel, method, timeout=timeout, **fields)
        except grpc.RpcError as error:
            if strict or error.code() != grpc.StatusCode.UNIMPLEMENTED:
                raise
            pytest.skip(f"this server has no {method}")

    return call
