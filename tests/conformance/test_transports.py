"""The core of the protocol over TLS, mutual TLS and Unix-domain sockets."""

from __future__ import annotations

import signal
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from pathlib import Path

import grpc
import numpy as np
import pytest
import trustme
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.conformance import wire
from tests.conformance.bad_requests import BAD
from tests.conformance.conftest import Target
from tests.conformance.process import OPTIONS, Running, serve
from tests.conformance.test_datatypes import EXTREMES, echo, extremes

Start = Callable[..., AbstractContextManager[Running]]
FEW = ["--model-control", "explicit", "--load-model", "echo_fp32"]
MESSAGE = wire.full("echo_fp32", 1, 1, 4)
UNREACHED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


class Certificates:
    """A certificate authority, and a server certificate of it as files."""

    def __init__(self, folder: Path) -> None:
        self.authority = trustme.CA()
        self.ca, self.cert, self.key = (folder / f"{name}.pem" for name in ("ca", "cert", "key"))
        self.authority.cert_pem.write_to_path(self.ca)
        self.renew(self.authority)

    def renew(self, authority: trustme.CA) -> None:
        issued = authority.issue_cert("localhost", "127.0.0.1")
        issued.private_key_pem.write_to_path(self.key)
        self.cert.write_bytes(chain(issued))

    @property
    def flags(self) -> list[str]:
        return ["--tls-cert", str(self.cert), "--tls-key", str(self.key)]


def chain(issued: trustme.LeafCert) -> bytes:
    return b"".join(pem.bytes() for pem in issued.cert_chain_pems)


def secure(address: str, root: bytes, client: trustme.LeafCert | None = None) -> grpc.Channel:
    """A channel that trusts ``root`` and shows ``client``."""
    own = (client.private_key_pem.bytes(), chain(client)) if client else (None, None)
    credentials = grpc.ssl_channel_credentials(root, *own)
    return grpc.secure_channel(address.replace("127.0.0.1", "localhost"), credentials, OPTIONS)


@pytest.fixture(scope="module", params=["tls", "mutual tls", "unix socket"])
def over(
    request: pytest.FixtureRequest,
    target: Target,
    models: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[grpc.Channel]:
    """A channel to a server that is reached in another way."""
    if target.running is None:
        pytest.skip("needs a server that the suite started")
    folder = tmp_path_factory.mktemp("over")
    if request.param == "unix socket":
        path = folder / "penstock.sock"
        with (
            serve(models, "--unix-socket", str(path)),
            grpc.insecure_channel(f"unix:{path}", OPTIONS) as channel,
        ):
            yield channel
        assert not path.exists()
        return
    certificates = Certificates(folder)
    flags, client = certificates.flags, None
    if request.param == "mutual tls":
        flags += ["--tls-client-ca", str(certificates.ca)]
        client = certificates.authority.issue_cert("client")
    with serve(models, *flags) as running:
        assert running.ready["tls"] is True
        with secure(running.grpc, certificates.ca.read_bytes(), client) as channel:
            yield channel


@pytest.mark.parametrize("datatype", EXTREMES)
def test_datatypes(over: grpc.Channel, datatype: str) -> None:
    echo(over, datatype, extremes(datatype))


@pytest.mark.parametrize("name", ["dtype", "shape", "too few bytes", "unknown model"])
def test_bad_requests(over: grpc.Channel, name: str) -> None:
    message, code, words = BAD[name]
    error = wire.refusal(over, message)
    assert error.code() == code
    assert all(word in error.details() for word in words)
    wire.infer(over, MESSAGE)


def test_16_mib_both_ways(over: grpc.Channel) -> None:
    array = np.arange(4 << 20, dtype=np.float32).reshape(4, 1 << 20)
    echo(over, "FP32", array, timeout=60)


def test_many_at_once(over: grpc.Channel) -> None:
    call = wire.method(over)
    futures = [call.future(wire.encoded(MESSAGE), timeout=20) for _ in range(500)]
    assert {future.code() for future in futures} == {grpc.StatusCode.OK}


def test_a_stream(over: grpc.Channel) -> None:
    requests = (wire.full("echo_fp32", i, id=str(i)) for i in range(200))
    ids = {response.infer_response.id for response in wire.stream(over, requests)}
    assert ids == {str(i) for i in range(200)}


def test_deadlines_and_cancellation(over: grpc.Channel) -> None:
    slow = wire.full("slow", 300)
    assert wire.refusal(over, slow, timeout=0.1).code() == grpc.StatusCode.DEADLINE_EXCEEDED
    future = wire.method(over).future(wire.encoded(slow), timeout=10)
    future.cancel()
    wire.infer(over, MESSAGE)


def test_slow_methods(over: grpc.Channel) -> None:
    assert wire.control(over, "ServerReady").ready
    assert wire.control(over, "ModelMetadata", name="pair").name == "pair"
    status = health_pb2_grpc.HealthStub(over).Check(health_pb2.HealthCheckRequest()).status
    assert status == health_pb2.HealthCheckResponse.SERVING


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


def test_who_may_not_in(models: Path, start: Start, certificates: Certificates) -> None:
    root = certificates.ca.read_bytes()
    flags = [*FEW, *certificates.flags, "--tls-client-ca", str(certificates.ca)]
    with start(models, *flags) as own:
        stranger = trustme.CA().issue_cert("client")
        channels = {
            "without TLS": own.channel(),
            "without a certificate": secure(own.grpc, root),
            "with a stranger's certificate": secure(own.grpc, root, stranger),
        }
        for who, channel in channels.items():
            with channel:
                assert wire.refusal(channel, MESSAGE, timeout=3).code() in UNREACHED, who
        known = certificates.authority.issue_cert("client")
        # A client that does not trust the server.
        with secure(own.grpc, trustme.CA().cert_pem.bytes(), known) as channel:
            assert wire.refusal(channel, MESSAGE, timeout=3).code() in UNREACHED
        with secure(own.grpc, root, known) as channel:
            wire.infer(channel, MESSAGE)


@pytest.mark.parametrize(
    ("protocols", "chosen"), [(["h2"], "h2"), (["http/1.1", "h2"], "h2"), (["http/1.1"], None)]
)
def test_alpn(
    models: Path,
    start: Start,
    certificates: Certificates,
    protocols: list[str],
    chosen: str | None,
) -> None:
    """RFC 9113, 3.2: h2, or no connection."""
    with start(models, *FEW, *certificates.flags) as own:
        context = ssl.create_default_context(cafile=str(certificates.ca))
        context.set_alpn_protocols(protocols)
        host, _, port = own.grpc.rpartition(":")
        with closing(socket.create_connection((host, int(port)), timeout=5)) as plain:
            try:
                with context.wrap_socket(plain, server_hostname="localhost") as connection:
                    assert connection.selected_alpn_protocol() == chosen
                    assert connection.version() in ("TLSv1.2", "TLSv1.3")
                    assert chosen or connection.recv(1) == b""
            except (ssl.SSLError, ConnectionError):
                assert chosen is None


def test_certificates_are_reloaded(models: Path, start: Start, certificates: Certificates) -> None:
    def served_with(own: Running, root: bytes) -> bool:
        with secure(own.grpc, root) as channel:
            try:
                return bool(wire.infer(channel, MESSAGE, timeout=2))
            except grpc.RpcError:
                return False

    def told(own: Running, event: str) -> None:
        until = time.monotonic() + 10
        while event not in own.events():
            assert time.monotonic() < until, own.log
            time.sleep(0.02)

    with start(models, *FEW, *certificates.flags) as own:
        old_root = certificates.ca.read_bytes()
        with secure(own.grpc, old_root) as old_channel:
            wire.infer(old_channel, MESSAGE)
            successor = trustme.CA()
            certificates.renew(successor)
            own.process.send_signal(signal.SIGHUP)
            told(own, "tls_reloaded")
            new_root = successor.cert_pem.bytes()
            assert served_with(own, new_root)
            # The connection that was open goes on.
            wire.infer(old_channel, MESSAGE)
            certificates.key.write_text("not a key")
            own.process.send_signal(signal.SIGHUP)
            told(own, "tls_reload_failed")
            assert served_with(own, new_root)


def test_a_socket_left_behind_is_taken_over(models: Path, start: Start, tmp_path: Path) -> None:
    path = tmp_path / "penstock.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    flags = [*FEW, "--grpc-port", "off", "--unix-socket", str(path)]
    with start(models, *flags), grpc.insecure_channel(f"unix:{path}", OPTIONS) as channel:
        wire.infer(channel, MESSAGE)
    assert not path.exists()
