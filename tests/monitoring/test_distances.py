"""Every statistic against scipy's, from the same counts."""

from itertools import pairwise

import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from penstock.monitoring import statistics
from penstock.monitoring.special import chi2_sf, hypergeometric_tail, kolmogorov_sf
from penstock.monitoring.statistics import Cells
from penstock.spec import ABOVE, BELOW, MAX_BINS, MISSING, SLOTS, Bins

EDGES = tuple(np.cumsum(np.arange(1.0, 10.0)).tolist())
NUMERIC = Bins("numeric", edges=EDGES)
CATEGORY = Bins("category", values=tuple("abcdefgh"))

counts = st.lists(st.integers(0, 400), min_size=11, max_size=11).filter(lambda c: sum(c[:10]) > 0)


def row(values: list[int]) -> np.ndarray:
    """Eight bins, below, above, missing."""
    made = np.zeros((1, SLOTS), np.int64)
    made[0, :8] = values[:8]
    made[0, [BELOW, ABOVE, MISSING]] = values[8:]
    return made


def ordered(values: list[int]) -> list[int]:
    return [values[8], *values[:8], values[9]]


MIDDLES = [EDGES[0], *((a + b) / 2 for a, b in pairwise(EDGES)), EDGES[-1]]


@given(counts, counts)
def test_jensen_shannon(reference, live):
    p, q = np.array(reference) / sum(reference), np.array(live) / sum(live)
    expected = (scipy.stats.entropy(p, (p + q) / 2) + scipy.stats.entropy(q, (p + q) / 2)) / 2
    found = statistics.jensen_shannon(row(reference), row(live))[0]
    assert found == pytest.approx(expected, rel=1e-12, abs=1e-15)


@given(counts, counts)
def test_kolmogorov_smirnov(reference, live):
    left, right = np.repeat(MIDDLES, ordered(reference)), np.repeat(MIDDLES, ordered(live))
    cells = Cells.of([NUMERIC], row(reference), row(live))
    distance, upper = statistics.kolmogorov_smirnov(row(reference), row(live), cells)
    expected = scipy.stats.ks_2samp(left, right, method="asymp")
    assert distance[0] == pytest.approx(expected.statistic, abs=1e-12)
    assert upper[0] >= distance[0]
    effective = len(left) * len(right) / (len(left) + len(right))
    limit = scipy.stats.kstwobign.sf(distance[0] * np.sqrt(effective))
    p_value = statistics.ks_p_value(distance, row(reference), row(live))[0]
    assert p_value == pytest.approx(limit, abs=1e-9)


@given(st.lists(st.floats(0, 50), min_size=5, max_size=200), st.lists(st.floats(0, 50), min_size=5))
def test_the_distance_of_the_values_lies_between_the_bounds(left, right):
    exact = scipy.stats.ks_2samp(left, right).statistic
    made = []
    for sample in (left, right):
        counted = np.zeros((1, SLOTS), np.int64)
        for value in sample:
            if value < EDGES[0]:
                counted[0, BELOW] += 1
            elif value > EDGES[-1]:
                counted[0, ABOVE] += 1
            else:
                counted[0, max(np.searchsorted(EDGES, value, "left") - 1, 0)] += 1
        made.append(counted)
    cells = Cells.of([NUMERIC], *made)
    distance, upper = statistics.kolmogorov_smirnov(*made, cells)
    assert distance[0] - 1e-12 <= exact <= upper[0] + 1e-12


@given(counts, counts)
def test_wasserstein(reference, live):
    cells = Cells.of([NUMERIC], row(reference), row(live))
    expected = scipy.stats.wasserstein_distance(MIDDLES, MIDDLES, ordered(reference), ordered(live))
    found = statistics.wasserstein(row(reference), row(live), cells)
    assert found[0] == pytest.approx(expected, rel=1e-9, abs=1e-12)


@given(counts, counts)
def test_chi_square(reference, live):
    table = np.array([reference, live])
    table = table[:, table.sum(axis=0) > 0]
    statistic, degrees = statistics.chi_square(row(reference), row(live))
    if table.shape[1] < 2:
        assert degrees[0] == 0
        return
    expected = scipy.stats.chi2_contingency(table, correction=False)
    assert statistic[0] == pytest.approx(expected.statistic, rel=1e-9, abs=1e-9)
    assert degrees[0] == expected.dof
    assert chi2_sf(statistic, degrees)[0] == pytest.approx(expected.pvalue, rel=1e-8, abs=1e-300)


@given(counts, counts)
def test_population_stability_index(reference, live):
    p, q = np.array(reference, float), np.array(live, float)
    used = (p + q > 0) | (np.arange(11) < 8)
    p, q = p[used] + 0.5, q[used] + 0.5
    p, q = p / p.sum(), q / q.sum()
    expected = scipy.stats.entropy(p, q) + scipy.stats.entropy(q, p)
    cells = Cells.of([NUMERIC], row(reference), row(live))
    found = statistics.population_stability_index(row(reference), row(live), cells)
    assert found[0] == pytest.approx(expected, rel=1e-9, abs=1e-12)
    p_value = statistics.psi_p_value(found, row(reference), row(live), cells)[0]
    scaled = found[0] / (1 / sum(reference) + 1 / sum(live))
    assert p_value == pytest.approx(scipy.stats.chi2.sf(scaled, used.sum() - 1), abs=1e-12)


def test_under_no_drift_the_p_values_of_psi_and_js_are_uniform_enough():
    random = np.random.default_rng(1)
    shares = np.full(8, 1 / 8)
    small = {"psi": 0, "js": 0}
    for _ in range(2_000):
        then, now = np.zeros((1, SLOTS), np.int64), np.zeros((1, SLOTS), np.int64)
        then[0, :8], now[0, :8] = random.multinomial(5_000, shares), random.multinomial(800, shares)
        cells = Cells.of([NUMERIC], then, now)
        psi = statistics.population_stability_index(then, now, cells)
        small["psi"] += statistics.psi_p_value(psi, then, now, cells)[0] < 0.05
        js = statistics.jensen_shannon(then, now)
        small["js"] += statistics.js_p_value(js, then, now, cells)[0] < 0.05
    # 100 expected; 2.6 standard deviations are 25.
    assert 75 <= small["psi"] <= 125
    assert 75 <= small["js"] <= 125


def test_categories_have_no_order_and_an_empty_sample_no_distance():
    zero = np.zeros((1, SLOTS), np.int64)
    some = row([1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0])
    cells = Cells.of([CATEGORY], some, some)
    assert np.isnan(statistics.kolmogorov_smirnov(some, some, cells)[0][0])
    assert np.isnan(statistics.wasserstein(some, some, cells)[0])
    empty = Cells.of([NUMERIC], some, zero)
    assert np.isnan(statistics.population_stability_index(some, zero, empty)[0])
    assert np.isnan(statistics.jensen_shannon(some, zero)[0])
    assert np.isnan(statistics.kolmogorov_smirnov(some, zero, empty)[0][0])


def test_counts_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"live counts of shape \(2, 35\)"):
        Cells.of([NUMERIC], np.zeros((1, SLOTS), int), np.zeros((2, SLOTS), int))
    with pytest.raises(ValueError, match="counts of -1"):
        Cells.of([NUMERIC], np.full((1, SLOTS), -1), np.zeros((1, SLOTS), int))
    assert MAX_BINS == 32


@given(st.floats(0, 2_000), st.integers(1, 40))
def test_chi_square_tail(x, df):
    assert chi2_sf(x, df) == pytest.approx(scipy.stats.chi2.sf(x, df), rel=1e-9, abs=1e-280)


@given(st.floats(0, 20))
def test_kolmogorov_tail(x):
    assert kolmogorov_sf(x) == pytest.approx(scipy.special.kolmogorov(x), rel=1e-7, abs=1e-14)


@given(st.integers(0, 60), st.integers(0, 30), st.integers(60, 3_000), st.integers(30, 100_000))
def test_hypergeometric_tail(seen, other, drawn, rest):
    expected = scipy.stats.hypergeom.sf(seen - 1, drawn + rest, seen + other, drawn)
    found = hypergeometric_tail(seen, other, drawn, rest)
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-300)
