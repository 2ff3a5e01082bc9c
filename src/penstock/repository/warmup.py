"""Runs before a version is called ready: ``model_warmup``, or one run of zeros."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from penstock.backends.base import DTYPES, LoadError
from penstock.backends.low_priority import run_at_low_priority
from penstock.repository.completion import TYPE_NAMES
from penstock.repository.layout import file_inside
from penstock.spec import DYNAMIC, ModelSpec, TensorSpec

if TYPE_CHECKING:
    from penstock._native.engine import Backend, Batch, Version

_log = logging.getLogger("penstock.repository")

Array = np.ndarray[Any, Any]
WARMUP_FOLDER = "warmup"
MAX_COUNT = 10_000


def warm_up_with_zeros(version: Version, backends: Sequence[Backend]) -> None:
    """One row of zeros through each instance of a native model, at low priority.

    Not every model takes zeros, so a failure is only logged.
    """
    dims = [[max(dim, 1) for dim in tensor.dims] for tensor in version.spec.inputs]
    for index, backend in enumerate(backends):
        instance = version.instance(index)
        try:
            run_at_low_priority(partial(instance.warm_up, backend, 1, dims))
        except Exception as error:
            _log.info("model %s was not warmed up with zeros: %s", version.spec.name, error)
            return


def warm_up_as_configured(
    message: Any,
    folder: Path,
    version: Version,
    backends: Sequence[Backend],
    *,
    low_priority: bool,
) -> None:
    """Every entry of ``model_warmup`` through every instance.

    Args:
        message: ``inference.ModelConfig``.
        folder: the model's; files are in its folder "warmup".
        low_priority: whether the runs leave the interpreter's lock alone and so may be slow.

    Raises:
        LoadError: an entry does not fit the model, or the model failed on it.
    """
    for entry in message.model_warmup:
        name = entry.name or "without a name"
        try:
            rows, arrays = _sample(entry, folder, version.spec)
            lead = 1 if version.spec.batching.max_batch_size > 0 else 0
            dims = [array.shape[lead:] for array in arrays]
            for index, backend in enumerate(backends):
                filled = _Filled(backend, arrays)
                once = partial(version.instance(index).warm_up, filled, rows, dims)
                for _ in range(entry.count or 1):
                    if low_priority:
                        run_at_low_priority(once)
                    else:
                        once()
        except Exception as error:
            raise LoadError(f"model_warmup {name!r}: {error}") from error


def _sample(entry: Any, folder: Path, spec: ModelSpec) -> tuple[int, list[Array]]:
    """Rows, and an array for each input of the model."""
    limit = max(spec.batching.max_batch_size, 1)
    rows = entry.batch_size or 1
    if rows > limit:
        raise LoadError(f"batch_size is {rows}, expected 1 to {limit}")
    if entry.count > MAX_COUNT:
        raise LoadError(f"count is {entry.count}, expected {MAX_COUNT} at most")
    names = [tensor.name for tensor in spec.inputs]
    for name in entry.inputs:
        if name not in names:
            raise LoadError(f"input {name!r} is not in the model, expected {_quoted(names)}")
    arrays = []
    for tensor in spec.inputs:
        if tensor.name not in entry.inputs:
            raise LoadError(f"input {tensor.name!r} is missing")
        arrays.append(_array(entry.inputs[tensor.name], folder, spec, tensor, rows))
    return rows, arrays


def _array(data: Any, folder: Path, spec: ModelSpec, tensor: TensorSpec, rows: int) -> Array:
    where = f"input {tensor.name!r}"
    enum = data.DESCRIPTOR.fields_by_name["data_type"].enum_type
    value = enum.values_by_number.get(data.data_type)
    came = value.name if value is not None else str(data.data_type)
    expected = TYPE_NAMES[tensor.datatype]
    if came != expected:
        raise LoadError(f"{where} is {came}, the model has {expected}")
    dims = tuple(data.dims)
    fits = len(dims) == len(tensor.dims) and all(
        dim >= 0 and want in (DYNAMIC, dim) for dim, want in zip(dims, tensor.dims, strict=True)
    )
    if not fits:
        raise LoadError(f"{where} has dims {list(dims)}, the model has {list(tensor.dims)}")
    row_shape = (1, *dims) if spec.batching.max_batch_size > 0 else dims
    shape = (rows, *dims) if spec.batching.max_batch_size > 0 else dims
    kind = data.WhichOneof("input_data_type")
    if kind == "zero_data":
        return np.full(shape, b"" if tensor.datatype == "BYTES" else 0, DTYPES[tensor.datatype])
    if kind == "random_data":
        return _random(tensor.datatype, shape)
    if kind == "input_data_file":
        return _from_file(folder, data.input_data_file, tensor, row_shape, shape, where)
    raise LoadError(f"{where} has no zero_data, random_data or input_data_file")


def _random(datatype: str, shape: tuple[int, ...]) -> Array:
    """Reals in [0, 1), integers 0 or 1 (they may be indices), strings of eight letters."""
    generator = np.random.default_rng(0)
    if datatype == "BYTES":
        letters = generator.integers(ord("a"), ord("z") + 1, (*shape, 8), np.uint8)
        return _objects([bytes(word) for word in letters.reshape(-1, 8)], shape)
    if datatype == "BF16":
        # The upper half of a float32.
        bits = generator.random(shape, np.float32).view(np.uint32)
        return cast(Array, (bits >> 16).astype(np.uint16))
    if datatype in ("FP16", "FP32", "FP64"):
        return generator.random(shape).astype(DTYPES[datatype])
    return generator.integers(0, 2, shape).astype(DTYPES[datatype])


def _from_file(
    folder: Path,
    name: str,
    tensor: TensorSpec,
    row_shape: tuple[int, ...],
    shape: tuple[int, ...],
    where: str,
) -> Array:
    """Raw little-endian values as a request has them, of one row or of the whole batch."""
    path = file_inside(folder / WARMUP_FOLDER, name, f"{where}:")
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise LoadError(f"{where}: {WARMUP_FOLDER}/{name}: {error.strerror}") from None
    one, full = int(np.prod(row_shape)), int(np.prod(shape))
    if tensor.datatype == "BYTES":
        elements = _elements(raw, where)
        count, unit = len(elements), "strings"
        values = _objects(elements, (count,))
    else:
        itemsize = DTYPES[tensor.datatype].itemsize
        one, full, count, unit = one * itemsize, full * itemsize, len(raw), "bytes"
        if count in (one, full):
            values = np.frombuffer(raw, DTYPES[tensor.datatype])
    if count not in (one, full):
        wanted = f"{full} for the batch" if one == full else f"{one} for a row or {full}"
        raise LoadError(f"{where}: {WARMUP_FOLDER}/{name} has {count} {unit}, expected {wanted}")
    if count == full:
        return values.reshape(shape)
    return np.ascontiguousarray(np.broadcast_to(values.reshape(row_shape), shape))


def _elements(raw: bytes, where: str) -> list[bytes]:
    """BYTES elements, each behind its length in four bytes, little-endian."""
    elements = []
    offset = 0
    while offset < len(raw):
        end = offset + 4 + int.from_bytes(raw[offset : offset + 4], "little")
        if end > len(raw) or offset + 4 > len(raw):
            raise LoadError(f"{where}: the string at byte {offset} is cut off")
        elements.append(raw[offset + 4 : end])
        offset = end
    return elements


def _objects(elements: Sequence[bytes], shape: tuple[int, ...]) -> Array:
    array = np.empty(len(elements), dtype=object)
    array[:] = elements
    return array.reshape(shape)


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))


class _Filled:
    """A backend whose batches hold the given arrays in place of zeros."""

    def __init__(self, backend: Backend, arrays: Sequence[Array]) -> None:
        self._backend = backend
        self._arrays = arrays

    def run(self, batch: Batch) -> None:
        strings: dict[int, Array] = {}
        for index, array in enumerate(self._arrays):
            if array.dtype == object:
                strings[index] = array
                continue
            place = batch.input(index)
            if place is not None:
                place[...] = array
        self._backend.run(cast("Batch", _WithStrings(batch, strings)) if strings else batch)


class _WithStrings:
    """A batch with other strings than those in the core's memory."""

    def __init__(self, batch: Batch, strings: dict[int, Array]) -> None:
        self._batch = batch
        self._strings = strings

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def input(self, index: int) -> Array | None:
        return self._strings[index] if index in self._strings else self._batch.input(index)
