"""river's synthetic streams with a known change: how late each detector is, and how often wrong.

Run by ``python -m benchmarks streams`` in an environment with river. Every stream is stationary
for half of its rows and another one from there on; the classes that come with the rows are watched
beside the features, as a model's answers are. Detectors of river watch one value each: one per
feature, at their defaults, and an alarm of any is an alarm. Penstock counts :data:`TICK` rows
between two looks at its windows; "drifted" is an alarm, and a new one only after another verdict.

Prints JSON: for each stream and detector

* ``delay``: rows from the change to the first alarm after it, the mean of those that noticed;
* ``interval``: rows of the stationary half per false alarm (None: there was none);
* ``missed``: share of the changes without an alarm;
* ``null_rows``: how many stationary rows there were in all.

The measures are those of Bifet, "Classifier Concept Drift Detection and the Illusion of Progress"
(2017), which also has the reason for the detector that always fires.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from river import drift
from river.datasets import synth

from penstock import DriftHistogram
from penstock.monitoring.binning import bins_of_numbers
from penstock.monitoring.verdict import compare

REFERENCE, BEFORE, AFTER = 10_000, 20_000, 20_000
TICK = 100
WINDOWS = {"penstock, 1,200 rows": 12, "penstock, 6,000 rows": 60}
"""Looks: of one minute and of five, at 20 rows a second."""
SEEDS = range(3)
SLOW_SHARE = 4
"""Of a detector that computes for 0.1 ms a value: the fourth part of the rows, one seed."""

Rows = np.ndarray[Any, Any]
Alarms = list[int]
"""Rows at which an alarm was raised."""


@dataclass(frozen=True)
class Stream:
    """How to make what comes before and after, from a seed."""

    before: Callable[[int], Any]
    after: Callable[[int], Any]
    width: int = 1
    """Rows over which one takes over from the other, from 2 % of them to a half and 98 %."""
    categories: tuple[str | int, ...] = ()


def led(seed: int, swapped: int) -> Any:
    """Seven segments among 24 attributes, of which some change places with irrelevant ones."""
    return synth.LEDDrift(
        seed=seed, noise_percentage=0.1, irrelevant_features=True, n_drift_features=swapped
    )


STREAMS = {
    "SEA, concept 0 to 3": Stream(
        lambda seed: synth.SEA(variant=0, seed=seed),
        lambda seed: synth.SEA(variant=3, seed=seed + 100),
    ),
    "Agrawal, function 0 to 4": Stream(
        lambda seed: synth.Agrawal(classification_function=0, seed=seed),
        lambda seed: synth.Agrawal(classification_function=4, seed=seed + 100),
        categories=("elevel", "car", "zipcode"),
    ),
    "Agrawal, the same over 5,000 rows": Stream(
        lambda seed: synth.Agrawal(classification_function=0, seed=seed),
        lambda seed: synth.Agrawal(classification_function=4, seed=seed + 100),
        width=5_000,
        categories=("elevel", "car", "zipcode"),
    ),
    "LED, three attributes swapped": Stream(
        lambda seed: led(seed, 0),
        lambda seed: led(seed + 100, 3),
        categories=tuple(range(24)),
    ),
    "RandomRBF, other centroids": Stream(
        lambda seed: synth.RandomRBF(seed_model=seed, seed_sample=seed, n_features=10),
        lambda seed: synth.RandomRBF(seed_model=seed + 7, seed_sample=seed, n_features=10),
    ),
    "STAGGER, rule 0 to 2": Stream(
        lambda seed: synth.STAGGER(classification_function=0, seed=seed),
        lambda seed: synth.STAGGER(classification_function=2, seed=seed + 100),
        categories=("size", "color", "shape"),
    ),
    "Sine, classes reversed": Stream(
        lambda seed: synth.Sine(classification_function=0, seed=seed),
        lambda seed: synth.Sine(classification_function=1, seed=seed + 100),
    ),
}


def rows_of(stream: Stream, seed: int) -> tuple[Rows, list[bool]]:
    """Reference, stationary and changed rows, features and class; which columns are categories."""
    # As river's ConceptDriftStream, whose exponential overflows at such widths.
    since = np.arange(REFERENCE + BEFORE + AFTER) - (REFERENCE + BEFORE)
    middle = stream.width if stream.width > 1 else 0
    share = 0.5 * (1 + np.tanh(2 * (since - middle + 0.5) / stream.width))
    share[since < 0] = 0
    changed = np.random.default_rng(seed).random(len(since)) < share
    before, after = iter(stream.before(seed)), iter(stream.after(seed))
    taken = [next(after if new else before) for new in changed]
    names = list(taken[0][0])
    rows = np.array([[*(x[name] for name in names), y] for x, y in taken], np.float64)
    return rows, [*(name in stream.categories for name in names), True]


def penstock(reference: Rows, live: Rows, categories: list[bool], looks: int) -> Alarms:
    """Verdicts over the last ``looks`` times TICK rows."""
    features = [
        (str(i), bins_of_numbers(column, category=category))
        for i, (column, category) in enumerate(zip(reference.T, categories, strict=True))
    ]
    histogram = DriftHistogram([bins for _, bins in features])
    histogram.observe(reference)
    then = histogram.counts.astype(np.int64)
    histogram = DriftHistogram([bins for _, bins in features])
    totals = [np.zeros_like(then)]
    alarms: Alarms = []
    drifted = False
    for start in range(0, len(live), TICK):
        histogram.observe(live[start : start + TICK])
        totals.append(histogram.counts.astype(np.int64))
        window = totals[-1] - totals[max(0, len(totals) - 1 - looks)]
        was, drifted = drifted, compare(features, then, window).verdict == "drifted"
        if drifted and not was:
            alarms.append(start + TICK)
    return alarms


def one_per_feature(make: Callable[[], Any], live: Rows) -> Alarms:
    """Detectors of river, each fed with one column; they begin anew after an alarm."""
    detectors = [make() for _ in live.T]
    alarms: Alarms = []
    for index, row in enumerate(live.tolist()):
        fired = False
        for detector, value in zip(detectors, row, strict=True):
            detector.update(value)
            fired |= detector.drift_detected
        if fired:
            alarms.append(index + 1)
    return alarms


def cases() -> Iterator[tuple[str, Callable[[Rows, Rows, list[bool]], Alarms], bool]]:
    """Name, detector, and whether it is slow."""
    for name, looks in WINDOWS.items():
        yield name, lambda r, x, c, n=looks: penstock(r, x, c, n), False  # type: ignore[misc]
    yield "river ADWIN", lambda _, x, __: one_per_feature(drift.ADWIN, x), False
    yield "river PageHinkley", lambda _, x, __: one_per_feature(drift.PageHinkley, x), False
    yield "river KSWIN", lambda _, x, __: one_per_feature(lambda: drift.KSWIN(seed=1), x), True
    yield "always fires", lambda _, x, __: list(range(TICK, len(x) + 1, TICK)), False


def measure(stream: Stream) -> dict[str, dict[str, float | None]]:
    made = [rows_of(stream, seed) for seed in SEEDS]
    result = {}
    for name, detect, slow in cases():
        share = SLOW_SHARE if slow else 1
        before, after = BEFORE // share, AFTER // share
        delays: list[int] = []
        wrong = missed = 0
        used = made[:1] if slow else made
        for rows, categories in used:
            reference, live = rows[:REFERENCE], rows[REFERENCE + BEFORE - before :]
            alarms = detect(reference, live[: before + after], categories)
            wrong += sum(alarm <= before for alarm in alarms)
            noticed = [alarm - before for alarm in alarms if alarm > before]
            delays += noticed[:1]
            missed += not noticed
        null_rows = before * len(used)
        result[name] = {
            "delay": float(np.mean(delays)) if delays else None,
            "interval": null_rows / wrong if wrong else None,
            "missed": missed / len(used),
            "null_rows": null_rows,
        }
    return result


if __name__ == "__main__":
    print(json.dumps({name: measure(stream) for name, stream in STREAMS.items()}))
