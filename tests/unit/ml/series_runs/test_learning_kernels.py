"""Compiled loops of learning, against the same said by NumPy's functions."""

import numpy as np
import pytest

from anomaly_platform.ml.series_runs.learning_kernels import find_runs, find_states, sort_by_hour

_MINUTE = 60_000_000


def series(seed):
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.integers(1, 40, 500)) * _MINUTE
    return times, rng.integers(0, 9, 500).astype(float) // rng.integers(1, 5)


@pytest.mark.parametrize("seed", range(6))
def test_runs_and_states_are_those_of_numpy(seed):
    times, values = series(seed)
    found, lengths = np.empty(values.size), np.empty((3, values.size), dtype=np.int64)
    usual = 20 * _MINUTE

    count = find_runs(times, values, usual, found, lengths)

    begins = np.flatnonzero(np.diff(values, prepend=np.nan) != 0.0)
    ends = np.append(begins[1:], values.size)
    clock = np.cumsum(np.minimum(np.diff(times, prepend=times[0]), usual))
    assert found[:count].tolist() == values[begins].tolist()
    wanted = [ends - begins, times[ends - 1], clock[ends - 1] - clock[begins]]
    assert lengths[:, :count].tolist() == np.array(wanted).tolist()

    distinct, place = np.unique(found[:count], return_inverse=True)
    rows = np.bincount(place, weights=lengths[0, :count])
    most = np.argsort(-rows, kind="stable")[:4]
    stays = (rows >= 40.0) & (rows >= 1.1 * np.bincount(place))
    order = np.argsort(found[:count])
    for all_states, wanted in ((1e9, most[stays[most]]), (rows[most].sum(), most)):
        states = np.empty(4)
        known = find_states(found[:count], lengths[0, :count], order, all_states, 40.0, 1.1, states)
        assert states[:known].tolist() == distinct[wanted].tolist()


def test_readings_lie_by_hour_in_order_of_time():
    times, values = series(1)
    t, v, offsets = np.empty(500), np.empty(500), np.empty(25, dtype=np.int64)

    sort_by_hour(times, values, t, v, offsets)

    hours = times // (60 * _MINUTE) % 24
    order = np.argsort(hours, kind="stable")
    assert offsets.tolist() == np.searchsorted(hours[order], np.arange(25)).tolist()
    assert v.tolist() == values[order].tolist()
    assert t.tolist() == (times % (60 * _MINUTE) / (60 * _MINUTE))[order].tolist()
