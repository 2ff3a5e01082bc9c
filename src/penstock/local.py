"""One model in this process: the same batching, no sockets."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from penstock._native import engine as native
from penstock._native.engine import Engine, LocalRequest, RequestError
from penstock.backends.base import DTYPES
from penstock.repository import LoadedVersion, load_path

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from penstock.spec import ModelSpec, TensorSpec

Array = np.ndarray[Any, Any]
_DEADLINE_EXCEEDED = 4
Parameters = Mapping[str, bool | int | str | float]


def load(
    path: str | os.PathLike[str],
    *,
    config: str | None = None,
    version: int | None = None,
    with_profile: bool = True,
) -> LocalModel:
    """Load a model for this process.

    Args:
        path: a folder ``MODEL/VERSION/model.onnx``, with a ``config.pbtxt`` or without, of which
            the newest version is taken; or a model file.
        config: in place of config.pbtxt, in its format or as JSON.
        version: of a folder, in place of the newest.
        with_profile: hold its features against the reference profile beside it, if there is one.

    Raises:
        LoadError: with the reason.
    """
    engine = Engine(transport_threads=0)
    return LocalModel(
        load_path(engine, Path(path), config, version=version, with_profile=with_profile)
    )


class LocalModel:
    """A loaded model. Any number of threads and event loops may use it at once: what they ask
    for at the same time is computed in one batch.

    Made by :func:`penstock.load`.
    """

    def __init__(self, loaded: LoadedVersion) -> None:
        self._loaded = loaded
        self._dtypes = {tensor.name: DTYPES[tensor.datatype] for tensor in loaded.spec.inputs}

    @property
    def spec(self) -> ModelSpec:
        """Name, version, tensors, batching."""
        return self._loaded.spec

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Names, datatypes and dims; the latter without the batch dimension, if there is one."""
        return self.spec.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """As :attr:`inputs`."""
        return self.spec.outputs

    def infer(
        self,
        inputs: Mapping[str, ArrayLike],
        *,
        parameters: Parameters | None = None,
        timeout_s: float | None = None,
    ) -> dict[str, Array]:
        """Compute and wait.

        Args:
            inputs: by name; with the batch dimension first if the model batches. An array must
                have the input's dtype (BF16: uint16 bits; BYTES: bytes or str objects); anything
                else, such as a list, is converted to it.
            parameters: of the request, such as ``{"priority": 1}``.
            timeout_s: its deadline. What is still queued then is not computed.

        Returns:
            All outputs by name.

        Raises:
            RequestError: what a gRPC client would be told; past the deadline DEADLINE_EXCEEDED.
        """
        request = self.submit(inputs, parameters=parameters, timeout_s=timeout_s)
        try:
            return request.result(timeout_s)
        except TimeoutError:
            request.cancel()
            raise _too_late(timeout_s) from None

    def infer_rows(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Compute any number of rows, in batches that the model takes; arguments and errors of
        :meth:`infer`."""
        limit = max(self.spec.batching.max_batch_size, 1)
        rows = len(next(iter(inputs.values())))
        single = self.spec.batching.max_batch_size == 0
        parts: list[dict[str, Array]] = []
        for first in range(0, rows, limit):
            part = {name: array[first : first + limit] for name, array in inputs.items()}
            if single:
                part = {name: array[0] for name, array in part.items()}
            answer = self.infer(part)
            parts.append({k: v[np.newaxis] for k, v in answer.items()} if single else answer)
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def submit(
        self,
        inputs: Mapping[str, ArrayLike],
        *,
        parameters: Parameters | None = None,
        timeout_s: float | None = None,
    ) -> LocalRequest:
        """Begin, and return at once: ``result()``, ``done()``, ``cancel()`` as of a future.

        Args: as :meth:`infer`.

        Raises:
            RequestError: an input or a parameter that can be refused before it is queued.
        """
        return native.submit(
            self._loaded.version,
            {name: self._array(name, value) for name, value in inputs.items()},
            parameters=parameters,
            timeout_s=timeout_s,
        )

    async def infer_async(
        self,
        inputs: Mapping[str, ArrayLike],
        *,
        parameters: Parameters | None = None,
        timeout_s: float | None = None,
    ) -> dict[str, Array]:
        """:meth:`infer` without holding up the event loop. Cancelling takes the request out of
        the queue."""
        loop = asyncio.get_running_loop()
        answered = asyncio.Event()

        def wake(_request: LocalRequest) -> None:
            # On the executor's thread; the loop may have been closed meanwhile.
            if not loop.is_closed():
                loop.call_soon_threadsafe(answered.set)

        request = self.submit(inputs, parameters=parameters, timeout_s=timeout_s)
        request.add_done_callback(wake)
        try:
            await asyncio.wait_for(answered.wait(), timeout_s)
        except TimeoutError:
            request.cancel()
            raise _too_late(timeout_s) from None
        except asyncio.CancelledError:
            request.cancel()
            raise
        return request.result()

    def statistics(self) -> dict[str, Any]:
        """Counters since load; see ``Version.statistics``."""
        return self._loaded.version.statistics()

    def close(self) -> None:
        """Compute what is queued, refuse what comes, and free the model."""
        self._loaded.close()
        self._loaded.join()

    def __enter__(self) -> LocalModel:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        inputs = ", ".join(f"{each.name} {each.datatype}{list(each.dims)}" for each in self.inputs)
        return f"<LocalModel {self.spec.name!r} version {self.spec.version}: {inputs}>"

    def _array(self, name: str, value: ArrayLike) -> Array:
        if isinstance(value, np.ndarray):
            return value
        # An unknown name is refused where all the others are.
        return np.asarray(value, self._dtypes.get(name))


def _too_late(timeout_s: float | None) -> RequestError:
    return RequestError(_DEADLINE_EXCEEDED, f"no answer within {timeout_s} s")
