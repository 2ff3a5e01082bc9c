"""Samples as counts, for tests of what is made of counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from penstock import DriftHistogram
from penstock.monitoring.binning import bins_of_numbers
from penstock.monitoring.verdict import DriftReport, compare
from penstock.spec import Bins


def count(bins: Bins, values: Any) -> Any:
    """A row of counts, signed."""
    histogram = DriftHistogram([bins])
    histogram.observe_column(0, np.asarray(values))
    return histogram.counts[0].astype(np.int64)


def compare_samples(reference: Sequence[Any], live: Sequence[Any], **options: Any) -> DriftReport:
    """What compare() says of columns of numbers."""
    bins = [bins_of_numbers(column) for column in reference]
    features = [(f"f{index}", each) for index, each in enumerate(bins)]
    then = np.array([count(b, column) for b, column in zip(bins, reference, strict=True)])
    now = np.array([count(b, column) for b, column in zip(bins, live, strict=True)])
    return compare(features, then, now, **options)
