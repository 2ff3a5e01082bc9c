"""Counts of the last minute from counters that only grow: the difference of two readings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Counts = np.ndarray[Any, np.dtype[np.uint64]]

STEP_S = 5.0
"""Between readings; a window is up to this much longer than its name says."""

WINDOWS: Mapping[str, float] = {"1m": 60.0, "5m": 300.0, "start": float("inf")}
"""Seconds of each window, by name."""

_COARSE_STEP_S = 30.0
"""Between the readings that are kept for longer than a minute."""


@dataclass(frozen=True, slots=True)
class PackedCounts:
    """Counts without the zeros around them, modulo 2^32.

    Of a difference of two, no more is lost than of counts beyond 2^32 in one window.
    """

    first: int
    size: int
    counts: np.ndarray[Any, np.dtype[np.uint32]]

    @classmethod
    def of(cls, counts: Counts) -> PackedCounts:
        """Pack an array of any shape."""
        flat = counts.reshape(-1)
        taken = np.flatnonzero(flat)
        first, last = (int(taken[0]), int(taken[-1]) + 1) if taken.size else (0, 0)
        return cls(first, flat.size, flat[first:last].astype(np.uint32))

    def since(self, counts: Counts) -> Counts:
        """What was counted between this and a later reading ``counts`` [any shape]."""
        then = np.zeros(self.size, np.uint32)
        then[self.first : self.first + self.counts.size] = self.counts
        now = counts.reshape(-1).astype(np.uint32)
        return (now - then).astype(np.uint64).reshape(counts.shape)


@dataclass(frozen=True, slots=True)
class Series:
    """Counters with one history: arrays of counts, and plain numbers."""

    counts: Mapping[str, Counts]
    numbers: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class _Reading:
    time: float
    counts: Mapping[str, PackedCounts]
    numbers: Mapping[str, float]


class Windows:
    """Readings of one model version, thinned with age.

    Args:
        start: seconds of a monotonic clock at which every counter was zero.
    """

    def __init__(self, start: float) -> None:
        self._start = start
        self._readings: list[_Reading] = []
        self._last: Series | None = None

    @property
    def start(self) -> float:
        """Seconds, as given."""
        return self._start

    def add(self, time: float, series: Series) -> None:
        """Keep a reading of now; ``time`` is later than that of every one before."""
        if self._readings and series is self._last:
            # Nothing happened since: one copy serves all.
            before = self._readings[-1]
            self._readings.append(_Reading(time, before.counts, before.numbers))
            self._thin(time)
            return
        self._last = series
        packed = {name: PackedCounts.of(counts) for name, counts in series.counts.items()}
        self._readings.append(_Reading(time, packed, dict(series.numbers)))
        self._thin(time)

    def _thin(self, now: float) -> None:
        """Keep all of the last minute, one in 30 s of the five before."""
        fine, longest = WINDOWS["1m"] + STEP_S, WINDOWS["5m"] + _COARSE_STEP_S
        kept: list[_Reading] = []
        for reading in self._readings:
            age = now - reading.time
            if age > longest:
                continue
            recent = age <= fine
            if recent or not kept or reading.time - kept[-1].time >= _COARSE_STEP_S:
                kept.append(reading)
        self._readings = kept

    def since(self, now: float, seconds: float, series: Series) -> tuple[float, Series]:
        """What was counted in the last ``seconds``, and the seconds that this really spans.

        Args:
            now: the clock.
            series: a reading of now.
        """
        base: _Reading | None = None
        for reading in self._readings:
            if reading.time <= now - seconds:
                base = reading
        if base is None and now - self._start > seconds and self._readings:
            # Nobody read for long: the oldest there is.
            base = self._readings[0]
        if base is None:
            return now - self._start, series
        counts = {
            name: base.counts[name].since(now_counts) if name in base.counts else now_counts
            for name, now_counts in series.counts.items()
        }
        numbers = {name: now_ - base.numbers.get(name, 0) for name, now_ in series.numbers.items()}
        return now - base.time, Series(counts, numbers)

    def forget(self, name: str) -> None:
        """Drop the history of counts that began again from zero."""
        self._last = None
        self._readings = [
            _Reading(
                reading.time,
                {key: packed for key, packed in reading.counts.items() if key != name},
                reading.numbers,
            )
            for reading in self._readings
        ]

    @property
    def bytes(self) -> int:
        """Memory of the counts kept."""
        arrays = {
            id(packed): packed.counts.nbytes
            for reading in self._readings
            for packed in reading.counts.values()
        }
        return sum(arrays.values())
