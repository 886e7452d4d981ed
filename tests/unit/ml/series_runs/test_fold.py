"""A series' runs are the same to the bit however its readings are cut, kept and taken up again."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.features.metrics.series_buffers import (
    SeriesBuffers,
    rows_in_turn,
    step_with_runs,
)
from anomaly_platform.ml.features.metrics.series_state import SeriesState
from anomaly_platform.ml.series_runs.fold import fold, no_runs
from anomaly_platform.ml.series_runs.layout import AWAY_THEN, LASTED, LENGTH
from anomaly_platform.ml.series_runs.run_states import RunStates

START = int(datetime(2026, 3, 2, 20, tzinfo=UTC).timestamp() * 1e6)
MINUTE = 60_000_000
SETS = [
    MetricFeatureSet(windows=(3, 8, 20), lags=(1, 4), frequency=timedelta(minutes=30)),
    MetricFeatureSet(windows=(5,), lags=(2, 9), frequency=timedelta(hours=5)),
]
values = st.one_of(st.just(float("nan")), st.sampled_from([0.0, -0.0, 1.0, 1.0, 7.5]))
steps = st.sampled_from([30, 30, 31, 1, 300, 1440, 5000])
readings = st.lists(st.tuples(steps, values), min_size=1, max_size=130)


def bits(numbers):
    return np.ascontiguousarray(numbers, dtype=np.float64).view(np.int64)


def or_none(value):
    return None if np.isnan(value) else float(value)


def series(rows):
    times = START + np.cumsum([gap * MINUTE for gap, _ in rows])
    return times, np.array([value for _, value in rows])


@given(rows=readings, cuts=st.lists(st.integers(0, 130), max_size=5))
@settings(deadline=None)
def test_days_that_follow_each_other_give_the_bits_of_one_pass(rows, cuts):
    times, column = series(rows)
    whole = no_runs()
    expected = fold(whole, times, column)
    states, found = RunStates(), []
    for part in np.split(np.arange(times.size), sorted(min(c, times.size) for c in cuts)):
        found.append(states.take(("d", "m"), times[part], column[part]))
        states = RunStates.of_table(states.table(since=0))
    np.testing.assert_array_equal(bits(np.concatenate(found, axis=1)), bits(expected))
    np.testing.assert_array_equal(bits(states.of(("d", "m"))), bits(whole))


@pytest.mark.parametrize("feature_set", SETS)
@given(rows=readings, sizes=st.lists(st.integers(1, 60), min_size=1), restart=st.booleans())
@settings(deadline=None, max_examples=60)
def test_readings_one_by_one_have_the_run_columns_of_the_batch(feature_set, rows, sizes, restart):
    times, column = series(rows)
    expected = fold(no_runs(), times, column)
    names = len(feature_set.names)
    buffers = SeriesBuffers(feature_set, 3)
    buffers.put(1, SeriesState.empty(feature_set))
    at, turn = 0, 0
    while at < len(rows):
        part = slice(at, min(len(rows), at + sizes[turn % len(sizes)]))
        asked = buffers.next_row(1, int(times[at]), float(column[at]))
        found = buffers.take(np.full(part.stop - at, 1), times[part], column[part])
        np.testing.assert_array_equal(bits(found[names:]), bits(expected[:, part]))
        np.testing.assert_array_equal(bits(asked[:, 0]), bits(found[:, 0]))
        if restart:
            buffers.put(1, SeriesState.from_bytes(buffers.state(1).to_bytes()))
        at, turn = part.stop, turn + 1
    before = buffers.state(1)
    fold(before.before, before.times, before.values)
    after = no_runs()
    fold(after, times, column)
    np.testing.assert_array_equal(bits(before.before), bits(after))


@given(rows=readings, late=st.integers(1, 12))
@settings(deadline=None)
def test_after_a_late_reading_runs_are_those_of_the_readings_in_order(rows, late):
    feature_set = SETS[0]
    times, column = series(rows)
    place = max(0, times.size - 1 - late)
    others = np.delete(np.arange(times.size), place)
    state = SeriesState.empty(feature_set)
    for n in others:
        _, state = step_with_runs(feature_set, state, int(times[n]), or_none(column[n]))
    held = bool(state.times.size) and times[place] > state.times[0]
    _, state = step_with_runs(feature_set, state, int(times[place]), or_none(column[place]))
    next_time, names = int(times[-1]) + 30 * MINUTE, len(feature_set.names)
    found = rows_in_turn(feature_set, state, [next_time], [1.0])[names:, 0]
    expected = fold(no_runs(), np.append(times, next_time), np.append(column, 1.0))[:, -1]
    if held or times.size == 1:
        np.testing.assert_array_equal(bits(found), bits(expected))


def test_a_state_without_runs_is_still_read():
    feature_set = SETS[0]
    state = SeriesState.of(feature_set, START + np.arange(5) * MINUTE, np.arange(5.0))
    data = state.to_bytes()
    older = data[:3] + b"\x01" + data[4 : len(data) - 8 * no_runs().size]
    read = SeriesState.from_bytes(older)
    np.testing.assert_array_equal(read.values, state.values)
    np.testing.assert_array_equal(bits(read.before), bits(no_runs()))


def test_a_run_counts_readings_and_time_and_knows_the_days_before():
    times = START + np.arange(96 * 3) * 15 * MINUTE
    column = np.where((times // (60 * MINUTE)) % 24 == 3, 2.0, 0.0)
    found = fold(no_runs(), times, column)
    at_three = np.flatnonzero(column)
    assert found[LENGTH][at_three[:4]].tolist() == [1.0, 2.0, 3.0, 4.0]
    assert found[LASTED][at_three[3]] == 45 * MINUTE
    assert found[AWAY_THEN][at_three[::4]].tolist() == [0.0, 1.0, 2.0]
