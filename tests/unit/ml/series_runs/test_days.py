"""What is usual at each hour of a day, against the same told by NumPy's functions."""

import numpy as np
import pytest

from anomaly_platform.ml.series_runs.days import learn_days
from anomaly_platform.ml.series_runs.fold import fold, no_runs
from anomaly_platform.ml.series_runs.layout import (
    APART,
    DAY_AGO,
    RARELY_APART,
    RARELY_OFF,
    RUN_CONSTANTS,
    TYPICALLY_APART,
    USUAL,
)

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
