"""``penstock serve`` as a process: what it prints, what signals do, how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from penstock import ServerOptions, __version__
from penstock.cli import main, make_parser
from tests import models

ANY_PORT = ["--grpc-port", "0", "--http-port", "0"]

STUCK = """
import pathlib, time
FOLDER = pathlib.Path(__file__).parent

class Model:
    def load(self, context):
        (FOLDER / "reached").touch()
        while not (FOLDER / "open").exists():
            time.sleep(0.005)

    def infer(self, inputs):
        return {"y": inputs["x"]}
"""
STUCK_CONFIG = """
backend: "python"
input { name: "x" data_type: TYPE_FP32 dims: 1 }
output { name: "y" data_type: TYPE_FP32 dims: 1 }
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    models.write(folder, "plus", models.add_constant(1.0), config="max_batch_size: 16")
    return folder


def parsed(*flags: str) -> dict[str, Any]:
    return vars(make_parser().parse_args(["serve", "r", *flags]))


@contextmanager
def process(*arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "penstock", *map(str, arguments)]
    running = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
    )
    try:
        yield running
    finally:
        running.kill()
        running.wait()
        assert running.stdout is not None
        running.stdout.close()


def lines_until(running: subprocess.Popen[str], wanted: str) -> list[str]:
    """Output up to the first line with ``wanted`` in it."""
    assert running.stdout is not None
    seen: list[str] = []
    watchdog = threading.Timer(60, running.kill)
    watchdog.start()
    try:
        for line in running.stdout:
            seen.append(line)
            if wanted in line:
                return seen
    finally:
        watchdog.cancel()
    raise AssertionError(f"it ended with {running.wait()}: {''.join(seen)}")


def result(*arguments: str | Path) -> tuple[int, str]:
    """Exit status and output."""
    with process(*arguments) as running:
        output, _ = running.communicate(timeout=60)
        return running.returncode, output


# --- The parser -------------------------------------------------------------------------------


def test_defaults_are_those_of_the_options() -> None:
    chosen = parsed()
    assert chosen.pop("command") == "serve"
    assert chosen.pop("repositories") == ["r"]
    assert (chosen.pop("log_level"), chosen.pop("log_format")) == ("info", "text")
    assert ServerOptions(**chosen) == ServerOptions()
    assert chosen.keys() == ServerOptions.__dataclass_fields__.keys()


@pytest.mark.parametrize(
    ("flags", "name", "value"),
    [
        (["--host", "::1"], "host", "::1"),
        (["--grpc-port", "9"], "grpc_port", 9),
        (["--http-port", "off"], "http_port", None),
        (["--unix-socket", "/s"], "unix_socket", "/s"),
        (["--tls-cert", "c"], "tls_cert", "c"),
        (["--tls-key", "k"], "tls_key", "k"),
        (["--tls-client-ca", "a"], "tls_client_ca", "a"),
        (["--transport-threads", "3"], "transport_threads", 3),
        (["--max-connections", "5"], "max_connections", 5),
        (["--max-streams", "5"], "max_streams", 5),
        (["--max-header-bytes", "4k"], "max_header_bytes", 4096),
        (["--max-message-bytes", "2M"], "max_message_bytes", 2 << 20),
        (["--max-bytes-in-flight", "3GiB"], "max_bytes_in_flight", 3 << 30),
        (["--max-bytes-in-flight", "123"], "max_bytes_in_flight", 123),
        (["--max-queued-requests", "8"], "max_queued_requests", 8),
        (["--idle-timeout", "1.5"], "idle_timeout_s", 1.5),
        (["--idle-timeout", "inf"], "idle_timeout_s", float("inf")),
        (["--keepalive-time", "2"], "keepalive_time_s", 2.0),
        (["--keepalive-timeout", "2"], "keepalive_timeout_s", 2.0),
        (["--stall-timeout", "2"], "stall_timeout_s", 2.0),
        (["--handshake-timeout", "2"], "handshake_timeout_s", 2.0),
        (["--model-control", "poll"], "model_control", "poll"),
        (["--load-model", "a", "--load-model", "b"], "load_models", ["a", "b"]),
        (["--poll-interval", "0.2"], "poll_interval_s", 0.2),
        (["--strict-readiness"], "strict_readiness", True),
        (["--drain-timeout", "0"], "drain_timeout_s", 0.0),
        (["--log-level", "debug"], "log_level", "debug"),
        (["--log-format", "json"], "log_format", "json"),
    ],
)
def test_every_flag(flags: list[str], name: str, value: object) -> None:
    assert parsed(*flags)[name] == value


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["serve"], "the following arguments are required: REPOSITORY"),
        (["serve", "r", "--grpc-port", "70000"], "'70000', expected 0 to 65535 or off"),
        (["serve", "r", "--http-port", "-1"], "'-1', expected 0 to 65535 or off"),
        (["serve", "r", "--max-message-bytes", "64X"], "'64X', expected bytes, or a number with"),
        (["serve", "r", "--idle-timeout", "soon"], "'soon', expected a number of seconds, or inf"),
        (["serve", "r", "--model-control", "auto"], "invalid choice: 'auto'"),
    ],
)
def test_bad_usage(arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert text in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--tls-cert", "c"], "--tls-cert and --tls-key come together, only one was given"),
        (["--load-model", "a"], "--load-model needs --model-control 'explicit', it is 'none'"),
        (["--stall-timeout", "0"], "--stall-timeout is 0.0, expected more than 0 seconds"),
        (
            ["--max-bytes-in-flight", "1M"],
            "--max-bytes-in-flight is 1048576, less than one message may have "
            "(--max-message-bytes 67108864)",
        ),
    ],
)
def test_flags_that_do_not_go_together(
    flags: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "r", *flags]) == 2
    assert capsys.readouterr().err == f"penstock serve: error: {text}\n"


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"penstock {__version__}\n"
    with pytest.raises(SystemExit) as ended:
        main(["serve", "--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    for status in ("0 ", "1 ", "2 ", "3 ", "4 ", "130", "143"):
        assert f"\n  {status}" in out


# --- The process ------------------------------------------------------------------------------


def test_the_ready_line(repository: Path) -> None:
    with process("serve", repository, *ANY_PORT, "--log-format", "json") as running:
        events = [json.loads(line) for line in lines_until(running, '"event": "ready"')]
        ready = events[-1]
        assert ready["models"] == 1 and ready["failed"] == 0
        assert ready["tls"] is False and ready["unix_socket"] is None
        assert 0 < ready["seconds"] < 60
        assert ready["pid"] == running.pid
        (model,) = [event for event in events if event.get("event") == "model"]
        assert model["model"] == "plus" and model["version"] == 1
        assert model["max_batch_size"] == 16
        assert model["inputs"] == {"x": ["FP32", 2]} and model["outputs"] == {"y": ["FP32", 2]}
        url = f"http://{ready['http']}/v2/health/ready"
        with urllib.request.urlopen(url, timeout=10) as answer:
            assert answer.read() == b'{"ready":true}'
        host, _, port = ready["grpc"].rpartition(":")
        socket.create_connection((host, int(port)), 10).close()
        running.terminate()
        rest = [json.loads(line) for line in lines_until(running, '"event": "stopped"')]
        assert rest[0]["event"] == "stopping" and rest[0]["signal"] == "SIGTERM"
        assert running.wait(30) == 0


def test_the_screen(repository: Path) -> None:
    models.write(repository, "broken", b"not a model")
    with process("serve", repository, *ANY_PORT) as running:
        text = "".join(lines_until(running, "/metrics"))
        screen = text[text.index("Penstock") :].splitlines()
        assert screen[0].startswith(f"Penstock {__version__}, ready in ")
        assert screen[1:4] == [
            "",
            "  MODEL  VERSION  BATCH  INPUTS        OUTPUTS",
            "  plus   1        16     x FP32[-1,2]  y FP32[-1,2]",
        ]
        assert screen[4:6] == ["", "  1 did not load:"]
        assert screen[6].startswith("  broken: ")
        assert screen[8].startswith("  gRPC  127.0.0.1:")
        assert screen[9].startswith("  HTTP  http://127.0.0.1:")
        running.send_signal(signal.SIGINT)
        assert running.wait(30) == 0


def test_hup_without_tls_is_a_hang_up(repository: Path) -> None:
    with process("serve", repository, *ANY_PORT, "--log-format", "json") as running:
        lines_until(running, '"event": "ready"')
        running.send_signal(signal.SIGHUP)
        stopping = json.loads(lines_until(running, '"event": "stopping"')[-1])
        assert stopping["signal"] == "SIGHUP"
        assert running.wait(30) == 0


def test_a_log_that_nobody_reads(repository: Path, tmp_path: Path) -> None:
    path = tmp_path / "s"
    flags = ["--grpc-port", "off", "--http-port", "off", "--unix-socket", path]
    with process("serve", repository, *flags) as running:
        assert running.stdout is not None
        running.stdout.close()
        give_up = time.monotonic() + 30
        while not path.exists():
            assert running.poll() is None and time.monotonic() < give_up
            time.sleep(0.01)
        time.sleep(0.5)
        assert running.poll() is None
        running.terminate()
        assert running.wait(30) == 0


def test_bad_configuration_is_2(tmp_path: Path) -> None:
    code, output = result("serve", tmp_path / "nowhere", *ANY_PORT)
    assert code == 2
    assert "bad_configuration" in output and "is not a folder" in output


def test_a_taken_address_is_3(repository: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, output = result("serve", repository, "--grpc-port", str(port), "--http-port", "0")
    assert code == 3
    assert "cannot_listen" in output and f"127.0.0.1:{port}" in output


def test_no_model_is_4(repository: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    code, output = result("serve", empty, *ANY_PORT)
    assert code == 4
    assert f"there is no model in {empty}" in output
    models.write(repository, "broken", b"not a model")
    code, output = result("serve", repository, *ANY_PORT, "--strict-readiness")
    assert code == 4
    assert "model_failed model=broken" in output
    flags = ["--model-control", "explicit", "--load-model", "nobody"]
    code, output = result("serve", repository, *ANY_PORT, *flags)
    assert code == 4
    assert "model_failed model=nobody" in output


def wait_for(path: Path) -> None:
    give_up = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < give_up
        time.sleep(0.01)


def test_a_signal_while_models_load(tmp_path: Path) -> None:
    folder = models.write_python(tmp_path, "stuck", STUCK, config=STUCK_CONFIG)
    path = tmp_path / "s"
    flags = ["--unix-socket", path, "--log-format", "json"]
    with process("serve", tmp_path, *ANY_PORT, *flags) as running:
        wait_for(folder / "1" / "reached")
        assert path.exists()
        running.terminate()
        # It does not wait for a model that nobody will ask.
        assert running.wait(30) == 0
        assert not path.exists()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["TERM", "INT"]
)
def test_a_second_signal_ends_it_at_once(
    repository: Path, number: signal.Signals, code: int
) -> None:
    import grpc

    with process("serve", repository, *ANY_PORT, "--log-format", "json") as running:
        ready = json.loads(lines_until(running, '"event": "ready"')[-1])
        with grpc.insecure_channel(ready["grpc"]) as channel:
            # An open stream that holds up the drain.
            call = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")
            gone = iter(call(iter(lambda: time.sleep(60) or b"", None)))
            grpc.channel_ready_future(channel).result(10)
            time.sleep(0.2)
            running.send_signal(number)
            lines_until(running, '"event": "stopping"')
            time.sleep(0.3)
            assert running.poll() is None
            running.send_signal(number)
            assert running.wait(10) == code
            del gone


def test_one_stop_that_is_delivered_twice(repository: Path) -> None:
    for _ in range(5):
        with process("serve", repository, *ANY_PORT, "--log-format", "json") as running:
            lines_until(running, '"event": "ready"')
            # At the moment at which the main thread begins to wait.
            running.send_signal(signal.SIGINT)
            running.send_signal(signal.SIGTERM)
            assert running.wait(30) == 0


def test_lean() -> None:
    """What a server does without: clients, and what a first scrape brings."""
    code = (
        "import sys, penstock.serve, penstock.repository; "
        "print([name for name in ('grpc', 'tritonclient', 'onnx', 'prometheus_client', "
        "'starlette', 'uvicorn', 'onnxruntime') if name in sys.modules])"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert output == "[]\n"


def test_the_package_imports_nothing_until_it_is_used() -> None:
    code = "import sys, penstock; print('numpy' in sys.modules, sorted(penstock.__all__))"
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert output.startswith("False ['BindError', 'DriftHistogram', 'LatencySketch', 'LoadError'")
    import penstock

    for name in penstock.__all__:
        assert getattr(penstock, name) is not None
    with pytest.raises(AttributeError, match="'penstock' has no attribute 'nothing'"):
        _ = penstock.nothing  # type: ignore[attr-defined]
    assert os.path.basename(penstock.__file__ or "") == "__init__.py"
