"""Makes reference profiles: two passes over rows that need not fit into memory.

The first finds each feature's range and a uniform sample, from which its bins are made; the second
counts every row with the kernel that counts live ones.
"""

from __future__ import annotations

import datetime
import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from penstock._native.drift import DriftHistogram
from penstock.monitoring.binning import bins_of_numbers, bins_of_texts
from penstock.monitoring.profile import (
    MAX_FEATURES,
    FeatureProfile,
    FeatureSummary,
    ProfileError,
    ReferenceProfile,
    Role,
    row_elements,
)
from penstock.spec import MAX_BINS, ModelSpec

Array = np.ndarray[Any, Any]

SAMPLE_VALUES = 16_000_000
"""Values of all features that are kept to find quantiles in."""
_SAMPLE_ROWS = (5_000, 200_000)
_TEXTS = 100_000
"""Distinct texts that are counted exactly; beyond, the rarest are forgotten."""
MAX_OUTPUT_COLUMNS = 64
"""Outputs wider than this are no scores: not watched."""


@dataclass(frozen=True, slots=True)
class Column:
    """A feature before it has bins."""

    name: str
    tensor: str
    role: Role
    column: int
    datatype: str
    category: bool = False
    """Keep its values apart though they are many."""


Batches = Callable[[], Iterable[Sequence[Array]]]
"""Begins a pass: batches, each an array [rows] for every column."""


class _Numbers:
    """What the first pass learns of a column of numbers."""

    def __init__(self, sample_rows: int, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._sample = np.empty(0)
        self._limit = sample_rows
        self._seen = 0
        self._mean = 0.0
        self._squares = 0.0
        self._minimum, self._maximum = math.inf, -math.inf
        self._distinct: set[float] | None = set()
        self.missing = 0

    def add(self, values: Array) -> None:
        numbers = np.asarray(values, np.float64)
        numbers = numbers[~np.isnan(numbers)]
        self.missing += len(values) - len(numbers)
        finite = numbers[np.isfinite(numbers)]
        if finite.size == 0:
            return
        self._merge_moments(finite)
        self._minimum = min(self._minimum, float(finite.min()))
        self._maximum = max(self._maximum, float(finite.max()))
        if self._distinct is not None:
            self._distinct.update(np.unique(finite)[: MAX_BINS + 2].tolist())
            if len(self._distinct) > MAX_BINS + 1:
                self._distinct = None
        self._keep(finite)

    def _merge_moments(self, values: Array) -> None:
        """Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm", 1979."""
        count, mean = len(values), float(values.mean())
        total = self._seen + count
        delta = mean - self._mean
        self._squares += float(((values - mean) ** 2).sum()) + delta**2 * self._seen * count / total
        self._mean += delta * count / total

    def _keep(self, values: Array) -> None:
        """Reservoir sampling (Vitter, "Random sampling with a reservoir", 1985, algorithm R)."""
        room = min(self._limit - len(self._sample), len(values))
        if room > 0:
            self._sample = np.concatenate((self._sample, values[:room]))
        late = values[max(room, 0) :]
        if late.size:
            first = self._seen + max(room, 0)
            places = self._random.integers(0, np.arange(first, first + len(late)) + 1)
            kept = places < self._limit
            self._sample[places[kept]] = late[kept]
        self._seen += len(values)

    def bins(self, limit: int, category: bool) -> Any:
        extremes = [self._minimum, self._maximum] if self._seen else []
        distinct = sorted(self._distinct) if self._distinct else []
        # Those that the sample may lack; each once, so that quantiles stay where they are.
        return bins_of_numbers(
            np.concatenate((self._sample, extremes, distinct)), limit, category=category
        )

    def summary(self) -> FeatureSummary:
        if self._seen == 0:
            return FeatureSummary(missing=self.missing)
        return FeatureSummary(
            mean=self._mean,
            std=math.sqrt(max(self._squares / self._seen, 0.0)),
            minimum=self._minimum,
            maximum=self._maximum,
            distinct=None if self._distinct is None else len(self._distinct),
            missing=self.missing,
        )


class _Texts:
    """What the first pass learns of a column of texts."""

    def __init__(self) -> None:
        self._counts: Counter[str | bytes] = Counter()
        self._pruned = False
        self.missing = 0

    def add(self, values: Array) -> None:
        present = [value for value in values.tolist() if value and value == value]
        self.missing += len(values) - len(present)
        self._counts.update(present)
        if len(self._counts) > 2 * _TEXTS:
            self._counts = Counter(dict(self._counts.most_common(_TEXTS)))
            self._pruned = True

    def bins(self, limit: int, category: bool) -> Any:
        return bins_of_texts(self._counts.elements(), limit)

    def summary(self) -> FeatureSummary:
        return FeatureSummary(
            distinct=None if self._pruned else len(self._counts), missing=self.missing
        )


def profile_of_batches(
    columns: Sequence[Column],
    batches: Batches,
    *,
    content_hash: str,
    source: str,
    limit: int = MAX_BINS,
    seed: int = 0,
) -> ReferenceProfile:
    """Make a profile in two passes.

    Args:
        columns: what each array of a batch is.
        batches: called twice; both times it must give the same rows.
        limit: bins per feature at most.
        seed: of the sample that quantiles are taken from.

    Raises:
        ProfileError: naming the column that no bins can be made of.
    """
    if not 1 <= len(columns) <= MAX_FEATURES:
        raise ProfileError(f"{len(columns)} features came, expected 1 to {MAX_FEATURES}")
    low, high = _SAMPLE_ROWS
    sample_rows = min(max(SAMPLE_VALUES // len(columns), low), high)
    learned: list[_Numbers | _Texts] = [
        _Texts() if column.datatype == "BYTES" else _Numbers(sample_rows, seed + index)
        for index, column in enumerate(columns)
    ]
    rows = 0
    for batch in batches():
        rows += len(batch[0])
        for state, values in zip(learned, batch, strict=True):
            state.add(values)
    if rows == 0:
        raise ProfileError("there are no rows to profile")
    bins = []
    for column, state in zip(columns, learned, strict=True):
        try:
            bins.append(state.bins(limit, column.category))
        except ValueError as error:
            raise ProfileError(f"column {column.name!r}: {error}") from None
    histogram = DriftHistogram(bins)
    for batch in batches():
        for index, values in enumerate(batch):
            histogram.observe_column(index, values)
    counts = histogram.counts
    return ReferenceProfile(
        rows=rows,
        features=tuple(
            FeatureProfile(
                name=column.name,
                tensor=column.tensor,
                role=column.role,
                column=column.column,
                datatype=column.datatype,
                bins=bins[index],
                counts=tuple(counts[index].tolist()),
                summary=state.summary(),
            )
            for index, (column, state) in enumerate(zip(columns, learned, strict=True))
        ),
        content_hash=content_hash,
        source=source,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def output_columns(spec: ModelSpec) -> list[Column]:
    """What a model's outputs are watched as: each column, and the class chosen."""
    columns: list[Column] = []
    for tensor in spec.outputs:
        width = row_elements(tensor)
        if width is None or not 1 <= width <= MAX_OUTPUT_COLUMNS:
            continue
        for index in range(width):
            name = tensor.name if width == 1 else f"{tensor.name}[{index}]"
            columns.append(Column(name, tensor.name, "output", index, tensor.datatype))
        if width > 1 and tensor.datatype in ("FP16", "BF16", "FP32", "FP64"):
            name = f"argmax({tensor.name})"
            columns.append(Column(name, tensor.name, "class", 0, tensor.datatype, category=True))
    return columns


def output_arrays(columns: Sequence[Column], tensors: Mapping[str, Array]) -> list[Array]:
    """The values of :func:`output_columns` for computed outputs [rows, ...]."""
    arrays: list[Array] = []
    for column in columns:
        tensor = tensors[column.tensor]
        values = tensor.reshape(len(tensor), -1)
        if column.role == "class":
            scores = values.astype(np.float64)
            chosen = scores.argmax(axis=1).astype(np.float64)
            # As the core has it: a row with NaN has no class.
            arrays.append(np.where(np.isnan(scores).any(axis=1), np.nan, chosen))
        else:
            arrays.append(values[:, column.column])
    return arrays


def profile_of_tensors(
    tensors: Mapping[tuple[str, str], Array], spec: ModelSpec, *, source: str
) -> ReferenceProfile:
    """A profile of rows that were served.

    Args:
        tensors: [rows, elements] by ("input" or "output", name); those left out are not watched.

    Raises:
        ProfileError: no bins can be made of a column.
    """
    columns: list[Column] = []
    arrays: list[Array] = []
    digest = hashlib.sha256()
    for tensor in spec.inputs:
        values = tensors.get(("input", tensor.name))
        if values is None:
            continue
        digest.update(
            repr(values.tolist()).encode() if values.dtype == object else values.tobytes()
        )
        for index in range(values.shape[1]):
            name = tensor.name if values.shape[1] == 1 else f"{tensor.name}[{index}]"
            columns.append(Column(name, tensor.name, "input", index, tensor.datatype))
            arrays.append(values[:, index])
    given = {name: values for (role, name), values in tensors.items() if role == "output"}
    watched = [column for column in output_columns(spec) if column.tensor in given]
    columns += watched
    arrays += output_arrays(watched, given)
    if any(column.datatype == "BF16" for column in columns):
        kept = [index for index, column in enumerate(columns) if column.datatype != "BF16"]
        columns, arrays = [columns[i] for i in kept], [arrays[i] for i in kept]
    return profile_of_batches(
        columns,
        lambda: iter([arrays]),
        content_hash=f"sha256:{digest.hexdigest()}",
        source=source,
    )


def split_rows(arrays: Sequence[Array], rows: int) -> Iterator[list[Array]]:
    """Arrays [n] as batches of up to ``rows``."""
    for first in range(0, len(arrays[0]) if arrays else 0, rows):
        yield [array[first : first + rows] for array in arrays]
