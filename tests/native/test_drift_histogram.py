"""The drift histogram from Python: what it takes, what it counts, what it refuses."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import DriftHistogram
from penstock.spec import ABOVE, BELOW, MISSING, SLOTS, Bins

NUMERIC = Bins("numeric", edges=(0.0, 1.0, 2.0, 4.0))
COLOURS = Bins("category", values=("red", "green"))
DIGITS = Bins("category", values=(0.0, 1.0, 7.0))


def expected_counts(bins: Bins, values) -> np.ndarray:
    counts = np.zeros(SLOTS, np.uint64)
    for value in values:
        if np.isnan(value):
            slot = MISSING
        elif bins.kind == "category":
            slot = bins.values.index(value) if value in bins.values else BELOW
        elif value < bins.edges[0]:
            slot = BELOW
        elif value > bins.edges[-1]:
            slot = ABOVE
        else:
            slot = max(np.searchsorted(bins.edges, value, "left") - 1, 0)
        counts[slot] += 1
    return counts


@given(
    st.lists(
        st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0, 4.0, 7.0, -1.0, 9.0, np.nan, np.inf, -np.inf]),
        max_size=100,
    ),
    st.sampled_from(["f4", "f8", "f2", ">f4", ">f8", "g"]),
    st.sampled_from(["C", "F", "reversed", "strided"]),
)
def test_every_layout_and_type_counts_alike(values, dtype, layout):
    histogram = DriftHistogram([NUMERIC, DIGITS])
    batch = np.stack((values, values[::-1]), axis=1).astype(dtype)
    batch = {
        "C": lambda: batch,
        "F": lambda: np.asfortranarray(batch),
        "reversed": lambda: batch[::-1].copy()[::-1],
        "strided": lambda: np.repeat(batch, 3, axis=1)[:, ::3],
    }[layout]()
    histogram.observe(batch)
    assert np.array_equal(histogram.counts[0], expected_counts(NUMERIC, values))
    assert np.array_equal(histogram.counts[1], expected_counts(DIGITS, values))
    assert histogram.rows == len(values)


@pytest.mark.parametrize("dtype", ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?"])
def test_integers_are_counted(dtype):
    histogram = DriftHistogram([NUMERIC])
    values = np.array([0, 1, 1]).astype(dtype)
    histogram.observe(values)
    assert histogram.counts[0, 0] == 3
    assert histogram.counts.sum() == 3


def test_texts_are_counted_by_value():
    histogram = DriftHistogram([COLOURS])
    histogram.observe(np.array(["red", b"red", "green", "blue", "", None], object))
    assert histogram.counts[0, :2].tolist() == [2, 1]
    assert histogram.counts[0, BELOW] == 1
    assert histogram.counts[0, MISSING] == 2
    histogram.observe(np.array([["red"], ["green"]]))
    assert histogram.counts[0, :2].tolist() == [3, 2]


def test_a_large_batch_of_32_features_agrees_with_numpy():
    random = np.random.default_rng(0)
    batch = random.normal(size=(5_000, 32)).astype(np.float32)
    bins = []
    for column in batch.T.astype(float):
        edges = np.unique(np.quantile(column, np.linspace(0, 1, 33)))
        bins.append(Bins("numeric", edges=tuple(edges)))
    histogram = DriftHistogram(bins)
    histogram.observe(batch)
    for feature, column in enumerate(batch.T.astype(float)):
        assert np.array_equal(histogram.counts[feature], expected_counts(bins[feature], column))


def test_merging_adds_and_other_bins_are_refused():
    left, right = DriftHistogram([NUMERIC]), DriftHistogram([NUMERIC])
    left.observe([0.5, 3])
    right.observe([0.5, np.nan])
    left.merge(right)
    assert left.rows == 4
    assert left.counts[0, 0] == 2
    with pytest.raises(ValueError, match="other bins"):
        left.merge(DriftHistogram([DIGITS]))


def test_what_is_written_is_read_and_garbage_refused():
    histogram = DriftHistogram([NUMERIC, DIGITS])
    histogram.observe([[0.5, 7], [9, 8]])
    copy = pickle.loads(pickle.dumps(histogram))
    assert copy.bins == histogram.bins
    assert copy.rows == 2
    assert np.array_equal(copy.counts, histogram.counts)
    texts = DriftHistogram([COLOURS])
    assert DriftHistogram.from_bytes(texts.to_bytes()).bins == (COLOURS,)
    data = histogram.to_bytes()
    for at in range(0, len(data), 7):
        bad = bytearray(data)
        bad[at] ^= 0x55
        with pytest.raises(ValueError, match="came"):
            DriftHistogram.from_bytes(bytes(bad))
    with pytest.raises(ValueError, match="came"):
        DriftHistogram.from_bytes(data[:-1])


@pytest.mark.parametrize(
    ("bins", "message"),
    [
        (Bins("numeric", edges=(1.0,)), "0 bins"),
        (Bins("numeric", edges=tuple(map(float, range(34)))), "33 bins"),
        (Bins("numeric", edges=(0.0, 0.0)), "ascend"),
        (Bins("numeric", edges=(0.0, float("nan"))), "finite"),
        (Bins("numeric", edges=("a", "b")), "texts"),  # type: ignore[arg-type]
        (Bins("category"), "0 bins"),
        (Bins("category", values=("a", "a")), "repeated"),
        (Bins("category", values=("a", "")), "empty"),
        (Bins("category", values=("a", 1.0)), "finite"),
        (Bins("category", values=(2.0, 1.0)), "ascend"),
        (Bins("other", edges=(0.0, 1.0)), "kind 'other'"),  # type: ignore[arg-type]
    ],
)
def test_bins_that_cannot_be_are_refused(bins, message):
    with pytest.raises(ValueError, match=message):
        DriftHistogram([bins])


def test_batches_that_do_not_fit_are_refused():
    histogram = DriftHistogram([NUMERIC, DIGITS])
    with pytest.raises(ValueError, match=r"\(rows, 2\)"):
        histogram.observe(np.zeros((3, 3)))
    with pytest.raises(TypeError, match="texts came"):
        histogram.observe(np.array([["a", "b"]]))
    with pytest.raises(TypeError, match="numbers came"):
        DriftHistogram([COLOURS]).observe(np.zeros((1, 1)))
    with pytest.raises(TypeError, match="complex"):
        histogram.observe(np.zeros((1, 2), complex))
    with pytest.raises(IndexError, match="feature 2 of 2"):
        histogram.observe_column(2, [1.0])
    assert histogram.counts.sum() == 0
