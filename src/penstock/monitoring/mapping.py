"""Which column of a table is which column of a model's inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from penstock.monitoring.build import Column, output_arrays, output_columns
from penstock.monitoring.profile import ProfileError, row_elements
from penstock.monitoring.readers import Table
from penstock.spec import ModelSpec, TensorSpec

Array = np.ndarray[Any, Any]
Infer = Callable[[Mapping[str, Array]], Mapping[str, Array]]
"""Computes a batch, as ``LocalModel.infer``."""

DTYPES = {
    "BOOL": np.bool_, "INT8": np.int8, "INT16": np.int16, "INT32": np.int32, "INT64": np.int64,
    "UINT8": np.uint8, "UINT16": np.uint16, "UINT32": np.uint32, "UINT64": np.uint64,
    "FP16": np.float16, "FP32": np.float32, "FP64": np.float64,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mapped:
    """A table's rows as a model sees them."""

    columns: list[Column]
    batches: Callable[[], Iterator[list[Array]]]


def map_table(
    table: Table,
    spec: ModelSpec | None,
    *,
    target: Sequence[str] = (),
    categorical: Sequence[str] = (),
    infer: Infer | None = None,
) -> Mapped:
    """Find the model's features among a table's columns.

    A model with one input takes the columns in their order; one with several takes them by the
    inputs' names, those of an input x of K columns being x_0 to x_(K-1). Values become the input's
    type first, so that training and serving agree on every bin.

    Args:
        spec: the model; None: every column is a feature of a tensor "input".
        target: columns that are no features.
        categorical: columns of numbers whose values are names.
        infer: computes outputs, to be watched too; None: inputs alone.

    Raises:
        ProfileError: columns and inputs do not fit, with both listed.
    """
    for option, names in (("target", target), ("categorical", categorical)):
        for name in names:
            if name not in table.names:
                raise ProfileError(
                    f"{option} column {name!r} is not there; columns: {', '.join(table.names)}"
                )
    if len(set(table.names)) != len(table.names):
        raise ProfileError(f"columns have the same name: {', '.join(sorted(table.names))}")
    names = [name for name in table.names if name not in target]
    at = {name: index for index, name in enumerate(table.names)}
    if spec is None:
        return _without_model(table, names, at, categorical)
    taken = _columns_of_inputs(spec, names)
    inputs = [
        Column(name, tensor.name, "input", index, tensor.datatype, name in categorical)
        for tensor, owned in taken
        for index, name in enumerate(owned)
    ]
    outputs = output_columns(spec) if infer is not None else []

    def batches() -> Iterator[list[Array]]:
        for batch in table.batches():
            arrays: list[Array] = []
            tensors: dict[str, Array] = {}
            for tensor, owned in taken:
                columns = [_convert(batch[at[name]], name, tensor) for name in owned]
                arrays += columns
                tensors[tensor.name] = np.stack(columns, axis=1).reshape(
                    len(columns[0]), *_row_shape(tensor, len(columns))
                )
            if infer is not None and len(arrays[0]) > 0:
                arrays += output_arrays(outputs, infer(tensors))
            yield arrays

    return Mapped(inputs + outputs, batches)


def _without_model(
    table: Table, names: Sequence[str], at: Mapping[str, int], categorical: Sequence[str]
) -> Mapped:
    first = next(iter(table.batches()), None)
    if first is None or not names:
        raise ProfileError("there are no rows, or no columns, to profile")
    columns = []
    for index, name in enumerate(names):
        datatype = "BYTES" if first[at[name]].dtype.kind in "OSU" else "FP64"
        columns.append(Column(name, "input", "input", index, datatype, name in categorical))

    def batches() -> Iterator[list[Array]]:
        for batch in table.batches():
            yield [batch[at[name]] for name in names]

    return Mapped(columns, batches)


def _columns_of_inputs(spec: ModelSpec, names: Sequence[str]) -> list[tuple[TensorSpec, list[str]]]:
    for tensor in spec.inputs:
        if tensor.datatype == "BF16":
            raise ProfileError(f"input {tensor.name!r} is BF16, which no table holds")
    required = [tensor for tensor in spec.inputs if not tensor.optional]
    if len(required) == 1:
        (only,) = required
        width = row_elements(only)
        if width is not None and width != len(names):
            raise ProfileError(
                f"{len(names)} columns came ({_listed(names)}), expected {width} for input "
                f"{only.name!r} of {spec.name!r}; --target names those that are no features"
            )
        return [(only, list(names))]
    taken = []
    for tensor in required:
        width = row_elements(tensor)
        owned = [tensor.name]
        if width != 1 or tensor.name not in names:
            prefix = f"{tensor.name}_"
            count = width if width is not None else sum(n.startswith(prefix) for n in names)
            owned = [f"{prefix}{index}" for index in range(count)]
        missing = [name for name in owned if name not in names]
        if missing or not owned:
            raise ProfileError(
                f"there is no column {(missing or [tensor.name])[0]!r} for input "
                f"{tensor.name!r}; columns: {_listed(names)}"
            )
        taken.append((tensor, owned))
    return taken


def _row_shape(tensor: TensorSpec, columns: int) -> tuple[int, ...]:
    return (columns,) if min(tensor.dims, default=1) < 0 else tensor.dims


def _convert(values: Array, name: str, tensor: TensorSpec) -> Array:
    """A column in its input's type."""
    texts = values.dtype.kind in "OSU"
    if tensor.datatype == "BYTES":
        if not texts:
            raise ProfileError(f"column {name!r} is of numbers; input {tensor.name!r} is BYTES")
        filled: Array = np.array(
            ["" if value is None or value != value else value for value in values.tolist()], object
        )
        return filled
    if texts:
        raise ProfileError(
            f"column {name!r} is of texts; input {tensor.name!r} is {tensor.datatype}"
        )
    dtype = np.dtype(DTYPES[tensor.datatype])
    if dtype.kind in "iub" and values.dtype.kind == "f" and np.isnan(values).any():
        raise ProfileError(
            f"column {name!r} has missing values, which input {tensor.name!r} of "
            f"{tensor.datatype} cannot hold"
        )
    return values.astype(dtype)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:8])
    return f"{shown} and {len(names) - 8} more" if len(names) > 8 else shown
