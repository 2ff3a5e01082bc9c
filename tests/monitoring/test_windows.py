"""Windows of counters, on a clock that the test turns."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from penstock.monitoring.windows import STEP_S, PackedCounts, Series, Windows


def series(*counts: int) -> Series:
    return Series({"a": np.array(counts, np.uint64)}, {"n": float(sum(counts))})


def since(windows: Windows, now: float, seconds: float, current: Series) -> list[int]:
    return windows.since(now, seconds, current)[1].counts["a"].tolist()


def test_a_young_version_shows_all_it_has():
    windows = Windows(start=100.0)
    seconds, view = windows.since(103.0, 60.0, series(1, 2))
    assert seconds == 3.0
    assert view.counts["a"].tolist() == [1, 2]


def test_traffic_leaves_a_window_and_time_alone_empties_it():
    windows = Windows(start=0.0)
    current = series(0)
    for step in range(1, 200):
        now = step * STEP_S
        if now == 10 * STEP_S:
            current = series(7)
        windows.add(now, current)
        expected = 7 if now >= 10 * STEP_S else 0
        assert since(windows, now, float("inf"), current) == [expected]
        in_minute = 7 if 10 * STEP_S <= now < 10 * STEP_S + 60 else 0
        assert since(windows, now, 60.0, current) == [in_minute]
        if now > 10 * STEP_S + 300 + 30:
            assert since(windows, now, 300.0, current) == [0]
        elif 10 * STEP_S <= now < 10 * STEP_S + 300:
            assert since(windows, now, 300.0, current) == [7]


@given(st.lists(st.integers(0, 50), min_size=1, max_size=150))
def test_a_window_is_what_came_in_the_seconds_it_says(arrivals):
    windows = Windows(start=0.0)
    total = 0
    for step, arrived in enumerate(arrivals, start=1):
        total += arrived
        now = step * STEP_S
        windows.add(now, series(total))
        for wanted, slack in ((60.0, STEP_S), (300.0, 30.0 + STEP_S)):
            seconds, view = windows.since(now, wanted, series(total))
            steps = round(seconds / STEP_S)
            assert view.counts["a"].tolist() == [sum(arrivals[step - steps : step])]
            assert view.numbers["n"] == view.counts["a"][0]
            assert seconds <= wanted + slack
            assert seconds >= min(wanted, now)


def test_readings_kept_do_not_grow():
    windows = Windows(start=0.0)
    random = np.random.default_rng(0)
    counts = np.zeros(1920, np.uint64)
    sizes = []
    for step in range(1, 1000):
        counts = counts + random.integers(0, 5, 1920).astype(np.uint64)
        windows.add(step * STEP_S, Series({"a": counts}, {}))
        sizes.append(windows.bytes)
    assert max(sizes[500:]) <= 26 * 1920 * 4
    idle = Series({"a": counts}, {})
    for step in range(1000, 1200):
        windows.add(step * STEP_S, idle)
    assert windows.bytes == 1920 * 4


def test_a_series_that_appears_counts_from_zero_and_one_forgotten_too():
    windows = Windows(start=0.0)
    windows.add(5.0, series(3))
    later = Series({"a": np.array([4], np.uint64), "b": np.array([9], np.uint64)}, {"n": 4.0})
    _, view = windows.since(66.0, 60.0, later)
    assert view.counts["a"].tolist() == [1]
    assert view.counts["b"].tolist() == [9]
    windows.forget("a")
    assert since(windows, 66.0, 60.0, series(4)) == [4]


def test_after_a_long_pause_the_oldest_reading_serves():
    windows = Windows(start=0.0)
    windows.add(5.0, series(1))
    seconds, view = windows.since(10_000.0, 60.0, series(5))
    assert seconds == 9_995.0
    assert view.counts["a"].tolist() == [4]


@given(st.lists(st.integers(0, 2**40), min_size=3, max_size=3), st.integers(0, 2**31))
def test_packing_loses_nothing_of_a_difference(counts, more):
    then = np.array([0, *counts, 0], np.uint64)
    now = then + np.uint64(more)
    assert (PackedCounts.of(then).since(now) == more).all()
