"""An engine of Python alone: it computes what is submitted, and watches how it is used."""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np

from penstock.backends.base import DTYPES
from penstock.spec import DYNAMIC, ModelSpec, TensorSpec

Arrays = dict[str, np.ndarray[Any, Any]]


class FakeBatch:
    """``penstock._native.engine.Batch`` over NumPy arrays."""

    def __init__(
        self,
        spec: ModelSpec,
        inputs: Mapping[str, np.ndarray[Any, Any]],
        *,
        fixed: bool = False,
    ) -> None:
        """
        Args:
            fixed: claim that the addresses of this batch will be those of all its size.
        """
        self._spec = spec
        self._inputs = [inputs.get(tensor.name) for tensor in spec.inputs]
        first = next(array for array in self._inputs if array is not None)
        self.rows = first.shape[0] if spec.batching.max_batch_size > 0 else 1
        self.parameters: dict[str, Any] = {}
        self.given: dict[int, np.ndarray[Any, Any]] = {}
        self._places = [self._place(tensor) for tensor in spec.outputs]
        # The core's buffers stay where they are from batch to batch; these do not.
        self.static = fixed

    @property
    def input_count(self) -> int:
        return len(self._inputs)

    def _place(self, tensor: TensorSpec) -> np.ndarray[Any, Any] | None:
        if DYNAMIC in tensor.dims or tensor.datatype == "BYTES":
            return None
        lead = (self.rows,) if self._spec.batching.max_batch_size > 0 else ()
        return np.zeros((*lead, *tensor.dims), DTYPES[tensor.datatype])

    def input_address(self, index: int) -> int:
        array = self._inputs[index]
        return 0 if array is None or array.size == 0 else array.ctypes.data

    def input_shape(self, index: int) -> tuple[int, ...]:
        array = self._inputs[index]
        return () if array is None else array.shape

    def input(self, index: int) -> np.ndarray[Any, Any] | None:
        return self._inputs[index]

    def output_address(self, index: int) -> int:
        place = self._places[index]
        return 0 if place is None else place.ctypes.data

    def set_output(self, index: int, value: np.ndarray[Any, Any]) -> None:
        self.given[index] = np.array(value)

    def outputs(self) -> Arrays:
        values: Arrays = {}
        for index, tensor in enumerate(self._spec.outputs):
            value = self.given.get(index, self._places[index])
            assert value is not None, f"output {tensor.name} was not given"
            values[tensor.name] = value
        return values


class FakeInstance:
    def __init__(self, version: FakeVersion) -> None:
        self._version = version

    def run(self, backend: Any) -> None:
        while (work := self._version.requests.get()) is not None:
            inputs, answer = work
            batch = FakeBatch(self._version.spec, inputs)
            try:
                backend.run(batch)
                answer.set_result(batch.outputs())
            except BaseException as error:
                answer.set_exception(error)
        # For the next instance.
        self._version.requests.put(None)

    def warm_up(self, backend: Any, rows: int, dims: Sequence[Sequence[int]] | None = None) -> None:
        spec = self._version.spec
        shapes = [tensor.dims for tensor in spec.inputs] if dims is None else dims
        lead = (rows,) if spec.batching.max_batch_size > 0 else ()
        inputs = {
            tensor.name: np.full(
                (*lead, *shape), b"" if tensor.datatype == "BYTES" else 0, DTYPES[tensor.datatype]
            )
            for tensor, shape in zip(spec.inputs, shapes, strict=True)
        }
        self._version.warm_ups += 1
        backend.run(FakeBatch(spec, inputs))


class FakeVersion:
    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec
        self.requests: queue.Queue[tuple[Arrays, Future[Arrays]] | None] = queue.Queue()
        self.closed = False
        self.warm_ups = 0
        self._lock = threading.Lock()

    def instance(self, index: int) -> FakeInstance:
        assert 0 <= index < self.spec.instance_count
        return FakeInstance(self)

    def submit(self, inputs: Arrays) -> Future[Arrays] | None:
        """None if the version is closed."""
        answer: Future[Arrays] = Future()
        with self._lock:
            if self.closed:
                return None
            self.requests.put((inputs, answer))
        return answer

    def close(self) -> None:
        with self._lock:
            if not self.closed:
                self.closed = True
                self.requests.put(None)


class FakeEngine:
    """Keeps the rule that what is routed to is open: publish first, then close."""

    def __init__(self) -> None:
        self.routes: dict[str, tuple[FakeVersion, ...]] = {}
        self.unavailable: dict[str, str] = {}
        self.published = 0
        self.added: list[FakeVersion] = []

    def add_version(self, spec: ModelSpec) -> FakeVersion:
        version = FakeVersion(spec)
        self.added.append(version)
        return version

    def publish(
        self,
        routes: Mapping[str, Sequence[FakeVersion]],
        unavailable: Mapping[str, str] | None = None,
    ) -> None:
        for name, versions in routes.items():
            numbers = [version.spec.version for version in versions]
            assert versions and numbers == sorted(set(numbers)), (name, numbers)
            for version in versions:
                assert not version.closed, f"{name} {version.spec.version} is closed"
        self.routes = {name: tuple(versions) for name, versions in routes.items()}
        self.unavailable = dict(unavailable or {})
        assert not self.routes.keys() & self.unavailable.keys()
        self.published += 1

    def infer(self, name: str, inputs: Arrays, timeout_s: float = 10) -> Arrays:
        """As a client: through the routes of the moment, again if the version closes."""
        while True:
            answer = self.routes[name][-1].submit(inputs)
            if answer is not None:
                return answer.result(timeout_s)
