"""Series in memory: their features have the bits of the batch, however they come."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.features.metrics.kernel_threads import run_kernel
from anomaly_platform.ml.features.metrics.series_buffers import SeriesBuffers
from anomaly_platform.ml.features.metrics.series_state import SeriesState

START = int(datetime(2026, 3, 2, 20, tzinfo=UTC).timestamp() * 1e6)
MINUTE = 60_000_000
SETS = [
    MetricFeatureSet(windows=(3, 8, 20), lags=(1, 4), frequency=timedelta(minutes=30)),
    MetricFeatureSet(windows=(5,), lags=(2, 9), frequency=timedelta(hours=5)),
]

values = st.one_of(
    st.just(float("nan")),
    st.sampled_from([0.0, -0.0, 1.0, 0.1]),
    st.floats(-1e6, 1e6),
    st.floats(allow_nan=False, allow_infinity=False),
)
#: Minutes to the next reading: on time, jittered, a gap, a gap longer than the look-back.
steps = st.sampled_from([30, 30, 30, 31, 29, 1, 300, 1440, 5000])
readings = st.lists(st.tuples(steps, values), min_size=1, max_size=130)


def batch(feature_set, times, column):
    return run_kernel(
        feature_set, times, column, np.array([0, times.size]), int(times[0]), times.size
    )


@pytest.mark.parametrize("feature_set", SETS)
@settings(deadline=None, max_examples=60)
@given(rows=readings, known=st.integers(0, 60), sizes=st.lists(st.integers(1, 40), min_size=1))
def test_features_and_state_are_those_of_the_batch(feature_set, rows, known, sizes):
    times = START + np.cumsum([gap * MINUTE for gap, _ in rows])
    column = np.array([value for _, value in rows])
    known = min(known, len(rows) - 1)
    buffers = SeriesBuffers(feature_set)
    buffers.put(7, SeriesState.of(feature_set, times[:known], column[:known]))
    found, at, turn = [], known, 0
    while at < len(rows):
        part = slice(at, min(len(rows), at + sizes[turn % len(sizes)]))
        n = part.stop - part.start
        found.append(buffers.append(np.full(n, 7), times[part], column[part]))
        at, turn = part.stop, turn + 1
    expected = batch(feature_set, times, column)[:, known:]
    np.testing.assert_array_equal(
        np.concatenate(found, axis=1).view(np.int64), np.ascontiguousarray(expected).view(np.int64)
    )
    state = buffers.state(7)
    wanted = SeriesState.of(feature_set, times, column + 0.0)
    np.testing.assert_array_equal(state.times, wanted.times)
    np.testing.assert_array_equal(state.values.view(np.int64), wanted.values.view(np.int64))


def test_series_do_not_touch_each_other_and_places_grow():
    feature_set, rng = SETS[0], np.random.default_rng(1)
    buffers = SeriesBuffers(feature_set)
    series = 2 * buffers.room + 3
    while buffers.room < series:
        buffers.grow()
    times = START + np.arange(90) * 30 * MINUTE
    columns = rng.normal(size=(series, times.size))
    for place in range(series):
        buffers.put(place, SeriesState.empty(feature_set))
    places = np.arange(series)
    found = [
        buffers.append(places, np.full(series, time), columns[:, n]) for n, time in enumerate(times)
    ]
    for place in (0, 1, series - 1):
        mine = np.array([part[:, place] for part in found]).T
        np.testing.assert_array_equal(mine, batch(feature_set, times, columns[place]))
    assert (buffers.newest(places) == times[-1]).all()
