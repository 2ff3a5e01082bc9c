"""What is known of one model version: its counters, windows of them, and what they say."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from penstock._native.sketch import LatencySketch
from penstock.monitoring.windows import WINDOWS, Counts, Series, Windows

if TYPE_CHECKING:
    from penstock._native.engine import Version
    from penstock.monitoring.profile import ReferenceProfile
    from penstock.monitoring.verdict import DriftReport

_log = logging.getLogger("penstock.monitoring")

STAGES = ("queue", "compute", "total")
QUANTILES: Mapping[str, float] = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "p999": 0.999}
HISTORY = 60
"""Points of the history: five minutes."""

_DRIFT = "drift"


@dataclass(frozen=True, slots=True)
class WindowView:
    """What happened in one window."""

    seconds: float
    requests: int
    failures: int
    rows: int
    batches: int
    latency: Mapping[str, LatencySketch]
    """By stage."""
    slices: Mapping[str, Mapping[str, LatencySketch]]
    drift: Counts | None
    """[features, SLOTS]; None without a profile."""
    drift_rows: int

    @property
    def rate(self) -> float:
        """Requests answered per second, failures among them."""
        return (self.requests + self.failures) / self.seconds if self.seconds > 0 else 0.0

    @property
    def mean_batch_rows(self) -> float | None:
        """None without a batch."""
        return self.rows / self.batches if self.batches else None


@dataclass(frozen=True, slots=True)
class HistoryPoint:
    """One step of the last five minutes."""

    time: float
    """Seconds since the epoch, of its end."""
    seconds: float
    rate: float
    p50: float | None
    p95: float | None
    p99: float | None
    mean_batch_rows: float | None


class ModelWatcher:
    """Reads one version's counters now and then, and answers for windows of them.

    Any thread may call it. ``clock`` and ``wall`` are ``time.monotonic`` and ``time.time``.

    Args:
        profile: what its features are held against; None: nothing, or what it learns.
    """

    def __init__(
        self,
        version: Version,
        profile: ReferenceProfile | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.version = version
        self.spec = version.spec
        self._clock = clock
        self._wall = wall
        self._lock = threading.Lock()
        """Guards everything below."""
        self._windows = Windows(clock())
        self._history: deque[HistoryPoint] = deque(maxlen=HISTORY)
        self._profile = profile
        self._origin: Literal["file", "learned"] | None = "file" if profile is not None else None
        self._learning = profile is None and self.spec.monitoring.learn_rows > 0
        self._learned_rows = 0
        self._last: Series | None = None
        self._last_activity = -1
        self._last_time = clock()
        if profile is not None:
            version.watch(profile.watched())
        elif self._learning:
            version.capture(self.spec.monitoring.learn_rows)

    @property
    def profile(self) -> ReferenceProfile | None:
        """What features are held against now."""
        return self._profile

    @property
    def origin(self) -> Literal["file", "learned"] | None:
        """Where the profile came from."""
        return self._origin

    @property
    def state(self) -> Literal["watching", "learning", "none"]:
        """Whether features are held against a profile."""
        if self._profile is not None:
            return "watching"
        return "learning" if self._learning else "none"

    @property
    def learned_rows(self) -> int:
        """Rows seen so far by a version that learns its profile."""
        return self._learned_rows

    @property
    def uptime_s(self) -> float:
        """Seconds since the version was loaded."""
        return self._clock() - self._windows.start

    @property
    def window_bytes(self) -> int:
        """Memory of the windows."""
        with self._lock:
            return self._windows.bytes

    def tick(self) -> None:
        """Keep a reading; to be called every STEP_S."""
        if self._learning:
            self._learn()
        with self._lock:
            now = self._clock()
            activity = self.version.activity()
            idle = self._last is not None and activity == self._last_activity
            series = self._last if idle and self._last is not None else self._read()
            self._last_activity = activity
            self._add_history(now, series)
            self._windows.add(now, series)
            self._last, self._last_time = series, now

    def windows(self) -> dict[str, WindowView]:
        """Every window of WINDOWS, from one reading."""
        with self._lock:
            now = self._clock()
            series = self._read()
            return {
                name: _view(*self._windows.since(now, seconds, series))
                for name, seconds in WINDOWS.items()
            }

    def history(self) -> list[HistoryPoint]:
        """Oldest first."""
        with self._lock:
            return list(self._history)

    def drift_report(self, view: WindowView) -> DriftReport | None:
        """What the tests say of a window; None without a profile."""
        profile = self._profile
        if profile is None or view.drift is None or len(view.drift) != len(profile.features):
            return None
        from penstock.monitoring.verdict import compare

        features = [(feature.name, feature.bins) for feature in profile.features]
        return compare(features, profile.counts, view.drift.astype(np.int64))

    def _read(self) -> Series:
        version = self.version
        stats = version.statistics()
        latencies = version.latencies()
        counts: dict[str, Counts] = {}
        numbers: dict[str, float] = {
            "requests": stats["success"],
            "failures": sum(stats["failure"].values()),
            "rows": stats["inference_count"],
            "batches": stats["execution_count"],
        }
        sets = {"": latencies["all"]}
        sets |= {f"slice/{name}/": sketches for name, sketches in latencies["slices"].items()}
        for prefix, sketches in sets.items():
            for stage, sketch in sketches.items():
                counts[prefix + stage] = sketch.counts
                numbers[prefix + stage] = sketch.sum
        drift = version.drift_counts()
        if drift is not None:
            numbers[_DRIFT], counts[_DRIFT] = drift
        return Series(counts, numbers)

    def _add_history(self, now: float, series: Series) -> None:
        seconds = now - self._last_time
        if seconds <= 0:
            return
        before = self._last
        if before is None:
            before = Series({}, {})
        counts = {
            name: array - before.counts[name] if name in before.counts else array
            for name, array in series.counts.items()
            if name in STAGES
        }
        numbers = {
            name: value - before.numbers.get(name, 0) for name, value in series.numbers.items()
        }
        view = _view(seconds, Series(counts, numbers))
        total = view.latency["total"]
        p50, p95, p99 = total.quantiles((0.5, 0.95, 0.99)) if total.count else (None, None, None)
        self._history.append(
            HistoryPoint(self._wall(), seconds, view.rate, p50, p95, p99, view.mean_batch_rows)
        )

    def _learn(self) -> None:
        from penstock.monitoring.build import profile_of_tensors

        wanted = self.spec.monitoring.learn_rows
        rows, tensors = self.version.captured()
        self._learned_rows = min(rows, wanted)
        if rows < wanted:
            return
        name = f"{self.spec.name} version {self.spec.version}"
        try:
            profile = profile_of_tensors(
                {key: values[:wanted] for key, values in tensors.items()},
                self.spec,
                source=f"the first {wanted} rows served",
            )
            self.version.watch(profile.watched())
        except ValueError as error:
            _log.warning("no profile can be learned for model %s: %s", name, error)
        else:
            _log.info("model %s learned its profile from %d rows", name, wanted)
            with self._lock:
                self._windows.forget(_DRIFT)
                self._profile, self._origin = profile, "learned"
        self._learning = False
        self.version.capture(0)


def _view(seconds: float, series: Series) -> WindowView:
    slices: dict[str, dict[str, LatencySketch]] = {}
    latency: dict[str, LatencySketch] = {}
    for key, counts in series.counts.items():
        if key == _DRIFT:
            continue
        sketch = LatencySketch.from_counts(counts, series.numbers[key])
        if key in STAGES:
            latency[key] = sketch
        else:
            _, rest = key.split("/", 1)
            name, _, stage = rest.rpartition("/")
            slices.setdefault(name, {})[stage] = sketch
    for stage in STAGES:
        latency.setdefault(stage, LatencySketch())
    number = {key: int(series.numbers[key]) for key in ("requests", "failures", "rows", "batches")}
    return WindowView(
        seconds=seconds,
        latency=latency,
        slices=slices,
        drift=series.counts.get(_DRIFT),
        drift_rows=int(series.numbers.get(_DRIFT, 0)),
        **number,
    )


def stage_summary(sketch: LatencySketch) -> dict[str, float | int] | None:
    """Count, mean, quantiles and maximum in seconds; None if it is empty."""
    count = sketch.count
    if count == 0:
        return None
    values = sketch.quantiles((*QUANTILES.values(), 1.0))
    summary: dict[str, float | int] = {"count": count, "mean": max(sketch.sum, 0.0) / count}
    return summary | dict(zip((*QUANTILES, "max"), values, strict=True))
