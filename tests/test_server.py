"""penstock.Server: real sockets, real clients, in this process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tritonclient.utils import InferenceServerException

import penstock
from penstock import BindError, NoModelError, OptionsError, RequestError, Server
from penstock.control.plane import MAX_HTTP_CONNECTIONS
from tests import models

ANY_PORT = {"grpc_port": 0, "http_port": 0}

GATED = """
import pathlib, time
FOLDER = pathlib.Path(__file__).parent

def wait_for(name):
    (FOLDER / f"{name}.reached").touch()
    while not (FOLDER / f"{name}.open").exists():
        time.sleep(0.005)

class Model:
    def load(self, context):
        wait_for("load")

    def infer(self, inputs):
        wait_for("infer")
        return {"y": inputs["x"]}
"""
GATED_CONFIG = """
backend: "python"
max_batch_size: 4
input { name: "x" data_type: TYPE_FP32 dims: 1 }
output { name: "y" data_type: TYPE_FP32 dims: 1 }
"""


class Gate:
    """Two points at which a model waits for the test."""

    def __init__(self, repository: Path) -> None:
        self._folder = repository / "gated" / "1"
        models.write_python(repository, "gated", GATED, config=GATED_CONFIG)

    def open(self, name: str) -> None:
        (self._folder / f"{name}.open").touch()

    def wait_reached(self, name: str) -> None:
        give_up = time.monotonic() + 20
        while not (self._folder / f"{name}.reached").exists():
            assert time.monotonic() < give_up, f"the model never came to {name}"
            time.sleep(0.005)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    models.write(folder, "plus", models.add_constant(1.0))
    return folder


@pytest.fixture
def no_thread_left() -> Iterator[None]:
    yield
    left = {thread.name for thread in threading.enumerate() if "penstock" in thread.name}
    assert not left


def ask(address: str, model: str = "plus", columns: int = 2) -> np.ndarray[Any, Any]:
    """2 -> 3, from a client that was imported beside the server."""
    with triton.InferenceServerClient(address) as client:
        tensor = triton.InferInput("x", [1, columns], "FP32")
        tensor.set_data_from_numpy(np.full((1, columns), 2, np.float32))
        found = client.infer(model, [tensor]).as_numpy("y")
        assert found is not None
        return found


def get(address: str, path: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_a_server_in_a_with_statement(repository: Path, no_thread_left: None) -> None:
    with Server(repository, **ANY_PORT) as server:
        assert server.ready
        np.testing.assert_array_equal(ask(server.grpc_address), [[3, 3]])
        assert get(server.http_address, "/v2/health/ready") == (200, b'{"ready":true}')
        assert [loaded.spec.name for loaded in server.versions()] == ["plus"]
        assert [(entry.name, entry.version, entry.state) for entry in server.index()] == [
            ("plus", "1", "READY")
        ]
        assert server.is_model_ready("plus") and not server.is_model_ready("minus")
        assert server.statistics("plus")["success"] == 1
        assert server.transport_statistics()["answers"]["OK"] == 1
        assert dict(server.failures) == {}
        address = server.grpc_address
    assert not server.ready
    host, _, port = address.rpartition(":")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)))


def test_in_a_running_event_loop(repository: Path, no_thread_left: None) -> None:
    """As in a notebook: the caller's loop is its own."""

    async def notebook() -> np.ndarray[Any, Any]:
        with Server(repository, **ANY_PORT) as server:
            async with triton_aio.InferenceServerClient(server.grpc_address) as client:
                tensor = triton_aio.InferInput("x", [1, 2], "FP32")
                tensor.set_data_from_numpy(np.zeros((1, 2), np.float32))
                answer = (await client.infer("plus", [tensor])).as_numpy("y")
        return np.asarray(answer)

    np.testing.assert_array_equal(asyncio.run(notebook()), [[1, 1]])


def test_two_servers_at_once(repository: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    models.write(other, "plus", models.add_constant(10.0))
    with Server(repository, **ANY_PORT) as one, Server(other, **ANY_PORT) as two:
        np.testing.assert_array_equal(ask(one.grpc_address), [[3, 3]])
        np.testing.assert_array_equal(ask(two.grpc_address), [[12, 12]])


def test_several_repositories(repository: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    models.write(other, "minus", models.add_constant(-1.0))
    with Server([repository, str(other)], **ANY_PORT) as server:
        np.testing.assert_array_equal(ask(server.grpc_address, "plus"), [[3, 3]])
        np.testing.assert_array_equal(ask(server.grpc_address, "minus"), [[1, 1]])


def test_a_unix_socket_alone(repository: Path, tmp_path: Path) -> None:
    path = tmp_path / "s"
    with Server(repository, grpc_port=None, http_port=None, unix_socket=str(path)) as server:
        assert server.grpc_address == f"unix:{path}"
        np.testing.assert_array_equal(ask(server.grpc_address), [[3, 3]])
        with pytest.raises(RuntimeError, match="no HTTP port"):
            _ = server.http_address
    assert not path.exists()


def test_models_on_request(repository: Path) -> None:
    with Server(repository, model_control="explicit", **ANY_PORT) as server:
        assert server.ready and server.versions() == []
        with pytest.raises(InferenceServerException, match="model 'plus' is not"):
            ask(server.grpc_address)
        server.load("plus")
        np.testing.assert_array_equal(ask(server.grpc_address), [[3, 3]])
        server.unload("plus")
        assert not server.is_model_ready("plus")
        with pytest.raises(RequestError) as error:
            server.load("nobody")
        assert error.value.code == 5


def test_a_watcher_sees_a_model_come_and_go(repository: Path) -> None:
    with (
        Server(repository, model_control="explicit", **ANY_PORT) as server,
        grpc.insecure_channel(server.grpc_address) as channel,
    ):
        request = health_pb2.HealthCheckRequest(service="plus")
        watch = health_pb2_grpc.HealthStub(channel).Watch(request, timeout=20)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        server.load("plus")
        # It may be told of as loading first.
        serving = health_pb2.HealthCheckResponse.SERVING
        assert any(next(watch).status == serving for _ in range(2))
        server.unload("plus")
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        server.stop()
        # The stream ends of itself: it does not hold up the drain.
        assert list(watch) == []


def test_a_broken_model_beside_a_good_one(repository: Path) -> None:
    models.write(repository, "broken", b"not a model")
    with Server(repository, **ANY_PORT) as server:
        assert list(server.failures) == ["broken"]
        np.testing.assert_array_equal(ask(server.grpc_address), [[3, 3]])
    with pytest.raises(NoModelError, match="1 of 2 models did not load") as error:
        Server(repository, strict_readiness=True, **ANY_PORT).start()
    assert list(error.value.failures) == ["broken"]


def test_no_model_at_all(tmp_path: Path, no_thread_left: None) -> None:
    with pytest.raises(NoModelError, match=f"there is no model in {tmp_path}"):
        Server(tmp_path, **ANY_PORT).start()
    models.write(tmp_path, "broken", b"not a model")
    with pytest.raises(NoModelError, match="1 of 1 models did not load"):
        Server(tmp_path, **ANY_PORT).start()
    # Models may come later.
    empty = tmp_path / "broken" / "1"
    with Server(empty, model_control="poll", **ANY_PORT) as server:
        assert server.ready


@pytest.mark.parametrize("which", ["grpc_port", "http_port"])
def test_a_port_that_is_taken(repository: Path, which: str, no_thread_left: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = Server(repository, **{**ANY_PORT, which: port})
        with pytest.raises(BindError, match=rf"cannot serve \w+ on 127\.0\.0\.1:{port}: "):
            server.start()
    assert server.stop() is True
    # All that was taken before is free again.
    with Server(repository, **{**ANY_PORT, which: port}) as again:
        assert again.ready


def test_tls_files_that_do_not_fit(repository: Path, tmp_path: Path, no_thread_left: None) -> None:
    pem = tmp_path / "empty.pem"
    pem.write_text("")
    server = Server(repository, tls_cert=str(pem), tls_key=str(pem), **ANY_PORT)
    with pytest.raises(OptionsError, match="TLS: "):
        server.start()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"repository": []}, "there is no repository, expected one folder or more"),
        ({"repository": "nowhere"}, "repository 'nowhere' is not a folder"),
        ({"speed": 11}, "there is no setting speed"),
        (
            {"options": penstock.ServerOptions(), "grpc_port": 0},
            "options and grpc_port came, expected one or the other",
        ),
    ],
)
def test_bad_arguments(tmp_path: Path, arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionsError, match=f"^{text}$"):
        Server(**{"repository": tmp_path, **arguments})


def test_a_server_starts_once(repository: Path) -> None:
    server = Server(repository, **ANY_PORT)
    with pytest.raises(RuntimeError, match="does not listen yet"):
        _ = server.grpc_address
    with pytest.raises(RuntimeError, match="has not been started"):
        server.versions()
    with server:
        with pytest.raises(RuntimeError, match="was started before"):
            server.start()
        assert server.ready
    assert server.stop() is True
    with pytest.raises(RuntimeError, match="was started before"):
        server.start()
    unused = Server(repository, **ANY_PORT)
    assert unused.stop() is True
    with pytest.raises(RuntimeError, match="was started before"):
        unused.start()


def test_reload_without_tls(repository: Path) -> None:
    with (
        Server(repository, **ANY_PORT) as server,
        pytest.raises(ValueError, match="TLS is off"),
    ):
        server.reload_tls()


def in_background(work: Any) -> tuple[threading.Thread, list[Any]]:
    """A thread, and its result or error."""
    results: list[Any] = []

    def body() -> None:
        try:
            results.append(work())
        except BaseException as error:
            results.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    return thread, results


def test_a_probe_is_answered_while_models_load(tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    server = Server(tmp_path, **ANY_PORT)
    assert server.wait_ready(0) is False
    starting, _ = in_background(server.start)
    gate.wait_reached("load")
    assert not server.ready
    with triton.InferenceServerClient(server.grpc_address) as client:
        assert client.is_server_live()
        assert not client.is_server_ready()
        assert not client.is_model_ready("gated")
    assert get(server.http_address, "/v2/health/live") == (200, b'{"live":true}')
    assert get(server.http_address, "/v2/health/ready") == (503, b'{"ready":false}')
    gate.open("load")
    assert server.wait_ready(20)
    starting.join()
    assert json.loads(get(server.http_address, "/v2/health/ready")[1]) == {"ready": True}
    server.stop()


def test_stop_while_models_load(tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    server = Server(tmp_path, **ANY_PORT)
    starting, results = in_background(server.start)
    gate.wait_reached("load")
    # Does not wait for the model.
    assert server.stop() is True
    assert starting.is_alive()
    assert server.wait_ready(20) is False
    gate.open("load")
    starting.join()
    (error,) = results
    assert isinstance(error, RuntimeError)
    assert str(error) == "the server was stopped while it started"


@pytest.mark.parametrize("after_s", [0.0, 0.001, 0.003, 0.01, 0.03])
def test_stop_as_soon_as_it_starts(repository: Path, after_s: float, no_thread_left: None) -> None:
    server = Server(repository, **ANY_PORT)
    starting, _results = in_background(server.start)
    time.sleep(after_s)
    server.stop()
    starting.join(20)
    assert not starting.is_alive()
    assert not server.ready
    server.stop()


def test_a_stop_does_not_wait_for_a_load(tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    server = Server(tmp_path, model_control="explicit", **ANY_PORT).start()
    loading, results = in_background(lambda: server.load("gated"))
    gate.wait_reached("load")
    before = time.monotonic()
    server.stop(0.1)
    assert time.monotonic() - before < 10
    assert loading.is_alive()
    gate.open("load")
    loading.join(20)
    (error,) = results
    assert "the server stops" in str(error)


def test_stop_answers_what_is_open(tmp_path: Path, no_thread_left: None) -> None:
    gate = Gate(tmp_path)
    gate.open("load")
    server = Server(tmp_path, **ANY_PORT).start()
    asking, answers = in_background(lambda: ask(server.grpc_address, "gated", 1))
    gate.wait_reached("infer")
    stopping, drained = in_background(server.stop)
    give_up = time.monotonic() + 20
    while server.ready:
        assert time.monotonic() < give_up
    assert get(server.http_address, "/v2/health/ready")[0] == 503
    stopping.join(0.2)
    assert stopping.is_alive()
    gate.open("infer")
    stopping.join(20)
    asking.join(20)
    assert drained == [True]
    np.testing.assert_array_equal(answers[0], [[2]])


def test_stop_does_not_wait_for_ever(tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    gate.open("load")
    server = Server(tmp_path, **ANY_PORT).start()
    asking, answers = in_background(lambda: ask(server.grpc_address, "gated", 1))
    gate.wait_reached("infer")
    stopping, drained = in_background(lambda: server.stop(0.05))
    asking.join(20)
    gate.open("infer")
    stopping.join(20)
    assert drained == [False]
    # Whoever asks later hears the same.
    assert server.stop() is False
    (error,) = answers
    assert isinstance(error, InferenceServerException)
    assert error.status() == "StatusCode.UNAVAILABLE"


def test_silent_http_clients_lose_their_place(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.control.http_connection.SILENCE_S", 0.5)
    with Server(repository, **ANY_PORT) as server, contextlib.ExitStack() as stack:
        host, port = server.http_address.rsplit(":", 1)

        def connect(sent: bytes) -> socket.socket:
            client = stack.enter_context(socket.create_connection((host, int(port)), 10))
            client.sendall(sent)
            return client

        request = b"GET /v2/health/ready HTTP/1.1\r\nhost: x\r\n"
        silent = [connect(b"") for _ in range(MAX_HTTP_CONNECTIONS)]
        silent += [connect(request), connect(request + b"\r\n" + request)]
        for client in silent:
            # Whatever was answered, the end comes.
            while client.recv(4096):
                pass
        assert get(server.http_address, "/v2/health/ready")[0] == 200
        # One that goes on asking stays.
        busy = connect(request + b"\r\n")
        for _ in range(4):
            assert busy.recv(4096).startswith(b"HTTP/1.1 200")
            time.sleep(0.2)
            busy.sendall(request + b"\r\n")
        assert busy.recv(4096).startswith(b"HTTP/1.1 200")


def test_ctrl_c_is_heard_while_the_core_computes(tmp_path: Path) -> None:
    """In a process of its own: pytest has this one's signals."""
    program = """
import signal, sys, threading, time
import numpy as np, penstock
with penstock.load(sys.argv[1]) as model:
    request = model.submit({"x": np.zeros((1, 2), np.float32)})
    threading.Timer(0.2, signal.raise_signal, [signal.SIGINT]).start()
    began = time.monotonic()
    try:
        request.result()
    except KeyboardInterrupt:
        print("interrupted" if time.monotonic() - began < 2 else "late")
"""
    source = """
import time

class Model:
    def infer(self, inputs):
        time.sleep(3)
        return {"y": inputs["x"]}
"""
    config = (
        'backend: "python" max_batch_size: 1 input { name: "x" data_type: TYPE_FP32 dims: 2 } '
        'output { name: "y" data_type: TYPE_FP32 dims: 2 }'
    )
    folder = models.write_python(tmp_path, "m", source, config=config)
    ran = subprocess.run(
        [sys.executable, "-c", program, str(folder)], capture_output=True, text=True, timeout=60
    )
    assert ran.stdout == "interrupted\n", ran.stderr
