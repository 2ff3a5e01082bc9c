"""Tables of numbers and texts, in batches: files larger than memory, frames, arrays."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from penstock.monitoring.profile import ProfileError

Array = np.ndarray[Any, Any]

_BLOCK = 1 << 20
_INSTALL = "pip install 'penstock[profile]'"


@dataclass(frozen=True, slots=True)
class Table:
    """Rows that can be read again and again.

    Each batch has an array [rows] for every column: numbers of any type, or objects for texts,
    where a missing text is None or "".
    """

    names: tuple[str, ...]
    batches: Callable[[], Iterator[list[Array]]]
    rows: int | None
    """None until they are read."""
    source: str
    content_hash: str


def read_file(path: Path, rows_per_batch: int = 8_192) -> Table:
    """A Parquet, CSV or npy file.

    Raises:
        ProfileError: it cannot be read as what its name says.
    """
    suffix = path.suffix.lower()
    readers = {".parquet": _parquet, ".csv": _csv, ".npy": _npy}
    if suffix not in readers:
        raise ProfileError(f"{path.name}: expected a file *.parquet, *.csv or *.npy")
    try:
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
        return readers[suffix](path, rows_per_batch, f"sha256:{digest.hexdigest()}")
    except OSError as error:
        raise ProfileError(f"{path.name}: {error.strerror or error}") from error


def of_object(data: Any, names: Sequence[str] | None = None, rows_per_batch: int = 8_192) -> Table:
    """A pandas DataFrame, an Arrow table, or an array [rows, columns] or of records.

    Args:
        names: of an array's columns; else ``column_0`` and so on.

    Raises:
        ProfileError: something else.
    """
    kind = type(data)
    if kind.__module__.startswith("pyarrow"):
        return _arrow_table(data, rows_per_batch)
    if kind.__module__.startswith("pandas"):
        columns = [_series(str(name), data[name]) for name in data.columns]
        return _of_arrays([str(name) for name in data.columns], columns, rows_per_batch)
    array = np.asarray(data)
    return _of_array(array, names, rows_per_batch, f"array {list(array.shape)}", None)


def _parquet(path: Path, rows: int, content_hash: str) -> Table:
    try:
        import pyarrow.parquet as parquet
        from pyarrow import ArrowException
    except ImportError as error:
        raise ProfileError(f"{path.name}: {_INSTALL} brings what reads it ({error})") from error
    try:
        with parquet.ParquetFile(path) as file:
            names, count = tuple(file.schema_arrow.names), file.metadata.num_rows
    except ArrowException as error:
        raise ProfileError(f"{path.name}: {error}") from error

    def batches() -> Iterator[list[Array]]:
        with parquet.ParquetFile(path) as again:
            for batch in again.iter_batches(batch_size=rows):
                yield _of_record_batch(batch)

    return Table(names, batches, count, path.name, content_hash)


def _csv(path: Path, rows: int, content_hash: str) -> Table:
    try:
        import pyarrow
        from pyarrow import csv
    except ImportError as error:
        raise ProfileError(f"{path.name}: {_INSTALL} brings what reads it ({error})") from error

    def read() -> Any:
        # A column keeps the type that its first block shows.
        return csv.open_csv(path, read_options=csv.ReadOptions(block_size=8 * _BLOCK))

    try:
        with read() as reader:
            names = tuple(reader.schema.names)
    except pyarrow.ArrowException as error:
        raise ProfileError(f"{path.name}: {error}") from error

    def batches() -> Iterator[list[Array]]:
        try:
            with read() as reader:
                for batch in reader:
                    for first in range(0, batch.num_rows, rows):
                        yield _of_record_batch(batch.slice(first, rows))
        except pyarrow.ArrowException as error:
            raise ProfileError(f"{path.name}: {error}") from error

    return Table(names, batches, None, path.name, content_hash)


def _npy(path: Path, rows: int, content_hash: str) -> Table:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        raise ProfileError(f"{path.name}: {error}") from error
    return _of_array(array, None, rows, path.name, content_hash)


def _arrow_table(data: Any, rows: int) -> Table:
    table = data.read_all() if hasattr(data, "read_all") else data
    if not hasattr(table, "to_batches"):
        raise ProfileError(f"{type(data).__name__} came, expected an Arrow table or reader")
    digest = hashlib.sha256()
    for batch in table.to_batches():
        for column in _of_record_batch(batch):
            _update(digest, column)

    def batches() -> Iterator[list[Array]]:
        for batch in table.to_batches(max_chunksize=rows):
            yield _of_record_batch(batch)

    content_hash = f"sha256:{digest.hexdigest()}"
    return Table(tuple(table.column_names), batches, table.num_rows, "Arrow table", content_hash)


def _of_array(
    array: Array, names: Sequence[str] | None, rows: int, source: str, content_hash: str | None
) -> Table:
    if array.dtype.names is not None and array.ndim == 1:
        fields = list(array.dtype.names)
        columns = [array[field] for field in fields]
    elif array.ndim == 2:
        fields = [f"column_{index}" for index in range(array.shape[1])]
        columns = [array[:, index] for index in range(array.shape[1])]
        if names is not None:
            if len(names) != len(fields):
                raise ProfileError(f"{len(names)} names came for {len(fields)} columns")
            fields = list(names)
    else:
        raise ProfileError(
            f"an array of shape {array.shape} came, expected [rows, columns] or records"
        )
    return _of_arrays(fields, columns, rows, source, content_hash)


def _of_arrays(
    names: Sequence[str],
    columns: Sequence[Array],
    rows: int,
    source: str = "DataFrame",
    content_hash: str | None = None,
) -> Table:
    count = len(columns[0]) if columns else 0
    if content_hash is None:
        digest = hashlib.sha256()
        for column in columns:
            _update(digest, column)
        content_hash = f"sha256:{digest.hexdigest()}"

    def batches() -> Iterator[list[Array]]:
        for first in range(0, count, rows):
            yield [np.asarray(column[first : first + rows]) for column in columns]

    return Table(tuple(names), batches, count, source, content_hash)


def _update(digest: Any, column: Array) -> None:
    digest.update(column.dtype.str.encode())
    if column.dtype == object:
        digest.update(repr(column.tolist()).encode())
    else:
        digest.update(np.ascontiguousarray(column).tobytes())


def _series(name: str, series: Any) -> Array:
    """A pandas column: missing values as NaN, or None among texts."""
    if str(series.dtype) == "category":
        series = series.astype(series.cat.categories.dtype)
    if series.dtype.kind in "biuf":
        try:
            values: Array = series.to_numpy(dtype=np.float64 if series.hasnans else None)
        except (TypeError, ValueError):
            values = series.to_numpy(dtype=np.float64, na_value=np.nan)
        return values if values.dtype != object else values.astype(np.float64)
    values = series.to_numpy(dtype=object, na_value=None)
    _check_texts(name, values)
    return values


def _of_record_batch(batch: Any) -> list[Array]:
    import pyarrow

    arrays = []
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if pyarrow.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        kind = column.type
        if pyarrow.types.is_null(kind):
            arrays.append(np.full(len(column), np.nan))
        elif pyarrow.types.is_boolean(kind) or pyarrow.types.is_decimal(kind):
            arrays.append(column.cast("float64").to_numpy(zero_copy_only=False))
        elif pyarrow.types.is_integer(kind) or pyarrow.types.is_floating(kind):
            # With nulls, pyarrow makes floats of integers, and NaN of nulls.
            arrays.append(column.to_numpy(zero_copy_only=False))
        elif (
            pyarrow.types.is_string(kind)
            or pyarrow.types.is_large_string(kind)
            or pyarrow.types.is_binary(kind)
        ):
            arrays.append(column.to_numpy(zero_copy_only=False))
        else:
            raise ProfileError(f"column {name!r} is {kind}, expected numbers or texts")
    return arrays


def _check_texts(name: str, values: Array) -> None:
    for value in values[:1_000]:
        if value is not None and not isinstance(value, str | bytes):
            raise ProfileError(
                f"column {name!r} has a {type(value).__name__}, expected numbers or texts"
            )
