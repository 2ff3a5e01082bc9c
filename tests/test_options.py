"""ServerOptions: what is refused, and with which words."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest

from penstock import OptionsError, ServerOptions


def test_defaults_go_together() -> None:
    options = ServerOptions()
    assert (options.host, options.grpc_port, options.http_port) == ("127.0.0.1", 8001, 8000)
    assert options.tls is None
    assert options.max_message_bytes == 64 * 1024 * 1024
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.host = "0.0.0.0"  # type: ignore[misc]


def test_what_the_engine_is_told() -> None:
    assert ServerOptions(max_streams=7).engine_arguments == {
        "max_connections": 16_384,
        "max_streams": 7,
        "max_header_bytes": 16_384,
        "max_message_bytes": 67_108_864,
        "max_bytes_in_flight": 1_073_741_824,
        "max_queued_requests": 65_536,
        "idle_timeout_s": math.inf,
        "keepalive_time_s": 60.0,
        "keepalive_timeout_s": 20.0,
        "stall_timeout_s": 30.0,
        "handshake_timeout_s": 10.0,
    }


def test_tls(tmp_path: Path) -> None:
    pem = tmp_path / "x.pem"
    pem.write_text("")
    path = str(pem)
    assert ServerOptions(tls_cert=path, tls_key=path).tls == {"certificate": path, "key": path}
    assert ServerOptions(tls_cert=pem, tls_key=pem) == ServerOptions(tls_cert=path, tls_key=path)
    assert ServerOptions(tls_cert=path, tls_key=path, tls_client_ca=path).tls == {
        "certificate": path,
        "key": path,
        "client_ca": path,
    }


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"host": ""}, "host is empty, expected a name or an address"),
        ({"grpc_port": 65_536}, "grpc_port is 65536, expected 0 to 65535"),
        ({"http_port": -1}, "http_port is -1, expected 0 to 65535"),
        ({"grpc_port": "8001"}, "grpc_port is '8001', expected 0 to 65535"),
        ({"grpc_port": True}, "grpc_port is True, expected 0 to 65535"),
        ({"grpc_port": 80, "http_port": 80}, "grpc_port and http_port are both 80"),
        ({"grpc_port": None}, "grpc_port is off and there is no unix_socket: nowhere to listen"),
        ({"tls_cert": "a"}, "tls_cert and tls_key come together, only one was given"),
        ({"tls_key": "a"}, "tls_cert and tls_key come together, only one was given"),
        ({"tls_client_ca": "a"}, "tls_client_ca needs tls_cert and tls_key"),
        ({"tls_cert": "/none", "tls_key": "/none"}, "tls_cert: cannot read '/none'"),
        ({"transport_threads": 0}, "transport_threads is 0, expected 1 to 256"),
        ({"max_connections": 0}, "max_connections is 0, expected 1 to 4294967295"),
        ({"max_streams": 2**31}, "max_streams is 2147483648, expected 1 to 2147483647"),
        ({"max_header_bytes": 10}, "max_header_bytes is 10, expected 1024 to 2147483647"),
        ({"max_message_bytes": 2**32}, "max_message_bytes is 4294967296, expected 1024 to 429496"),
        (
            {"max_message_bytes": 4096, "max_bytes_in_flight": 2048},
            "max_bytes_in_flight is 2048, less than one message may have (max_message_bytes 4096)",
        ),
        ({"max_queued_requests": 1.5}, "max_queued_requests is 1.5, expected 1 to 4294967295"),
        ({"idle_timeout_s": 0}, "idle_timeout_s is 0, expected more than 0 seconds"),
        ({"stall_timeout_s": math.nan}, "stall_timeout_s is nan, expected more than 0 seconds"),
        ({"keepalive_time_s": "1"}, "keepalive_time_s is '1', expected more than 0 seconds"),
        ({"poll_interval_s": math.inf}, "poll_interval_s is inf, expected more than 0 seconds and"),
        ({"drain_timeout_s": -1}, "drain_timeout_s is -1, expected 0 seconds or more"),
        ({"model_control": "auto"}, "model_control is 'auto', expected one of none, poll, explici"),
        ({"load_models": ["a"]}, "load_models needs model_control 'explicit', it is 'none'"),
        (
            {"load_models": "a", "model_control": "explicit"},
            "load_models is the text 'a', expected names",
        ),
    ],
)
def test_what_cannot_work(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionsError) as error:
        ServerOptions(**settings)
    assert str(error.value).startswith(text)


def test_what_can() -> None:
    assert ServerOptions(grpc_port=0, http_port=0).http_port == 0
    assert ServerOptions(grpc_port=None, unix_socket="/s").unix_socket == "/s"
    assert ServerOptions(http_port=None).http_port is None
    assert ServerOptions(drain_timeout_s=0).drain_timeout_s == 0
    chosen = ServerOptions(model_control="explicit", load_models=["a", "b"])  # type: ignore[arg-type]
    assert chosen.load_models == ("a", "b")
