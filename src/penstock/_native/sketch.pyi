"""Quantiles of known relative error, in constant memory."""

from collections.abc import Iterable
from typing import Any, Self, TypedDict, final

import numpy as np
from numpy.typing import ArrayLike

class PrometheusHistogram(TypedDict):
    """Fields of a native histogram (``io.prometheus.client.Histogram``)."""

    schema: int
    sample_count: int
    sample_sum: float
    zero_threshold: float
    zero_count: int
    positive_spans: list[tuple[int, int]]
    """(offset from the end of the last span, buckets)."""
    positive_deltas: list[int]
    """Of each bucket's count to the one before."""

class ExponentialBuckets(TypedDict):
    offset: int
    bucket_counts: list[int]

class ExponentialHistogram(TypedDict):
    """Fields of OpenTelemetry's ``ExponentialHistogramDataPoint``."""

    scale: int
    count: int
    sum: float
    min: float
    max: float
    zero_count: int
    zero_threshold: float
    positive: ExponentialBuckets

@final
class LatencySketch:
    """Counts of seconds in exponential buckets of base 2^(1/64), 15 kB of them.

    A quantile is off by at most 0.54 % ((b - 1) / (b + 1); Masson, Rim and Lee, "DDSketch", VLDB
    2019) for values in (2^-20, 2^10], a microsecond to a quarter of an hour. All others are
    counted too: :attr:`low`, :attr:`high`, :attr:`negative`, :attr:`nan`; quantiles among them are
    bounded, not exact. It is schema 6 of Prometheus' native histograms and scale 6 of
    OpenTelemetry's exponential histograms.

    One thread may add while any number read, without locks: a reader sees each count whole, and
    misses at most what is being added. ``cimport`` it to add without the GIL.
    """

    def __init__(self) -> None: ...
    def add(self, value: float) -> None:
        """Count ``value``, in seconds."""
    def add_times(self, value: float, times: int) -> None:
        """Count ``value``, in seconds, ``times`` times."""
    def add_many(self, values: ArrayLike) -> None:
        """Count every number of an array of any shape and strides.

        Raises:
            TypeError: they are not numbers.
        """
    def merge(self, other: LatencySketch) -> None:
        """Add what ``other`` counted: the sketch of the union, exactly."""
    def clear(self) -> None: ...
    @property
    def counts(self) -> np.ndarray[Any, np.dtype[np.uint64]]:
        """A copy: the buckets, then low, high, negative and NaN."""
    @property
    def count(self) -> int:
        """Values, NaN apart."""
    @property
    def sum(self) -> float:
        """Seconds, NaN apart."""
    @property
    def mean(self) -> float:
        """Seconds; NaN if there is no value."""
    @property
    def min(self) -> float:
        """Exact; NaN if there is no value."""
    @property
    def max(self) -> float:
        """Exact; NaN if there is no value."""
    @property
    def low(self) -> int:
        """Values from 0 to 2^-20."""
    @property
    def high(self) -> int:
        """Values beyond 2^10, infinity too."""
    @property
    def negative(self) -> int: ...
    @property
    def nan(self) -> int: ...
    def quantile(self, q: float) -> float:
        """Seconds that a share ``q`` of the values does not exceed (numpy's ``inverted_cdf``).

        NaN if there is no value.

        Raises:
            ValueError: ``q`` is not from 0 to 1.
        """
    def quantiles(self, qs: Iterable[float]) -> list[float]:
        """:meth:`quantile` of each, from one reading."""
    @classmethod
    def from_counts(
        cls, counts: ArrayLike, sum: float, low: float | None = None, high: float | None = None
    ) -> Self:
        """A sketch of :attr:`counts`, such as the difference of two readings.

        Args:
            low, high: the extremes; if None, the bounds of the outermost buckets.
        """
    def to_bytes(self) -> bytes:
        """A versioned form of some 50 bytes and 8 for each bucket between the extremes."""
    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The reverse.

        Raises:
            ValueError: with what is wrong with ``data``.
        """
    def to_prometheus(self) -> PrometheusHistogram:
        """As a native histogram. Negative values and NaN, which latencies never are, are left
        out; values beyond the range are in the bucket up to infinity."""
    def to_opentelemetry(self, scale: int = 6) -> ExponentialHistogram:
        """As an exponential histogram, exactly downscaled if ``scale`` is under 6."""
    def cumulative_buckets(self) -> list[tuple[float, int]]:
        """(upper bound in seconds, values up to it) at the powers of two from 2^-20 to 2^10 and
        infinity: the buckets of a classic Prometheus histogram, exactly."""
