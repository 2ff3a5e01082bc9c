"""Settings of a server, and the one place that checks them."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

ModelControl = Literal["none", "poll", "explicit"]

MAX_PORT = 65_535


class OptionsError(ValueError):
    """A setting that cannot work; the message says what came and what was expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """What ``penstock serve`` and :class:`penstock.Server` can be told.

    Raises:
        OptionsError: a value is out of its range, or two do not go together.
    """

    host: str = "127.0.0.1"
    """Name or address, for gRPC and HTTP."""
    grpc_port: int | None = 8001
    """0: any free port; None: no TCP (with ``unix_socket``)."""
    http_port: int | None = 8000
    """0: any free port; None: no HTTP."""
    unix_socket: str | None = None
    """Path of a Unix-domain socket that speaks gRPC as well."""

    tls_cert: str | os.PathLike[str] | None = None
    """PEM file, leaf first. TLS is for gRPC over TCP and Unix; HTTP stays cleartext."""
    tls_key: str | os.PathLike[str] | None = None
    tls_client_ca: str | os.PathLike[str] | None = None
    """PEM file; clients must show a certificate signed by one of its authorities."""

    transport_threads: int | None = None
    """None: one per two cores, at least one."""
    max_connections: int = 16_384
    max_streams: int = 1_024
    """Open calls per connection."""
    max_header_bytes: int = 16 * 1024
    max_message_bytes: int = 64 << 20
    """Of one message, decompressed, each way."""
    max_bytes_in_flight: int = 1 << 30
    """Of messages held, over all connections."""
    max_queued_requests: int = 65_536
    """Per model version."""
    idle_timeout_s: float = math.inf
    """How long a connection may have no call."""
    keepalive_time_s: float = 60.0
    """Silence before a connection is pinged."""
    keepalive_timeout_s: float = 20.0
    """For the answer to that ping."""
    stall_timeout_s: float = 30.0
    """How long a client may take no bytes of its answers."""
    handshake_timeout_s: float = 10.0
    """For TLS and the HTTP/2 preface."""

    model_control: ModelControl = "none"
    """``none``: load all at start; ``poll``: and follow the files; ``explicit``: load
    ``load_models`` at start, the rest on request."""
    load_models: tuple[str, ...] = ()
    """With ``explicit``; ``"*"`` is all."""
    poll_interval_s: float = 15.0
    strict_readiness: bool = False
    """Whether one model that does not load fails the start."""
    drain_timeout_s: float = 30.0
    """How long ``stop`` waits for open calls."""

    def __post_init__(self) -> None:
        if not self.host:
            raise OptionsError("host is empty, expected a name or an address")
        for name in ("grpc_port", "http_port"):
            port = getattr(self, name)
            if port is not None:
                _in_range(name, port, 0, MAX_PORT)
        if self.grpc_port is None and self.unix_socket is None:
            raise OptionsError("grpc_port is off and there is no unix_socket: nowhere to listen")
        if self.grpc_port == self.http_port not in (0, None):
            raise OptionsError(f"grpc_port and http_port are both {self.grpc_port}")
        self._check_tls()
        self._check_limits()
        self._check_models()

    def _check_tls(self) -> None:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise OptionsError("tls_cert and tls_key come together, only one was given")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise OptionsError("tls_client_ca needs tls_cert and tls_key")
        for name in ("tls_cert", "tls_key", "tls_client_ca"):
            path = getattr(self, name)
            if path is None:
                continue
            # Frozen for everybody else.
            object.__setattr__(self, name, os.fspath(path))
            if not os.access(path, os.R_OK):
                raise OptionsError(f"{name}: cannot read {path!r}")

    def _check_limits(self) -> None:
        if self.transport_threads is not None:
            _in_range("transport_threads", self.transport_threads, 1, 256)
        for name, lowest, highest in (
            ("max_connections", 1, 2**32 - 1),
            ("max_streams", 1, 2**31 - 1),
            ("max_header_bytes", 1024, 2**31 - 1),
            # A gRPC message's length has four bytes.
            ("max_message_bytes", 1024, 2**32 - 1),
            ("max_bytes_in_flight", 1024, 2**63 - 1),
            ("max_queued_requests", 1, 2**32 - 1),
        ):
            _in_range(name, getattr(self, name), lowest, highest)
        if self.max_bytes_in_flight < self.max_message_bytes:
            raise OptionsError(
                f"max_bytes_in_flight is {self.max_bytes_in_flight}, less than one message "
                f"may have (max_message_bytes {self.max_message_bytes})"
            )
        for name in (
            "idle_timeout_s",
            "keepalive_time_s",
            "keepalive_timeout_s",
            "stall_timeout_s",
            "handshake_timeout_s",
        ):
            seconds = getattr(self, name)
            if not _is_number(seconds) or not seconds > 0:
                raise OptionsError(f"{name} is {seconds!r}, expected more than 0 seconds")
        interval = self.poll_interval_s
        if not _is_number(interval) or not 0 < interval < math.inf:
            raise OptionsError(
                f"poll_interval_s is {interval!r}, expected more than 0 seconds and less than inf"
            )
        if not _is_number(self.drain_timeout_s) or not self.drain_timeout_s >= 0:
            raise OptionsError(
                f"drain_timeout_s is {self.drain_timeout_s!r}, expected 0 seconds or more"
            )

    def _check_models(self) -> None:
        controls = get_args(ModelControl)
        if self.model_control not in controls:
            raise OptionsError(
                f"model_control is {self.model_control!r}, expected one of {', '.join(controls)}"
            )
        if isinstance(self.load_models, str):
            raise OptionsError(f"load_models is the text {self.load_models!r}, expected names")
        object.__setattr__(self, "load_models", tuple(self.load_models))
        if self.load_models and self.model_control != "explicit":
            raise OptionsError(
                f"load_models needs model_control 'explicit', it is {self.model_control!r}"
            )

    @property
    def tls(self) -> dict[str, str] | None:
        """The ``tls`` argument of the engine."""
        if self.tls_cert is None or self.tls_key is None:
            return None
        files = {"certificate": os.fspath(self.tls_cert), "key": os.fspath(self.tls_key)}
        if self.tls_client_ca is not None:
            files["client_ca"] = os.fspath(self.tls_client_ca)
        return files

    @property
    def engine_arguments(self) -> dict[str, Any]:
        """The limits and timeouts of the engine, by its names for them."""
        return {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if field.name.startswith("max_") or field.name in _ENGINE_TIMEOUTS
        }


_ENGINE_TIMEOUTS = frozenset(
    {
        "idle_timeout_s",
        "keepalive_time_s",
        "keepalive_timeout_s",
        "stall_timeout_s",
        "handshake_timeout_s",
    }
)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _in_range(name: str, value: object, lowest: int, highest: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value <= highest:
        raise OptionsError(f"{name} is {value!r}, expected {lowest} to {highest}")
