"""The native core: sockets, HTTP/2, gRPC, queues, batches.

An :class:`Engine` is one server. It knows nothing of files or of ONNX: models
come as specs, and each instance of one is a thread inside
:meth:`Instance.run` that calls a backend once per batch.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol, TypedDict, final

import numpy as np

from penstock._native.sketch import LatencySketch
from penstock.spec import ModelSpec, WatchedFeature

class Backend(Protocol):
    """What an instance runs. Used by one thread at a time."""

    def run(self, batch: Batch) -> None:
        """Compute ``batch``; an exception fails its requests, and only them.

        Raise :class:`RequestError` to choose the status code.
        """

class RequestError(Exception):
    """An answer with a status code of its own.

    Args:
        code: a gRPC status code, 1 to 16.
        message: for the client.
    """

    code: int
    message: str
    def __init__(self, code: int, message: str) -> None: ...

@final
class Batch:
    """The rows an instance is about to compute. One object per instance,
    reused: valid inside :meth:`Backend.run` only."""

    @property
    def rows(self) -> int:
        """Rows in the batch; 1 if the model does not batch."""
    @property
    def static(self) -> bool:
        """Every input and output is numeric with fixed dimensions, so that
        the addresses below never change and bindings may be kept per
        ``rows``."""
    @property
    def input_count(self) -> int: ...
    def input_address(self, index: int) -> int:
        """Address of input ``index``'s rows (0 if the batch lacks it)."""
    def input_shape(self, index: int) -> tuple[int, ...]:
        """Shape in this batch, batch dimension included if the model batches."""
    def input(self, index: int) -> np.ndarray[Any, Any] | None:
        """Input ``index`` as an array over the core's own memory (BF16 as
        uint16; BYTES as an object array of ``bytes``). None if left out."""
    def output_address(self, index: int) -> int:
        """Address where output ``index`` may be written (space for
        ``rows`` rows); 0 if its size is not known beforehand."""
    def set_output(self, index: int, value: np.ndarray[Any, Any]) -> None:
        """Give output ``index``. Not needed for outputs written in place.

        Raises:
            RequestError: INTERNAL, if shape or dtype is not what the spec says.
        """
    @property
    def parameters(self) -> Mapping[str, bool | int | str | float]:
        """Request parameters common to the batch (``parameters_matter``)."""

@final
class Instance:
    """One executor of a version: its buffers and its place at the queue."""

    def run(self, backend: Backend) -> None:
        """Take batches until the version is closed. The caller's thread
        becomes the executor; the GIL is held inside ``backend.run`` only."""
    def warm_up(
        self, backend: Backend, rows: int, dims: Sequence[Sequence[int]] | None = None
    ) -> None:
        """Run a batch of zeros on the calling thread, before :meth:`run`.

        Args:
            rows: batch size, 1..max_batch_size.
            dims: shape of each input without the batch dimension; needed where
                the spec has dynamic dimensions.
        """

@final
class Version:
    """One loaded version of one model, with its queue."""

    @property
    def spec(self) -> ModelSpec: ...
    def instance(self, index: int) -> Instance: ...
    def close(self) -> None:
        """Take no more requests. Those queued are still computed; then every
        :meth:`Instance.run` returns."""
    def statistics(self) -> dict[str, Any]:
        """Counters since load, merged over threads::

        {"success": n, "success_ns": n,         # whole request
         "failure": {reason: n},                # queue_full, overload, too_late, expired,
                                                # cancelled, closed, backend
         "failure_ns": n,                       # from arrival to the failure
         "queue_ns": n, "compute_input_ns": n, "compute_infer_ns": n,
         "compute_output_ns": n,                # sums over requests
         "inference_count": n,                  # rows
         "execution_count": n,                  # batches
         "batch_sizes": {rows: {"count": n, "compute_input_ns": n,
                                "compute_infer_ns": n,
                                "compute_output_ns": n}},
         "released": {reason: n},   # full, idle_instance, delay, deadline, drain
         "last_inference_ms": n,    # since the epoch
         "queue_depth": n, "queued_rows": n, "in_flight": n,
         "cost_us": (a, b) | None}  # learned t(rows) = a + b * rows
        """

    def activity(self) -> int:
        """A number that grows with every batch and every refusal: cheap to compare."""
    def latencies(self) -> Latencies:
        """Sketches of all that was noted since the version was loaded, merged over threads.

        Raises:
            RuntimeError: the version is not monitored, as in all methods below.
        """
    def watch(self, features: Sequence[WatchedFeature]) -> None:
        """From the next batch on, count the values of these, from zero. No features: no longer.

        Raises:
            ValueError: a feature does not fit the model.
        """
    def drift_counts(self) -> tuple[int, np.ndarray[Any, np.dtype[np.uint64]]] | None:
        """Rows, and counts [features, SLOTS], since :meth:`watch`; None before it."""
    def capture(self, rows: int) -> None:
        """From the next batch on, keep ``rows`` rows (the last batch whole), and drop older ones;
        0: keep none."""
    def captured(self) -> tuple[int, dict[tuple[str, str], np.ndarray[Any, Any]]]:
        """Rows kept so far, and [rows, elements] by ("input" or "output", name). A tensor whose
        rows are not alike is left out."""

class Latencies(TypedDict):
    """Sketches by stage: "queue", "compute" and their sum, "total"."""

    all: dict[str, LatencySketch]
    slices: dict[str, dict[str, LatencySketch]]

class ControlCall(TypedDict):
    """Something that happened to a call the engine does not answer itself."""

    id: int
    event: Literal["message", "half_close", "gone"]
    method: str
    """``/package.Service/Method``."""
    message: bytes
    first: bool
    """Nothing of this call was told before: what comes after its end is not."""

@final
class Engine:
    def __init__(
        self,
        *,
        transport_threads: int,
        control_methods: Sequence[tuple[str, bool, bool]] = ...,
        max_connections: int = ...,
        max_streams: int = ...,
        max_header_bytes: int = ...,
        max_message_bytes: int = ...,
        max_bytes_in_flight: int = ...,
        max_queued_requests: int = ...,
        idle_timeout_s: float = ...,
        keepalive_time_s: float = ...,
        keepalive_timeout_s: float = ...,
        stall_timeout_s: float = ...,
        handshake_timeout_s: float = ...,
        tls: Mapping[str, str] | None = None,
    ) -> None:
        """
        Args:
            transport_threads: 0: no sockets, for requests of this process alone.
            control_methods: (path, client streaming, server streaming) of the
                methods that Python answers.
            tls: ``certificate``, ``key`` and, for mTLS, ``client_ca``: paths.
        """
    def listen_tcp(self, host: str, port: int) -> int:
        """Returns the bound port. Raises OSError."""
    def listen_unix(self, path: str) -> None: ...
    def start(self) -> None: ...
    def reload_tls(self) -> None:
        """Read the certificate files again; raises ValueError and keeps the
        old ones if they do not fit together."""
    def drain(self) -> None:
        """Accept no connection, send GOAWAY, go on answering."""
    def wait_drained(self, timeout_s: float) -> bool:
        """True once no call is open."""
    def stop(self) -> None:
        """Close every connection and join the transport threads."""
    def add_version(self, spec: ModelSpec) -> Version:
        """Not routed to before :meth:`publish`."""
    def publish(
        self,
        routes: Mapping[str, Sequence[Version]],
        unavailable: Mapping[str, str] | None = None,
    ) -> None:
        """Swap the whole routing table.

        Args:
            routes: by model name, the versions that answer, the default last.
            unavailable: names the repository has but cannot serve, with the
                reason that a client is told.
        """
    @property
    def control_fd(self) -> int:
        """Readable while control calls wait."""
    def take_control_calls(self) -> list[ControlCall]: ...
    def control_send(self, call_id: int, message: bytes) -> None:
        """Send one message on a call; nothing happens if it is gone."""
    def control_finish(self, call_id: int, code: int, message: str) -> None:
        """End a call with a status."""
    def statistics(self) -> dict[str, int | dict[str, int]]:
        """``connections``, ``connections_total``,
        ``streams``, ``requests_total``, ``bytes_in_flight``, ``bytes_received``,
        ``bytes_sent``, ``answers`` (by status code name), ``limits`` (times each
        limit was hit, by name)."""

@final
class LocalRequest:
    """An answer on its way, for requests that came without a socket."""

    def done(self) -> bool: ...
    def result(self, timeout_s: float | None = None) -> dict[str, np.ndarray[Any, Any]]:
        """Wait for the answer; arrays view one buffer of their own.

        Raises:
            RequestError: what a gRPC client would be told.
            TimeoutError: not done in time; the request goes on.
        """
    def add_done_callback(self, callback: Callable[[LocalRequest], None]) -> None: ...
    def cancel(self) -> None: ...

def submit(
    version: Version,
    inputs: Mapping[str, np.ndarray[Any, Any]],
    *,
    parameters: Mapping[str, bool | int | str | float] | None = None,
    timeout_s: float | None = None,
) -> LocalRequest:
    """Queue a request to ``version`` from this process."""
