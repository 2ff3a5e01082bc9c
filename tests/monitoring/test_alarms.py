"""When the verdict turns, and when it must not."""

import numpy as np
import pytest
import scipy.stats

from penstock.monitoring.binning import bins_of_texts
from penstock.monitoring.verdict import adjust, compare
from penstock.spec import SLOTS, Bins
from tests.monitoring.histograms import compare_samples, count

STREAMS = 1_000
NOMINAL = 0.05


def sample(random: np.random.Generator, rows: int) -> list[np.ndarray]:
    """Columns of several kinds: smooth, skewed, an atom in it, few values, missing values."""
    return [
        random.normal(size=rows),
        random.lognormal(0, 1, rows),
        np.where(random.random(rows) < 0.6, 0.0, random.exponential(1, rows)),
        random.poisson(3, rows).astype(float),
        np.where(random.random(rows) < 0.03, np.nan, random.normal(size=rows)),
    ]


@pytest.mark.parametrize("rows", [50, 100, 200, 1_000, 20_000])
def test_streams_without_drift_raise_no_more_alarms_than_the_nominal_rate(rows):
    random = np.random.default_rng(rows)
    reference = sample(random, 20_000)
    alarms = 0
    for index in range(STREAMS):
        if rows < 20_000 and index % 50 == 0:
            reference = sample(random, 2_000)
        elif rows == 20_000 and index % 250 == 0:
            reference = sample(random, 20_000)
        live = sample(random, rows)
        report = compare_samples(reference, live, alpha=NOMINAL, alpha_warning=NOMINAL)
        alarms += report.verdict == "drifted"
    assert alarms <= NOMINAL * STREAMS


@pytest.mark.parametrize("shift", [0.1, 0.2, 0.5])
def test_a_known_shift_is_found_at_the_sample_size_that_theory_asks_for(shift):
    """A Kolmogorov-Smirnov test finds a shift d of a normal where the distance 2 Phi(d/2) - 1,
    less what 32 bins hide, exceeds the critical distance by two standard deviations."""
    random = np.random.default_rng(3)
    reference = [random.normal(size=50_000)]
    distance = 2 * scipy.stats.norm.cdf(shift / 2) - 1
    # Five tests share the level.
    critical = scipy.stats.kstwobign.isf(0.001 / 5)
    rows = int(((critical + 1.0) / distance) ** 2 * 1.1)
    found = sum(
        compare_samples(reference, [random.normal(shift, 1, rows)]).verdict == "drifted"
        for _ in range(100)
    )
    assert found >= 90
    few = sum(
        compare_samples(reference, [random.normal(shift, 1, max(rows // 20, 50))]).verdict
        == "drifted"
        for _ in range(100)
    )
    assert few < found


@pytest.mark.parametrize("outlier", [1e6, -1e6, np.inf])
def test_one_outlier_changes_no_verdict(outlier):
    random = np.random.default_rng(4)
    reference = random.normal(size=20_000)
    for shift, verdict in ((0.0, "stable"), (1.0, "drifted")):
        live = random.normal(shift, 1, 500)
        plain = compare_samples([reference], [live]).features[0]
        spoilt = compare_samples([reference], [np.append(live, outlier)]).features[0]
        assert plain.verdict == spoilt.verdict == verdict
        assert spoilt.psi == pytest.approx(plain.psi, rel=0.25, abs=0.02)
        assert spoilt.wasserstein == pytest.approx(plain.wasserstein, abs=0.02)


def test_missing_values_and_unseen_categories_are_drift():
    random = np.random.default_rng(5)
    reference, live = random.normal(size=5_000), random.normal(size=500)
    live[:25] = np.nan
    found = compare_samples([reference], [live]).features[0]
    assert (found.verdict, found.test) == ("drifted", "missing")
    assert found.missing == 0.05
    colours = random.choice(["red", "green"], 5_000).astype(object)
    bins = bins_of_texts(colours)
    now = random.choice(["red", "green"], 500).astype(object)
    now[:10] = "blue"
    report = compare([("colour", bins)], count(bins, colours)[None], count(bins, now)[None])
    assert (report.features[0].verdict, report.features[0].test) == ("drifted", "other")
    assert report.features[0].out_of_range == 0.02


def test_values_that_cease_are_drift():
    random = np.random.default_rng(6)
    reference = np.where(random.random(5_000) < 0.2, np.nan, random.normal(size=5_000))
    assert compare_samples([reference], [random.normal(size=500)]).verdict == "drifted"


@pytest.mark.parametrize(("then", "now"), [(49, 5_000), (5_000, 49), (5_000, 0)])
def test_too_few_rows_are_a_verdict_of_their_own(then, now):
    random = np.random.default_rng(7)
    report = compare_samples([random.normal(size=then)], [random.normal(5, 1, now)])
    assert report.verdict == "insufficient data"
    assert report.features[0].rows == now


def test_the_worst_feature_decides():
    random = np.random.default_rng(8)
    reference = [random.normal(size=5_000) for _ in range(3)]
    live = [random.normal(shift, 1, 500) for shift in (0, 1, 0)]
    report = compare_samples(reference, live)
    assert [feature.verdict for feature in report.features] == ["stable", "drifted", "stable"]
    assert report.verdict == "drifted"
    told = report.to_dict()
    assert told["verdict"] == "drifted"
    assert told["features"][1]["name"] == "f1"


def test_benjamini_hochberg_is_scipys():
    random = np.random.default_rng(9)
    for size in (1, 2, 50):
        p_values = random.random(size) ** 3
        expected = scipy.stats.false_discovery_control(p_values)
        assert adjust(p_values) == pytest.approx(expected)
    assert len(adjust(np.array([]))) == 0


def test_nothing_is_compared_without_features():
    empty = np.zeros((0, SLOTS), np.int64)
    assert compare([], empty, empty).verdict == "insufficient data"
    with pytest.raises(ValueError, match="shape"):
        compare([("a", Bins("numeric", edges=(0.0, 1.0)))], empty, empty)
