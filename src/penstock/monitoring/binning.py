"""Bins of a feature, from a sample of its values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from penstock.spec import MAX_BINS, Bins


def bins_of_numbers(values: ArrayLike, limit: int = MAX_BINS, *, category: bool = False) -> Bins:
    """Bins for numbers [rows]; NaN and infinities are not looked at.

    Up to ``limit`` distinct values are a category. More are parted at their quantiles, and a value
    that several quantiles fall on has a bin to itself.

    Args:
        limit: bins at most, 1 to MAX_BINS.
        category: keep the ``limit`` most frequent values as a category, however many there are.

    Raises:
        ValueError: no finite value.
    """
    if not 1 <= limit <= MAX_BINS:
        raise ValueError(f"{limit} bins came, expected 1 to {MAX_BINS}")
    numbers = np.asarray(values, np.float64).reshape(-1)
    # -0.0 and 0.0 are one value.
    numbers = numbers[np.isfinite(numbers)] + 0.0
    if numbers.size == 0:
        raise ValueError("there is no finite value to make bins of")
    distinct, counts = np.unique(numbers, return_counts=True)
    if category or len(distinct) <= limit:
        kept = np.sort(distinct[np.argsort(-counts, kind="stable")[:limit]])
        return Bins("category", values=tuple(kept.tolist()))
    edges = _quantile_edges(distinct, counts, limit)
    return Bins("numeric", edges=tuple(edges.tolist()))


def bins_of_texts(values: Iterable[str | bytes | None], limit: int = MAX_BINS) -> Bins:
    """A category of the ``limit`` most frequent texts; empty ones and None are missing.

    Raises:
        ValueError: nothing but missing values.
    """
    counts = Counter(
        value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        for value in values
        if value
    )
    if not counts:
        raise ValueError("there is no text to make bins of")
    # Equal counts by their text: the same data give the same bins.
    ordered = sorted(counts, key=lambda text: (-counts[text], text))
    return Bins("category", values=tuple(ordered[:limit]))


def _quantile_edges(distinct: Any, counts: Any, limit: int) -> Any:
    """At most ``limit`` + 1 of the values ``distinct``, the first and the last among them."""
    cumulative = np.cumsum(counts)
    ranks = np.ceil(np.linspace(0, 1, limit + 1) * cumulative[-1])
    at = np.searchsorted(cumulative, np.maximum(ranks, 1))
    at[0], at[-1] = 0, len(distinct) - 1
    repeated = at[1:][at[1:] == at[:-1]]
    # The value before a repeated one: between the two there is nothing but it.
    atoms = set(repeated.tolist()) - {0}
    chosen = sorted({*at.tolist(), *(index - 1 for index in atoms)})
    fixed = atoms | {index - 1 for index in atoms} | {0, len(distinct) - 1}
    while len(chosen) > limit + 1:
        # The edge whose neighbours have the least between them is missed least.
        free = [i for i in range(1, len(chosen) - 1) if chosen[i] not in fixed]
        if not free:
            free = list(range(1, len(chosen) - 1))
        mass = [cumulative[chosen[i + 1]] - cumulative[chosen[i - 1]] for i in free]
        del chosen[free[int(np.argmin(mass))]]
    return distinct[chosen]
