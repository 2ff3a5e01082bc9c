"""A server in this process: sockets, models, control plane; started and stopped in order."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from penstock._native.engine import Engine
from penstock.control.bridge import control_methods
from penstock.control.plane import ControlPlane, bind_http
from penstock.cores import available_cores
from penstock.logs import event
from penstock.options import OptionsError, ServerOptions

if TYPE_CHECKING:
    from penstock.repository import IndexEntry, LoadedVersion, ModelRepository

log = logging.getLogger("penstock.server")

T = TypeVar("T")
PathLike = str | os.PathLike[str]

_CLOSE_S = 5.0
"""What executors may take to end when no client waits for them any more."""


class BindError(OSError):
    """An address cannot be listened on."""


class NoModelError(RuntimeError):
    """Nothing could be loaded; or not everything, with ``strict_readiness``.

    Args:
        failures: the reasons, by model name.
    """

    def __init__(self, message: str, failures: Mapping[str, str]) -> None:
        super().__init__(message)
        self.failures = dict(failures)


class Server:
    """Serves model repositories over gRPC (Open Inference Protocol) and HTTP.

    ::

        with penstock.Server("models", grpc_port=0, http_port=0) as server:
            client = tritonclient.grpc.InferenceServerClient(server.grpc_address)

    It starts no event loop on the calling thread and installs no signal handlers, so that it
    works in a notebook and inside another server. A server starts once.

    Args:
        repository: a folder ``MODEL/VERSION/model.onnx``, or several.
        options: all settings; or else
        settings: some of them, by the names of :class:`~penstock.ServerOptions`.

    Raises:
        OptionsError: a setting cannot work.
    """

    def __init__(
        self,
        repository: PathLike | Sequence[PathLike],
        options: ServerOptions | None = None,
        **settings: Any,
    ) -> None:
        if options is not None and settings:
            raise OptionsError(f"options and {', '.join(settings)} came, expected one or the other")
        self.options = options if options is not None else _options_from(settings)
        self._paths = _folders_from(repository)
        self._lock = threading.Lock()
        """Guards the three flags below."""
        self._started = False
        self._loading = False
        self._stopping = False
        self._built = threading.Event()
        """Sockets and control plane are made, or will not be."""
        self._stopped = threading.Event()
        self._drained = True
        self._engine: Engine | None = None
        self._repository: ModelRepository | None = None
        self._plane: ControlPlane | None = None
        self._grpc_port: int | None = None
        self._http_socket: socket.socket | None = None
        self._http_port: int | None = None
        self._failures: dict[str, str] = {}

    # --- Life -----------------------------------------------------------------------------------

    def start(self) -> Server:
        """Listen, load, and return when the server is ready. Returns the server itself.

        Addresses are taken first: a taken port is known at once, and a probe is answered while
        models load.

        Raises:
            BindError: an address cannot be listened on.
            OptionsError: the TLS files do not fit together, or a repository cannot be read.
            NoModelError: no model could be loaded.
            RuntimeError: it was started before, or stopped while it started.
        """
        with self._lock:
            if self._started:
                raise RuntimeError("this server was started before; make another one")
            self._started = True
        try:
            try:
                self._listen()
                self._serve_control()
            finally:
                self._built.set()
            self._load_models()
            self._require_models()
            self._running_plane.wait_http()
            self._running_plane.set("ready")
        except BaseException:
            self._end(drain_timeout_s=0)
            raise
        return self

    def stop(self, drain_timeout_s: float | None = None) -> bool:
        """Turn readiness off, send clients away, answer what is open, end. Any thread may call it.

        Args:
            drain_timeout_s: how long to wait for open calls; ``options.drain_timeout_s`` if None.

        Returns:
            Whether every open call was answered.
        """
        with self._lock:
            if not self._started:
                self._started = True
                return True
        if drain_timeout_s is None:
            drain_timeout_s = self.options.drain_timeout_s
        return self._end(drain_timeout_s)

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def wait_ready(self, timeout_s: float | None = None) -> bool:
        """Wait for a :meth:`start` on another thread; False if it is not ready in time."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not self.ready:
            if self._stopping or (deadline is not None and time.monotonic() >= deadline):
                return False
            time.sleep(0.005)
        return True

    def reload_tls(self) -> None:
        """Read the TLS files again, for connections to come.

        Raises:
            ValueError: they do not fit together, or TLS is off; the old ones stay.
        """
        if self.options.tls is None:
            raise ValueError("TLS is off")
        self._running_engine.reload_tls()

    # --- Looking at it --------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """What ServerReady answers."""
        plane = self._plane
        return plane is not None and not self._stopping and plane.ready

    @property
    def grpc_address(self) -> str:
        """``host:port``, or ``unix:PATH`` where there is no TCP port; for any gRPC client."""
        if self._grpc_port is not None:
            return _address(self.options.host, self._grpc_port)
        if self.options.grpc_port is None:
            return f"unix:{self.options.unix_socket}"
        raise RuntimeError("the server does not listen yet")

    @property
    def http_address(self) -> str:
        """``host:port`` of health and metrics.

        Raises:
            RuntimeError: there is none, or not yet.
        """
        if self._http_port is None:
            raise RuntimeError("the server has no HTTP port, or does not listen yet")
        return _address(self.options.host, self._http_port)

    @property
    def failures(self) -> Mapping[str, str]:
        """Why models did not load at the start, by name."""
        return self._failures

    def versions(self) -> list[LoadedVersion]:
        """The model versions that answer requests, by name and number."""
        return self._running_repository.versions()

    def index(self, ready_only: bool = False) -> list[IndexEntry]:
        """Every model of the repositories with its state, as RepositoryIndex has it."""
        return self._running_repository.index(ready_only)

    def is_model_ready(self, name: str, version: str = "") -> bool:
        """What ModelReady answers."""
        return self._running_repository.ready(name, version)

    def statistics(self, name: str, version: str = "") -> dict[str, Any]:
        """Counters of one version (the highest if empty); see ``Version.statistics``."""
        return self._running_repository.get(name, version).version.statistics()

    def transport_statistics(self) -> dict[str, Any]:
        """Connections, calls, bytes, answers by status code, limits hit."""
        return dict(self._running_engine.statistics())

    # --- Changing it ----------------------------------------------------------------------------

    def load(self, name: str, config: str | None = None) -> None:
        """Load or reload a model; returns when it answers. For ``model_control="explicit"``.

        Raises:
            RequestError: what a gRPC client would be told.
        """
        self._running_repository.load(name, config)

    def unload(self, name: str) -> None:
        """Serve a model no longer; what is queued is computed still."""
        self._running_repository.unload(name)

    # --- Steps ----------------------------------------------------------------------------------

    def _listen(self) -> None:
        options = self.options
        methods = [
            (method.path, method.client_streaming, method.server_streaming)
            for method in control_methods().values()
        ]
        threads = options.transport_threads or max(1, available_cores() // 2)
        self._engine = Engine(
            transport_threads=threads,
            control_methods=methods,
            tls=options.tls,
            **options.engine_arguments,
        )
        what = f"gRPC on {options.host}:{options.grpc_port}"
        try:
            if options.grpc_port is not None:
                self._grpc_port = self._engine.listen_tcp(options.host, options.grpc_port)
            if options.unix_socket is not None:
                what = f"gRPC on unix:{options.unix_socket}"
                self._engine.listen_unix(options.unix_socket)
            if options.http_port is not None:
                what = f"HTTP on {options.host}:{options.http_port}"
                self._http_socket = bind_http(options.host, options.http_port)
                self._http_port = self._http_socket.getsockname()[1]
        except OSError as error:
            raise BindError(f"cannot serve {what}: {error}") from error

    def _serve_control(self) -> None:
        from penstock.repository import ModelRepository, RepositoryOptions

        options = self.options
        self._repository = ModelRepository(
            self._running_engine,
            RepositoryOptions(
                paths=tuple(self._paths),
                control=options.model_control,
                load_models=options.load_models,
                poll_interval_s=options.poll_interval_s,
            ),
        )
        self._plane = ControlPlane(self._running_engine, self._repository, self._http_socket)
        self._plane.start()
        try:
            self._running_engine.start()
        except ValueError as error:
            raise OptionsError(f"TLS: {error}") from error

    def _load_models(self) -> None:
        with self._lock:
            self._loading = not self._stopping
        self._require_running()
        try:
            self._failures = self._running_repository.start()
        except OSError as error:
            raise OptionsError(f"repository: {error}") from error
        finally:
            with self._lock:
                self._loading, left_to_us = False, self._stopping
            if left_to_us:
                # stop() does not wait for the thread that loads.
                self._running_repository.close(_CLOSE_S)
        self._require_running()

    def _require_models(self) -> None:
        failures, loaded = self._failures, self._running_repository.versions()
        if failures and (self.options.strict_readiness or not loaded):
            total = len(failures) + len({version.spec.name for version in loaded})
            raise NoModelError(f"{len(failures)} of {total} models did not load", failures)
        if not loaded and self.options.model_control == "none":
            where = ", ".join(map(str, self._paths))
            raise NoModelError(f"there is no model in {where}", {})

    def _require_running(self) -> None:
        if self._stopping:
            raise RuntimeError("the server was stopped while it started")

    def _end(self, drain_timeout_s: float) -> bool:
        with self._lock:
            first, self._stopping = not self._stopping, True
            loading = self._loading
        if not first:
            self._stopped.wait()
            return self._drained
        # What the start is making must not come after what ends it.
        self._built.wait()
        if loading:
            self._running_repository.stop_loading()
        try:
            self._drained = self._drain(drain_timeout_s)
        finally:
            if self._plane is not None:
                self._plane.close()
            if self._http_socket is not None:
                self._http_socket.close()
            if self._engine is not None:
                self._engine.stop()
            if self._repository is not None and not loading:
                self._repository.close(_CLOSE_S)
            self._stopped.set()
        return self._drained

    def _drain(self, timeout_s: float) -> bool:
        if self._engine is None or self._plane is None:
            return True
        self._plane.drain()
        self._engine.drain()
        began = time.monotonic()
        drained = self._engine.wait_drained(timeout_s)
        if not drained and timeout_s > 0:
            open_calls = self._engine.statistics()["streams"]
            event(log, logging.WARNING, "drain_timed_out", calls=open_calls, after_s=timeout_s)
        event(log, logging.DEBUG, "drained", seconds=round(time.monotonic() - began, 3))
        return drained

    @property
    def _running_engine(self) -> Engine:
        return _made(self._engine)

    @property
    def _running_plane(self) -> ControlPlane:
        return _made(self._plane)

    @property
    def _running_repository(self) -> ModelRepository:
        return _made(self._repository)


def _made(part: T | None) -> T:
    if part is None:
        raise RuntimeError("the server has not been started")
    return part


def _options_from(settings: Mapping[str, Any]) -> ServerOptions:
    unknown = settings.keys() - ServerOptions.__dataclass_fields__.keys()
    if unknown:
        raise OptionsError(f"there is no setting {', '.join(sorted(unknown))}")
    return ServerOptions(**settings)


def _folders_from(repository: PathLike | Sequence[PathLike]) -> list[Path]:
    several = [repository] if isinstance(repository, str | os.PathLike) else list(repository)
    folders = [Path(each) for each in several]
    if not folders:
        raise OptionsError("there is no repository, expected one folder or more")
    for folder in folders:
        if not folder.is_dir():
            raise OptionsError(f"repository {str(folder)!r} is not a folder")
    return folders


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
