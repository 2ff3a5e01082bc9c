"""Counts of features' values in the bins of a reference."""

from collections.abc import Sequence
from typing import Any, Protocol, Self, final

import numpy as np
from numpy.typing import ArrayLike

from penstock.spec import Bins

class HasBins(Protocol):
    """Such as a :class:`~penstock.ReferenceProfile`."""

    @property
    def bins(self) -> Sequence[Bins]: ...

def check_bins(index: int, feature: Bins) -> None:
    """Raise ValueError, naming feature ``index``, unless it can be counted with these bins."""

@final
class DriftHistogram:
    """How often each feature's values fell into each of its bins.

    A row of counts has :data:`penstock.spec.SLOTS` places: the bins, then values below the lowest
    edge (of a category: any other value), above the highest, and missing (NaN; an empty text).
    One thread may observe while any number read.

    Args:
        bins: of each feature, or a reference profile.

    Raises:
        ValueError: bins that do not ascend, or too many.
    """

    def __init__(self, bins: Sequence[Bins] | HasBins) -> None: ...
    def __len__(self) -> int:
        """Features."""
    @property
    def bins(self) -> tuple[Bins, ...]: ...
    @property
    def rows(self) -> int:
        """Rows observed."""
    @property
    def counts(self) -> np.ndarray[Any, np.dtype[np.uint64]]:
        """A copy, [features, SLOTS]."""
    def observe(self, batch: ArrayLike) -> None:
        """Count a batch [rows, features] of numbers of any type and strides, or of texts (str or
        bytes); with one feature, [rows] too.

        Raises:
            ValueError: another shape.
            TypeError: numbers for a feature of texts, or the reverse.
        """
    def observe_column(self, feature: int, values: ArrayLike) -> None:
        """Count values [rows] of one feature."""
    def merge(self, other: DriftHistogram) -> None:
        """Add what ``other`` counted.

        Raises:
            ValueError: its bins are others.
        """
    def add_counts(self, counts: ArrayLike, rows: int) -> None:
        """Add :attr:`counts` of ``rows`` rows that were counted with the same bins."""
    def to_bytes(self) -> bytes:
        """A versioned form, bins included."""
    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The reverse.

        Raises:
            ValueError: with what is wrong with ``data``.
        """
