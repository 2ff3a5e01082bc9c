"""ONNX Runtime: a model file as a session, and the session as a backend."""

from __future__ import annotations

import ctypes
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from penstock.backends.base import DTYPES, DeclaredTensor, LoadError, Reshapes, Signature
from penstock.backends.low_priority import run_at_low_priority
from penstock.backends.onnx_binding import OnnxBackend
from penstock.backends.sessions import SessionSettings, create_session
from penstock.cores import available_cores
from penstock.spec import DYNAMIC, ModelSpec

if TYPE_CHECKING:
    from penstock._native.engine import Backend

_log = logging.getLogger("penstock.backends.onnx")

DATATYPES: Mapping[str, str] = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(bfloat16)": "BF16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}
"""The protocol's name of each of ONNX Runtime's types."""

LARGE_MODEL_BYTES = 4 << 20
"""From this size on a model gets its threads without being tried."""

SHORT_RUN_S = 500e-6
"""A run that one thread finishes in this time is not worth waking others for."""


class OnnxModel:
    """A model file in an ONNX Runtime session.

    Small models are tried on one thread first: waking the threads of a pool costs more than a
    short run spares (measured for a 32-64-64-2 perceptron: 8 us on one thread at 32 rows, 15 us
    on two).
    """

    strings_are_utf8 = True
    parameters_matter = False
    native = True

    def __init__(self, path: Path, settings: SessionSettings) -> None:
        """
        Raises:
            LoadError: ONNX Runtime refuses the file, or the protocol cannot carry its tensors.
        """
        self._path = path
        self._settings = settings
        wanted = settings.intra_op_threads
        if wanted is None:
            wanted = settings.default_threads(available_cores())
        self._threads = wanted
        self._large = _size(path) >= LARGE_MODEL_BYTES
        self._on_trial = settings.intra_op_threads is None and wanted > 1 and not self._large
        self._session = create_session(path, settings, 1 if self._on_trial else wanted)
        self._signature = _signature(path.name, self._session)

    @property
    def signature(self) -> Signature:
        return self._signature

    @property
    def session(self) -> Any:
        """The ``onnxruntime.InferenceSession``."""
        return self._session

    @property
    def threads(self) -> int:
        """That compute one run."""
        return 1 if self._on_trial else self._threads

    def prepare(self, spec: ModelSpec) -> None:
        """Give the model its threads after all, if its runs are long."""
        if self._on_trial and not self._runs_are_short(spec):
            self._on_trial = False
            self._session = create_session(self._path, self._settings, self._threads)

    def create_backend(self, spec: ModelSpec, reshapes: Reshapes) -> Backend:
        return OnnxBackend(self._session, spec, reshapes)

    def close(self) -> None:
        self._session = None
        if self._large:
            _give_memory_back()

    def _runs_are_short(self, spec: ModelSpec) -> bool:
        """Whether a full batch of zeros is computed in SHORT_RUN_S on one thread."""
        full = max(spec.batching.max_batch_size, 1)
        rows = 1
        try:
            while True:
                seconds = run_at_low_priority(partial(self._run_time, rows))
                if seconds is None or seconds > SHORT_RUN_S:
                    return False
                if rows == full:
                    return True
                larger = min(rows * 16, full)
                # If it is too long even should more rows cost but an eighth each, the buffers of
                # a full batch need not be allocated to find out.
                if seconds * larger / rows / 8 > SHORT_RUN_S:
                    return False
                rows = larger
        except Exception as error:
            # Zeros are not what every model takes; then nothing is known of its time.
            _log.debug("%s: a trial run of zeros failed: %s", self._path, error)
            return False

    def _run_time(self, rows: int) -> float | None:
        """CPU seconds of a run of zeros, the best of some; None if no input can be made up."""
        feed: dict[str, np.ndarray[Any, Any]] = {}
        for tensor in self._signature.inputs:
            first, rest = tensor.dims[:1], tensor.dims[1:]
            if tensor.optional:
                continue
            if DYNAMIC in rest or tensor.datatype == "BF16":
                return None
            shape = (rows if first == (DYNAMIC,) else first[0], *rest) if first else ()
            empty: Any = "" if tensor.datatype == "BYTES" else 0
            feed[tensor.name] = np.full(shape, empty, DTYPES[tensor.datatype])
        best = float("inf")
        for _ in range(4):
            start = time.thread_time()
            self._session.run(None, feed)
            best = min(best, time.thread_time() - start)
            if best > SHORT_RUN_S * 20:
                break
        return best


def _size(path: Path) -> int:
    """Bytes of a model; its weights may lie in other files beside it, under any name."""
    total = 0
    for file in path.parent.iterdir():
        with suppress(OSError):  # It may go while we look.
            total += file.stat().st_size
    return total


def _give_memory_back() -> None:
    """Weights lie in pieces that glibc would keep for later: malloc_trim(3)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(ctypes.c_size_t(0))


def _signature(file: str, session: Any) -> Signature:
    inputs = [_declared(file, "input", node) for node in session.get_inputs()]
    # Inputs with a value in the file, which a request may replace.
    inputs += [
        _declared(file, "input", node, optional=True)
        for node in session.get_overridable_initializers()
    ]
    outputs = [_declared(file, "output", node) for node in session.get_outputs()]
    return Signature(tuple(inputs), tuple(outputs))


def _declared(file: str, role: str, node: Any, *, optional: bool = False) -> DeclaredTensor:
    datatype = DATATYPES.get(node.type)
    if datatype is None:
        hint = ""
        if node.type.startswith("seq(map("):
            hint = "; convert the classifier with options={'zipmap': False}"
        raise LoadError(
            f"{file}: {role} {node.name!r} is {node.type}, expected a tensor of "
            f"{', '.join(kind[7:-1] for kind in DATATYPES)}{hint}"
        )
    return DeclaredTensor(
        name=node.name,
        datatype=datatype,
        dims=tuple(dim if isinstance(dim, int) and dim >= 0 else DYNAMIC for dim in node.shape),
        symbols=tuple(dim if isinstance(dim, str) else "" for dim in node.shape),
        optional=optional,
    )
