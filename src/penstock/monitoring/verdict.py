"""Whether features have drifted: tests that know both sample sizes, and what they say together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from penstock.monitoring import statistics
from penstock.monitoring.special import chi2_sf, hypergeometric_tail
from penstock.monitoring.statistics import Cells, Counts
from penstock.spec import ABOVE, BELOW, MAX_BINS, MISSING, Bins

Verdict = Literal["insufficient data", "stable", "warning", "drifted"]
_SEVERITY: tuple[Verdict, ...] = ("insufficient data", "stable", "warning", "drifted")

ALPHA = 0.001
"""Of windows without any drift, at most this share has a feature called drifted."""
ALPHA_WARNING = 0.01
MINIMUM_ROWS = 50
"""Of either sample: below, a shift of a whole standard deviation would often go unseen."""
_EXPECTED = 5.0
"""Cells of which fewer live rows are to be expected are pooled (Cochran, "Some methods for
strengthening the common chi-square tests", 1954)."""


@dataclass(frozen=True, slots=True)
class FeatureDrift:
    """What the statistics say of one feature; NaN where one is not defined."""

    name: str
    verdict: Verdict
    rows: int
    p_value: float
    """Of no drift, over the feature's own tests."""
    p_adjusted: float
    """The same over all features (Benjamini and Hochberg)."""
    test: str
    """The test with the smallest p-value."""
    psi: float
    psi_p_value: float
    js: float
    js_p_value: float
    ks: float
    ks_upper: float
    ks_p_value: float
    wasserstein: float
    wasserstein_p_value: float
    """An upper bound."""
    chi2: float
    chi2_p_value: float
    out_of_range: float
    """Share of live rows beyond the reference's range, or in none of its categories."""
    missing: float
    """Share of live rows."""


@dataclass(frozen=True, slots=True)
class DriftReport:
    """All features of one window."""

    rows: int
    verdict: Verdict
    """The worst of any feature."""
    features: tuple[FeatureDrift, ...]

    def to_dict(self) -> dict[str, Any]:
        """For JSON, NaN as None."""
        features = [
            {
                key: None if isinstance(value, float) and math.isnan(value) else value
                for key, value in asdict(feature).items()
            }
            for feature in self.features
        ]
        return {"rows": self.rows, "verdict": self.verdict, "features": features}


def compare(
    features: Sequence[tuple[str, Bins]],
    reference: Counts,
    live: Counts,
    *,
    alpha: float = ALPHA,
    alpha_warning: float = ALPHA_WARNING,
    minimum_rows: int = MINIMUM_ROWS,
) -> DriftReport:
    """Hold live counts against those of the reference.

    A numeric feature is tested by Kolmogorov-Smirnov and chi-square, a category by chi-square;
    values that the reference (almost) never had, missing ones among them, by Fisher's exact test.
    Bonferroni over a feature's tests, Benjamini-Hochberg over features ("Controlling the false
    discovery rate", 1995). The population stability index stands beside it as the size of the
    shift and decides nothing.

    Args:
        features: name and bins of each.
        reference, live: counts [features, SLOTS].
        alpha, alpha_warning: adjusted p-values below are "drifted" and "warning".
        minimum_rows: fewer in either sample are "insufficient data".

    Raises:
        ValueError: counts that do not fit the features.
    """
    bins = [each for _, each in features]
    reference, live = np.asarray(reference, np.int64), np.asarray(live, np.int64)
    cells = Cells.of(bins, reference, live)
    n, m = live.sum(axis=1), reference.sum(axis=1)
    psi = statistics.population_stability_index(reference, live, cells)
    js = statistics.jensen_shannon(reference, live)
    ks, ks_upper = statistics.kolmogorov_smirnov(reference, live, cells)
    distance = statistics.wasserstein(reference, live, cells)
    pooled_reference, pooled_live = _pool(bins, reference, live)
    chi2, degrees = statistics.chi_square(pooled_reference, pooled_live)
    columns: dict[str, Any] = {
        "psi": psi,
        "psi_p_value": statistics.psi_p_value(psi, reference, live, cells),
        "js": js,
        "js_p_value": statistics.js_p_value(js, reference, live, cells),
        "ks": ks,
        "ks_upper": ks_upper,
        "ks_p_value": statistics.ks_p_value(ks, reference, live),
        "wasserstein": distance,
        "wasserstein_p_value": statistics.wasserstein_p_bound(distance, reference, live, cells),
        "chi2": chi2,
        "chi2_p_value": chi2_sf(chi2, degrees),
        "out_of_range": (live[:, BELOW] + live[:, ABOVE]) / np.maximum(n, 1),
        "missing": live[:, MISSING] / np.maximum(n, 1),
    }
    tests = {"chi_square": columns["chi2_p_value"], "ks": columns["ks_p_value"]}
    tests |= _rare_values(reference, live)
    enough = (n >= minimum_rows) & (m >= minimum_rows)
    p_values, deciding = _decide(cells.numeric, tests)
    adjusted = np.ones(len(bins))
    adjusted[enough] = adjust(p_values[enough])
    found = []
    for index, (name, _) in enumerate(features):
        verdict: Verdict = "stable"
        if not enough[index]:
            verdict = "insufficient data"
        elif adjusted[index] < alpha:
            verdict = "drifted"
        elif adjusted[index] < alpha_warning:
            verdict = "warning"
        found.append(
            FeatureDrift(
                name=name,
                verdict=verdict,
                rows=int(n[index]),
                p_value=float(p_values[index]),
                p_adjusted=float(adjusted[index]),
                test=deciding[index],
                **{key: float(values[index]) for key, values in columns.items()},
            )
        )
    worst = max((_SEVERITY.index(each.verdict) for each in found), default=0)
    return DriftReport(int(n.max(initial=0)), _SEVERITY[worst], tuple(found))


def adjust(p_values: Any) -> Any:
    """p-values adjusted by Benjamini and Hochberg's step-up procedure: those below alpha are the
    rejected ones at a false discovery rate of alpha."""
    p_values = np.asarray(p_values, np.float64)
    count = len(p_values)
    order = np.argsort(p_values)[::-1]
    ranks = np.arange(count, 0, -1)
    stepped = np.minimum.accumulate(p_values[order] * count / ranks)
    adjusted = np.empty(count)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def _decide(numeric: Any, tests: dict[str, Any]) -> tuple[Any, list[str]]:
    """Bonferroni over the tests that a feature has, whatever the data say."""
    names = list(tests)
    table = np.stack([tests[name] for name in names])
    # A category has no order to test.
    table[names.index("ks"), ~numeric] = 1.0
    table[names.index("above"), ~numeric] = 1.0
    table = np.where(np.isnan(table), 1.0, table)
    smallest = table.argmin(axis=0)
    count = np.where(numeric, len(names), len(names) - 2)
    p_values = np.minimum(table.min(axis=0) * count, 1.0)
    # In a category's row the slot of what is below holds what is in no category.
    told = [
        "other" if names[index] == "below" and not ordered else names[index]
        for index, ordered in zip(smallest, numeric, strict=True)
    ]
    return p_values, told


def _rare_values(reference: Counts, live: Counts) -> dict[str, Any]:
    """p-values of slots that no chi-square can judge: few of them are to be expected."""
    found = {}
    n, m = live.sum(axis=1), reference.sum(axis=1)
    for name, slot in (("below", BELOW), ("above", ABOVE), ("missing", MISSING)):
        p_values = np.ones(len(live))
        for index in np.flatnonzero(live[:, slot]):
            seen, other = int(live[index, slot]), int(reference[index, slot])
            if other * n[index] < _EXPECTED * m[index]:
                rest = int(m[index])
                p_values[index] = hypergeometric_tail(seen, other, int(n[index]), rest)
        found[name] = p_values
    return found


def _pool(bins: Sequence[Bins], reference: Counts, live: Counts) -> tuple[Counts, Counts]:
    """Neighbouring cells, joined until enough live rows are to be expected in each.

    What is expected is told by the reference and the live rows' number alone: cells that looked
    at the live counts would make the test reject too often.
    """
    pooled = np.zeros((2, len(bins), MAX_BINS + 3), np.int64)
    n, m = live.sum(axis=1), reference.sum(axis=1)
    # Lists: an array tells its elements one by one ten times as slowly.
    rows = zip(reference.tolist(), live.tolist(), n.tolist(), m.tolist(), strict=True)
    for index, (then, now, live_rows, reference_rows) in enumerate(rows):
        if reference_rows == 0 or live_rows == 0:
            continue
        # Expectations of the smaller sample decide.
        share = min(live_rows, reference_rows) / reference_rows
        slots = list(range(bins[index].count))
        if bins[index].kind == "category":
            # Rare values join each other, not whichever stands beside them.
            slots.sort(key=then.__getitem__)
        cells = [[0, 0]]
        expected = 0.0
        for slot in (BELOW, *slots, ABOVE):
            if expected >= _EXPECTED:
                cells.append([0, 0])
                expected = 0.0
            cells[-1][0] += then[slot]
            cells[-1][1] += now[slot]
            expected += then[slot] * share
        if expected < _EXPECTED and len(cells) > 1:
            last = cells.pop()
            cells[-1][0] += last[0]
            cells[-1][1] += last[1]
        if then[MISSING] * share >= _EXPECTED:
            cells.append([then[MISSING], now[MISSING]])
        pooled[:, index, : len(cells)] = np.array(cells).T
    return pooled[0], pooled[1]
