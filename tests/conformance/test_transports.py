"""TLS, mutual TLS, Unix-domain sockets, and going away in good order."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import trustme

from tests.conformance import wire
from tests.conformance.conftest import OPTIONS, Running

MESSAGE = wire.request("echo_fp32", "FP32", np.ones((1, 4), np.float32)).SerializeToString()
FEW = ["--model-control", "explicit", "--load-model", "echo_fp32", "--load-model", "slow"]


class Certificates:
    """A certificate authority, and a server certificate of it as files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = trustme.CA()
        self.ca = folder / "ca.pem"
        self.authority.cert_pem.write_to_path(self.ca)
        self.cert, self.key = folder / "cert.pem", folder / "key.pem"
        self.renew()

    def renew(self, authority: trustme.CA | None = None) -> None:
        issued = (authority or self.authority).issue_cert("localhost", "127.0.0.1")
        issued.private_key_pem.write_to_path(self.key)
        self.cert.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))

    @property
    def flags(self) -> list[str]:
        return ["--tls-cert", str(self.cert), "--tls-key", str(self.key)]


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


def secure(address: str, root: bytes, client: Any = None) -> grpc.Channel:
    key, chain = None, None
    if client is not None:
        key = client.private_key_pem.bytes()
        chain = b"".join(pem.bytes() for pem in client.cert_chain_pems)
    credentials = grpc.ssl_channel_credentials(root, key, chain)
    target = address.replace("127.0.0.1", "localhost")
    return grpc.secure_channel(target, credentials, OPTIONS)


def test_tls(models: Path, start: Any, certificates: Certificates) -> None:
    with start(models, *FEW, *certificates.flags) as own:
        with secure(own.grpc, certificates.ca.read_bytes()) as channel:
            for _ in range(50):
                wire.infer(channel, MESSAGE)
            big = wire.request("echo_fp32", "FP32", np.ones((8, 1 << 18), np.float32))
            assert wire.answer(wire.infer(channel, big)).shape == (8, 1 << 18)
        with grpc.insecure_channel(own.grpc, OPTIONS) as channel:
            code = wire.refusal(channel, MESSAGE, timeout=3).code()
            assert code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


def test_mutual_tls(models: Path, start: Any, certificates: Certificates) -> None:
    flags = [*certificates.flags, "--tls-client-ca", str(certificates.ca)]
    root = certificates.ca.read_bytes()
    with start(models, *FEW, *flags) as own:
        known = certificates.authority.issue_cert("client")
        with secure(own.grpc, root, known) as channel:
            wire.infer(channel, MESSAGE)
        stranger = trustme.CA().issue_cert("client")
        for client in (None, stranger):
            with secure(own.grpc, root, client) as channel:
                assert wire.refusal(channel, MESSAGE, timeout=3).code() in (
                    grpc.StatusCode.UNAVAILABLE,
                    grpc.StatusCode.DEADLINE_EXCEEDED,
                )


def test_certificates_are_reloaded(models: Path, start: Any, certificates: Certificates) -> None:
    with start(models, *FEW, *certificates.flags) as own:
        old_root = certificates.ca.read_bytes()
        with secure(own.grpc, old_root) as old_channel:
            wire.infer(old_channel, MESSAGE)
            successor = trustme.CA()
            certificates.renew(successor)
            own.process.send_signal(signal.SIGHUP)
            new_root = successor.cert_pem.bytes()
            until = time.monotonic() + 10
            while True:
                with secure(own.grpc, new_root) as channel:
                    try:
                        wire.infer(channel, MESSAGE, timeout=2)
                        break
                    except grpc.RpcError:
                        assert time.monotonic() < until
            # The connection that was open goes on.
            wire.infer(old_channel, MESSAGE)
            certificates.key.write_text("not a key")
            own.process.send_signal(signal.SIGHUP)
            time.sleep(0.3)
            with secure(own.grpc, new_root) as channel:
                wire.infer(channel, MESSAGE)


def test_unix_socket(models: Path, start: Any, tmp_path: Path) -> None:
    path = tmp_path / "penstock.sock"
    with (
        start(models, *FEW, "--unix-socket", str(path)),
        grpc.insecure_channel(f"unix:{path}", OPTIONS) as channel,
    ):
        wire.infer(channel, MESSAGE)
    assert not path.exists()


def slow(milliseconds: float) -> bytes:
    array = np.full((1, 1), milliseconds, np.float32)
    return bytes(wire.request("slow", "FP32", array).SerializeToString())


def test_a_drain_answers_what_it_has(models: Path, start: Any) -> None:
    with start(models, *FEW) as own, own.channel() as channel:
        call = channel.unary_unary(wire.SERVICE + "ModelInfer")
        futures = [call.future(slow(300), timeout=20) for _ in range(6)]
        time.sleep(0.2)
        own.process.terminate()
        for future in futures:
            future.result()
        assert own.process.wait(20) == 0
        with pytest.raises(OSError):
            host, _, port = own.grpc.rpartition(":")
            socket.create_connection((host, int(port)), timeout=1)


def test_a_second_signal_ends_at_once(ours: Running, models: Path) -> None:
    import subprocess

    from tests.conformance.conftest import serve

    with pytest.raises(AssertionError), serve(models, *FEW) as own:
        channel = own.channel()
        channel.unary_unary(wire.SERVICE + "ModelInfer").future(slow(5_000), timeout=20)
        time.sleep(0.3)
        own.process.terminate()
        time.sleep(0.3)
        own.process.terminate()
        try:
            assert own.process.wait(3) == 143
        except subprocess.TimeoutExpired:
            pytest.fail("the second signal did not end it")
        channel.close()


def silent_peers(address: str, count: int) -> Iterator[socket.socket]:
    host, _, port = address.rpartition(":")
    for _ in range(count):
        yield socket.create_connection((host, int(port)), timeout=5)


def test_half_open_and_babbling_peers_harm_nobody(ours: Running, channel: grpc.Channel) -> None:
    peers = list(silent_peers(ours.grpc, 30))
    for i, peer in enumerate(peers):
        if i % 3 == 0:
            peer.sendall(b"GET / HTTP/1.1\r\n\r\n")
        elif i % 3 == 1:
            peer.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(range(200)))
    for _ in range(20):
        wire.infer(channel, MESSAGE)
    for peer in peers:
        peer.close()
