"""What is usual at each hour of a day, against the same told by NumPy's functions."""

import numpy as np
import pytest

from anomaly_platform.ml.series_runs.day_kernels import has_moved
from anomaly_platform.ml.series_runs.days import learn_days
from anomaly_platform.ml.series_runs.fold import fold, no_runs
from anomaly_platform.ml.series_runs.layout import (
    APART,
    DAY_AGO,
    LEVEL,
    RARELY_APART,
    RARELY_MOVED,
    RARELY_OFF,
    RUN_CONSTANTS,
    TYPICALLY_APART,
    USUAL,
    USUAL_LEVEL,
)
from anomaly_platform.ml.series_runs.model import RunModel

_HOUR = 3_600_000_000


@pytest.mark.parametrize("minutes", [5, 17, 30, 60])
def test_lines_through_the_hours_are_those_of_covariance_and_median(minutes):
    rng = np.random.default_rng(minutes)
    times = np.arange(3_000, dtype=np.int64) * minutes * 60_000_000
    values = 50.0 + 10.0 * np.sin(2 * np.pi * times / (24 * _HOUR)) + rng.normal(0, 1, times.size)
    columns = fold(no_runs(), times, values)
    own = np.full(RUN_CONSTANTS, np.nan)

    learn_days(times, values, columns, own)

    apart = np.abs(values - columns[DAY_AGO])
    assert own[RARELY_APART] == np.quantile(apart[np.isfinite(apart)], 0.99)
    typical = columns[APART][np.isfinite(columns[APART])]
    assert own[TYPICALLY_APART] == np.quantile(typical, 0.9)
    hour, part = (times // _HOUR) % 24, (times % _HOUR) / _HOUR
    off = np.empty(times.size)
    for k in range(24):
        t, v = part[hour == k], values[hour == k]
        slope = np.cov(t, v, bias=True)[0, 1] / t.var() if t.var() > 1e-6 else 0.0
        level = np.median(v - slope * t)
        assert own[USUAL + 2 * k : USUAL + 2 * k + 2].tolist() == [level, slope]
        off[hour == k] = np.abs(v - (level + slope * t))
    assert own[RARELY_OFF] == np.quantile(off, 0.9)
    assert own[USUAL_LEVEL] == np.nanmedian(columns[LEVEL])
    moved = np.nanmax(np.abs(columns[LEVEL] - own[USUAL_LEVEL]))
    assert own[RARELY_MOVED] == max(moved, own[RARELY_OFF])


def day_of(hours, minutes):
    """Return times and values of hours' readings, each hour's a line around its mean."""
    part = np.arange(60 // minutes) * minutes * 60_000_000
    times = (np.arange(len(hours), dtype=np.int64)[:, None] * _HOUR + part).ravel()
    return times, np.repeat(hours, part.size).astype(float)


def test_the_level_of_a_day_is_the_median_of_its_hours():
    hours = np.random.default_rng(1).normal(0, 1, 60)
    times, values = day_of(hours, 15)
    level = fold(no_runs(), times, values)[LEVEL].reshape(-1, 4)
    assert np.isnan(level[:24]).all()
    for hour in range(24, 60):
        assert level[hour] == pytest.approx(np.sort(hours[hour - 24 : hour])[12])


def test_a_day_with_an_hour_missing_has_no_level():
    times, values = day_of(np.arange(50.0), 15)
    there = (times // _HOUR) != 30
    level = fold(no_runs(), times[there], values[there])[LEVEL]
    assert np.isfinite(level[(times[there] // _HOUR) == 30 - 1]).all()
    assert np.isnan(level[(times[there] // _HOUR) > 30]).all()


def test_a_series_has_moved_once_a_whole_day_lay_elsewhere():
    rng = np.random.default_rng(2)
    times = np.arange(40 * 48, dtype=np.int64) * 1_800_000_000
    values = 50.0 + 5.0 * np.sin(2 * np.pi * times / (24 * _HOUR)) + rng.normal(0, 1, times.size)
    at = 30 * 48
    values[at:] += 8.0
    model, columns = RunModel.fit(times[:at], values[:at], 288), fold(no_runs(), times, values)
    own = model.constants
    moved = np.array([has_moved(time, columns, n, own) for n, time in enumerate(times.tolist())])
    assert not moved[: at + 24].any()
    assert moved[at + 48 :].all()
    older = RunModel.from_arrays({**model.to_arrays(), "constants": own[:USUAL_LEVEL]}).constants
    assert not any(has_moved(time, columns, n, older) for n, time in enumerate(times.tolist()))
