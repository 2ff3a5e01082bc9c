"""The thread that answers everything but inference, over gRPC and HTTP."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING

import uvloop

from penstock._native.engine import Engine
from penstock.control.bridge import Bridge, Handler
from penstock.control.health import HealthService
from penstock.control.inference_service import InferenceService
from penstock.control.readiness import Readiness, State
from penstock.control.reflection import ReflectionService
from penstock.control.worker import in_thread
from penstock.monitoring.windows import STEP_S

if TYPE_CHECKING:
    import uvicorn

    from penstock.repository import ModelRepository

log = logging.getLogger("penstock.control")

MAX_HTTP_CONNECTIONS = 256
"""Further ones are answered 503."""
_HTTP_END_S = 1
"""What an open HTTP request may take when the server ends."""


class ControlPlane:
    """One uvloop loop on a thread of its own; the methods here are for other threads.

    It never touches an event loop of the calling thread, so a notebook may use it.

    Args:
        http_socket: bound and listening; None: no HTTP. The caller closes it.
    """

    def __init__(
        self, engine: Engine, repository: ModelRepository, http_socket: socket.socket | None
    ) -> None:
        self._engine = engine
        self._repository = repository
        self._http_socket = http_socket
        self._thread = threading.Thread(target=self._run, name="penstock-control", daemon=True)
        self._attached: Future[None] = Future()
        self._http_serving: Future[None] = Future()
        self._lock = threading.Lock()
        """Guards ``_closed``, and the order of what is handed to the loop."""
        self._closed = False

    def start(self) -> None:
        """Return once gRPC calls are answered; HTTP comes up meanwhile."""
        self._thread.start()
        self._attached.result()
        self._repository.add_listener(self._on_model_change)

    def wait_http(self, timeout_s: float | None = None) -> None:
        """Wait until HTTP requests are answered; raises what prevents that."""
        self._http_serving.result(timeout_s)

    @property
    def ready(self) -> bool:
        """What ServerReady answers."""
        return self._readiness.ready

    def set(self, state: State) -> None:
        """Turn readiness; returns when that can be seen.

        Raises:
            RuntimeError: the plane is closed.
        """
        self._call(lambda: self._readiness.set(state))

    def drain(self) -> None:
        """NOT_SERVING to whoever watches, and an end to the streams that wait for their client."""

        def drain() -> None:
            self._readiness.set("draining")
            self._bridge.drain()

        self._call(drain)

    def close(self) -> None:
        """End every call and the thread."""
        with self._lock:
            if not self._closed and self._thread.is_alive():
                self._loop.call_soon_threadsafe(self._closing.set)
            self._closed = True
        if self._thread.is_alive():
            self._thread.join()

    def _call(self, work: Callable[[], None]) -> None:
        """Run ``work`` on the loop and wait for it."""
        done: Future[None] = Future()

        def run() -> None:
            try:
                work()
            except BaseException as error:
                done.set_exception(error)
            else:
                done.set_result(None)

        with self._lock:
            if self._closed:
                raise RuntimeError("the control plane is closed")
            # Runs before what close() hands over.
            self._loop.call_soon_threadsafe(run)
        done.result()

    def _on_model_change(self) -> None:
        with self._lock:
            if not self._closed:
                self._loop.call_soon_threadsafe(self._readiness.notify)

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._serve())
        except BaseException as error:
            log.exception("the control plane failed")
            for waited in (self._attached, self._http_serving):
                if not waited.done():
                    waited.set_exception(error)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._closing = asyncio.Event()
        self._readiness = Readiness()
        self._bridge = Bridge(self._engine, self._handlers())
        self._bridge.attach()
        self._attached.set_result(None)
        http = asyncio.create_task(self._serve_http())
        ticking = asyncio.create_task(self._keep_readings())
        await self._closing.wait()
        ticking.cancel()
        await self._bridge.close()
        await http

    async def _keep_readings(self) -> None:
        """Let every watcher read its counters, on a thread beside the loop."""

        def tick() -> None:
            for loaded in self._repository.versions():
                if loaded.watcher is not None:
                    loaded.watcher.tick()

        while True:
            await asyncio.sleep(STEP_S)
            try:
                await in_thread(tick)
            except Exception:
                log.exception("the monitor's windows cannot be kept")

    def _handlers(self) -> dict[str, Handler]:
        return {
            **InferenceService(self._repository, self._readiness).handlers(),
            **HealthService(self._repository, self._readiness).handlers(),
            **ReflectionService().handlers(),
        }

    async def _serve_http(self) -> None:
        if self._http_socket is None:
            self._http_serving.set_result(None)
            return
        try:
            # The imports take longer than all else here; calls are answered meanwhile.
            server = await in_thread(self._make_http_server)
            serving = asyncio.create_task(server.serve(sockets=[self._http_socket]))
            while not server.started and not serving.done():
                await asyncio.sleep(0.005)
        except Exception as error:
            self._http_serving.set_exception(error)
            return
        self._http_serving.set_result(None)
        await self._closing.wait()
        server.should_exit = True
        await serving

    def _make_http_server(self) -> uvicorn.Server:
        import uvicorn

        from penstock.control.http import make_app
        from penstock.control.http_connection import HttpConnection

        return uvicorn.Server(
            uvicorn.Config(
                make_app(self._engine, self._repository, self._readiness),
                http=HttpConnection,
                lifespan="off",
                ws="none",
                access_log=False,
                log_config=None,
                server_header=False,
                limit_concurrency=MAX_HTTP_CONNECTIONS,
                timeout_graceful_shutdown=_HTTP_END_S,
            )
        )


def bind_http(host: str, port: int) -> socket.socket:
    """A listening socket; connections wait in its backlog until they are served.

    Raises:
        OSError: the address does not resolve or cannot be bound.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(128)
    except OSError:
        bound.close()
        raise
    return bound
