"""The promise of the feature layer: however the readings come, the features have the same bits."""

from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.features.metrics.series_buffers import step
from anomaly_platform.ml.features.metrics.series_state import SeriesState
from anomaly_platform.ml.series_runs.layout import STATE_SIZE
from tests.builders.readings import START, series

SETS = [
    MetricFeatureSet(windows=(3, 8, 20), lags=(1, 4), frequency=timedelta(minutes=30)),
    MetricFeatureSet(windows=(5,), lags=(2, 9), frequency=timedelta(hours=5)),
]

values = st.one_of(
    st.none(),
    st.sampled_from([0.0, -0.0, 1.0, 0.1]),
    st.floats(-1e6, 1e6),
    st.floats(allow_nan=False, allow_infinity=False),
)
#: Minutes to the next reading: on time, jittered, a gap, a gap longer than the look-back.
steps = st.sampled_from([30, 30, 30, 31, 29, 1, 300, 1440, 5000])
readings = st.lists(st.tuples(steps, values), min_size=1, max_size=60)


def as_frame(rows):
    times = START + np.cumsum([gap for gap, _ in rows]) * timedelta(minutes=1)
    return series("h", "m", [value for _, value in rows], times=list(times))


def bits(feature_set, features):
    """Feature values as stored (f32 where the schema says so), comparable to the bit."""
    table = features.select(feature_set.names).cast(pl.Float64)
    return table.fill_null(float("nan")).to_numpy().view(np.int64)


def online(feature_set, frame, state=None):
    state = state or SeriesState.empty(feature_set)
    rows = []
    for time, value in frame.select("event_time", "value").iter_rows():
        features, state = step(feature_set, state, time, value)
        state = SeriesState.from_bytes(state.to_bytes())
        rows.append(features)
    return np.array(rows).view(np.int64), state


@pytest.mark.parametrize("feature_set", SETS)
@settings(deadline=None, max_examples=60)
@given(rows=readings)
def test_one_batch_equals_one_reading_at_a_time(feature_set, rows):
    frame = as_frame(rows)
    np.testing.assert_array_equal(
        online(feature_set, frame)[0], bits(feature_set, feature_set.compute(frame))
    )


@pytest.mark.parametrize("feature_set", SETS)
@settings(deadline=None, max_examples=60)
@given(rows=readings)
def test_one_batch_equals_day_by_day(feature_set, rows):
    frame = as_frame(rows)
    whole = feature_set.compute(frame)
    days = []
    for day in frame["event_time"].dt.truncate("1d").unique().sort():
        needed = frame.filter(
            (pl.col("event_time") >= day - timedelta(days=feature_set.lookback_days))
            & (pl.col("event_time") < day + timedelta(days=1))
        )
        days.append(feature_set.compute(needed, since=day))
    np.testing.assert_array_equal(bits(feature_set, pl.concat(days)), bits(feature_set, whole))


@pytest.mark.parametrize("feature_set", SETS)
@settings(deadline=None, max_examples=60)
@given(rows=readings, data=st.data())
def test_a_late_reading_changes_only_what_looks_back_on_it(feature_set, rows, data):
    frame = as_frame(rows)
    late = data.draw(st.integers(0, frame.height - 1))
    on_time = frame.filter(pl.int_range(pl.len()) != late)
    moment = frame["event_time"][late]
    final = feature_set.compute(frame)
    before = feature_set.compute(on_time)
    touched = (pl.col("event_time") >= moment) & (
        pl.col("event_time") < moment + feature_set.lookback
    )
    np.testing.assert_array_equal(
        bits(feature_set, final.filter(~touched)), bits(feature_set, before.filter(~touched))
    )


@settings(deadline=None, max_examples=40)
@given(rows=st.lists(st.tuples(st.just(30), values), min_size=12, max_size=30), data=st.data())
def test_a_late_reading_that_the_state_still_reaches_is_right_at_once(rows, data):
    feature_set = MetricFeatureSet(windows=(3, 5), lags=(1,), frequency=timedelta(minutes=30))
    frame = as_frame(rows)
    late = data.draw(st.integers(frame.height - 2, frame.height - 1))
    on_time = frame.filter(pl.int_range(pl.len()) != late)
    _, state = online(feature_set, on_time)
    expected = bits(feature_set, feature_set.compute(frame))
    features, after = step(feature_set, state, frame["event_time"][late], frame["value"][late])
    if late == frame.height - 1:
        np.testing.assert_array_equal(features.view(np.int64), expected[late])
    _, in_order = online(feature_set, frame)
    assert after.times.tolist() == in_order.times.tolist()
    np.testing.assert_array_equal(after.values, in_order.values)


def test_a_repeated_time_keeps_the_first_reading():
    feature_set = SETS[0]
    _, state = step(feature_set, SeriesState.empty(feature_set), START, 1.0)
    features, after = step(feature_set, state, START, 2.0)
    assert features[0] == 2.0
    assert after is state


def test_predicting_leaves_the_state_alone():
    feature_set = SETS[0]
    _, state = step(feature_set, SeriesState.empty(feature_set), START, 1.0)
    before = state.to_bytes()
    step(feature_set, state, START + timedelta(minutes=30), 9.0)
    assert state.to_bytes() == before


def test_the_state_is_bounded():
    feature_set = SETS[0]
    state = SeriesState.empty(feature_set)
    for i in range(100):
        _, state = step(feature_set, state, START + i * timedelta(minutes=30), float(i))
    assert state.times.size == feature_set.capacity
    assert len(state.to_bytes()) < 400 + 8 * STATE_SIZE


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "cut short"),
        (b"XXX" + bytes(17), "no series state"),
        (b"AFS\x09" + bytes(16), "version 9"),
        (b"AFS\x01" + bytes(12) + b"\x05\x00\x00\x00", "cut short"),
    ],
)
def test_broken_states_are_refused(data, message):
    with pytest.raises(ValueError, match=message):
        SeriesState.from_bytes(data)


def test_wrong_readings_and_foreign_states_are_refused():
    state = SeriesState.empty(SETS[0])
    with pytest.raises(ValueError, match="finite"):
        step(SETS[0], state, START, float("inf"))
    with pytest.raises(ValueError, match="kept for features"):
        step(SETS[1], state, START, 1.0)
