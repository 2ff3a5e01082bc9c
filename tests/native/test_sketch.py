"""The latency sketch: its error, its sums, its forms elsewhere."""

import math
import pickle
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import LatencySketch

BOUND = (2 ** (1 / 64) - 1) / (2 ** (1 / 64) + 1)
LOWEST, HIGHEST = 2.0**-20, 2.0**10

covered = st.floats(LOWEST, HIGHEST, exclude_min=True)
anything = st.floats(allow_nan=True, allow_infinity=True)


def sketch_of(values) -> LatencySketch:
    sketch = LatencySketch()
    sketch.add_many(np.asarray(values, float))
    return sketch


def same(left: LatencySketch, right: LatencySketch) -> bool:
    return (
        np.array_equal(left.counts, right.counts)
        and math.isclose(left.sum, right.sum, rel_tol=1e-12, abs_tol=1e-300)
        and (left.count == 0 or (left.min, left.max) == (right.min, right.max))
    )


@given(st.lists(covered, min_size=1, max_size=200), st.floats(0, 1))
def test_a_quantile_is_within_the_bound_of_the_exact_one(values, q):
    exact = np.quantile(values, q, method="inverted_cdf")
    assert sketch_of(values).quantile(q) == pytest.approx(exact, rel=BOUND * (1 + 1e-12))


@pytest.mark.parametrize("name", ["lognormal", "pareto", "bimodal"])
def test_the_tails_of_large_samples_are_within_the_bound(name):
    random = np.random.default_rng(5)
    values = {
        "lognormal": lambda: random.lognormal(math.log(5e-3), 0.8, 500_000),
        "pareto": lambda: (random.pareto(1.5, 500_000) + 1) * 1e-3,
        "bimodal": lambda: np.abs(
            np.concatenate((random.normal(1e-3, 1e-4, 450_000), random.normal(0.2, 0.02, 50_000)))
        ),
    }[name]()
    values = values[values < HIGHEST]
    quantiles = (0.5, 0.95, 0.99, 0.999)
    exact = np.quantile(values, quantiles, method="inverted_cdf")
    found = sketch_of(values).quantiles(quantiles)
    assert found == pytest.approx(exact, rel=BOUND)


@given(st.lists(anything, max_size=50), st.lists(anything, max_size=50))
def test_the_merge_is_the_sketch_of_the_union(left, right):
    with np.errstate(all="ignore"):
        merged, union = sketch_of(left), sketch_of(left + right)
        merged.merge(sketch_of(right))
    assert np.array_equal(merged.counts, union.counts)
    if union.count:
        assert (merged.min, merged.max) == (union.min, union.max)


@given(st.lists(anything, max_size=100))
def test_every_value_is_counted_once(values):
    sketch = LatencySketch()
    for value in values:
        sketch.add(value)
    assert sketch.nan == sum(math.isnan(value) for value in values)
    assert sketch.negative == sum(value < 0 for value in values)
    assert sketch.low == sum(0 <= value <= LOWEST for value in values)
    assert sketch.high == sum(value > HIGHEST for value in values)
    assert sketch.count == len(values) - sketch.nan
    assert np.array_equal(sketch.counts, sketch_of(values).counts)


@given(st.lists(anything, max_size=100))
def test_what_is_written_is_read(values):
    sketch = sketch_of(values)
    for copy in (LatencySketch.from_bytes(sketch.to_bytes()), pickle.loads(pickle.dumps(sketch))):
        assert np.array_equal(copy.counts, sketch.counts)
        if sketch.count:
            assert (copy.min, copy.max) == (sketch.min, sketch.max)


def test_garbage_is_refused():
    data = sketch_of([0.1, 0.2, 3]).to_bytes()
    for end in range(len(data)):
        with pytest.raises(ValueError, match="came"):
            LatencySketch.from_bytes(data[:end])
    for at in range(len(data)):
        bad = bytearray(data)
        bad[at] ^= 0x55
        with pytest.raises(ValueError, match="came"):
            LatencySketch.from_bytes(bytes(bad))
    body = bytearray(data[:-4])
    body[4] = 9
    with pytest.raises(ValueError, match="format 9"):
        LatencySketch.from_bytes(bytes(body) + struct.pack("<I", zlib.crc32(bytes(body))))


def test_arrays_of_any_kind_are_added():
    values = np.linspace(0.001, 2, 100)
    expected = sketch_of(values)
    spread = np.zeros((100, 3))
    spread[:, 1] = values
    assert same(sketch_of(values[::-1]), expected)
    assert same(sketch_of(spread[:, 1]), expected)
    assert same(sketch_of(values.reshape(10, 10).T), expected)
    assert same(sketch_of(values.astype(">f8")), expected)
    whole = LatencySketch()
    whole.add_many(np.array([1, 2, 2], np.int32))
    assert whole.count == 3
    assert whole.sum == 5
    with pytest.raises(TypeError, match="expected numbers"):
        whole.add_many(np.array(["a"]))


def test_an_empty_sketch_has_no_quantiles():
    empty = LatencySketch()
    assert empty.count == 0
    assert all(math.isnan(value) for value in (empty.quantile(0.5), empty.min, empty.mean))
    for q in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="from 0 to 1"):
            empty.quantile(q)


def test_the_difference_of_two_readings_is_a_sketch():
    sketch = sketch_of([0.001] * 10)
    before, sum_before = sketch.counts, sketch.sum
    sketch.add_many([0.5] * 100)
    window = LatencySketch.from_counts(sketch.counts - before, sketch.sum - sum_before)
    assert window.count == 100
    assert window.quantile(0.01) == pytest.approx(0.5, rel=2 * BOUND)
    assert window.max == pytest.approx(0.5, rel=2 ** (1 / 64) - 1)


def native_buckets(fields) -> dict[int, int]:
    """Prometheus' index -> count, as its documentation decodes spans and deltas."""
    buckets, index, count = {}, 0, 0
    deltas = iter(fields["positive_deltas"])
    for offset, length in fields["positive_spans"]:
        index += offset
        for _ in range(length):
            count += next(deltas)
            buckets[index] = count
            index += 1
    return {index: count for index, count in buckets.items() if count}


@given(st.lists(covered, min_size=1, max_size=100))
def test_native_histogram_buckets_are_prometheus_own(values):
    """Bucket i covers (base^(i-1), base^i]."""
    fields = sketch_of(values).to_prometheus()
    expected: dict[int, int] = {}
    for value in values:
        index = int(np.ceil(np.log2(np.longdouble(value)) * 64))
        expected[index] = expected.get(index, 0) + 1
    assert native_buckets(fields) == expected
    assert fields["schema"] == 6
    assert fields["sample_count"] == len(values)


@given(st.lists(covered, min_size=1, max_size=100), st.integers(-4, 6))
def test_exponential_histogram_buckets_are_opentelemetrys_own_at_every_scale(values, scale):
    """Bucket i covers (base^i, base^(i+1)], base = 2^(2^-scale)."""
    fields = sketch_of(values).to_opentelemetry(scale)
    expected: dict[int, int] = {}
    for value in values:
        exponent = np.log2(np.longdouble(value)) * np.longdouble(2.0) ** scale
        index = int(np.ceil(exponent)) - 1
        expected[index] = expected.get(index, 0) + 1
    offset = fields["positive"]["offset"]
    found = {
        offset + i: count for i, count in enumerate(fields["positive"]["bucket_counts"]) if count
    }
    assert found == expected
    assert fields["count"] == len(values)


def test_values_beyond_the_range_are_exported_too():
    sketch = sketch_of([0.0, 5000.0, 1.0])
    fields = sketch.to_prometheus()
    assert fields["zero_count"] == 1
    # Upper bound 2^1024, the first that no double is.
    assert native_buckets(fields) == {0: 1, 1024 * 64 + 1: 1}
    assert sketch.to_opentelemetry()["zero_count"] == 1
    assert sum(sketch.to_opentelemetry()["positive"]["bucket_counts"]) == 2


@given(st.lists(anything.filter(lambda value: not math.isnan(value)), max_size=100))
def test_classic_buckets_count_what_is_not_over_their_bound(values):
    for bound, count in sketch_of(values).cumulative_buckets():
        assert count == sum(value <= bound for value in values)
