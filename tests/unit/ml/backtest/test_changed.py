"""What is said of series that are no longer as they were learned."""

import numpy as np
import polars as pl
import pytest

from anomaly_platform.ml.backtest.changed import changed, clock_moved, stays_unusual
from anomaly_platform.ml.backtest.series import train_test

FIVE_MINUTES, PER_DAY = 300_000_000, 288


def course(days, begin=0, *, hours=0.0, noise=0.3, swing=5.0, seed=0):
    rows = np.arange(days * PER_DAY)
    day = begin + rows / PER_DAY
    rng = np.random.default_rng(seed)
    values = 20.0 + swing * np.sin(2.0 * np.pi * (day + hours / 24.0))
    return (begin * PER_DAY + rows) * FIVE_MINUTES, values + noise * rng.standard_normal(rows.size)


@pytest.mark.parametrize(
    ("hours", "said"), [(1.0, "60 minutes earlier"), (-1.0, "60 minutes later"), (0.0, None)]
)
def test_a_clock_that_was_set_is_told(hours, said):
    found = clock_moved(*course(21), *course(7, 21, hours=hours, seed=1), FIVE_MINUTES)
    assert said in found if said else found is None


def test_a_course_that_is_noise_or_new_moves_no_clock():
    rough = course(21, swing=0.0), course(7, 21, swing=0.0, seed=1)
    assert clock_moved(*rough[0], *rough[1], FIVE_MINUTES) is None
    times, values = course(7, 21, seed=1)
    upside_down = clock_moved(*course(21), times, -values, FIVE_MINUTES)
    assert upside_down is None
    assert clock_moved(*course(21), *course(2, 21, hours=1.0), FIVE_MINUTES) is None


def test_a_wider_swing_at_another_level_at_the_same_time_moves_no_clock():
    times, values = course(7, 21, seed=1)
    assert clock_moved(*course(21), times, 3.0 * values + 40.0, FIVE_MINUTES) is None


def test_a_series_that_stays_unusual_is_told_since_when():
    times, flags = np.arange(10 * PER_DAY) * FIVE_MINUTES, np.zeros(10 * PER_DAY)
    assert stays_unusual(times, flags, 0.01) is None
    flags[6 * PER_DAY :: 5] = 1.0
    said = stays_unusual(times, flags, 0.01)
    assert said is not None
    assert "20% of its readings are flagged on 4 of the last 7 days, since 1970-01-07" in said


def test_one_bad_day_and_the_promised_share_are_nothing_to_tell():
    times, flags = np.arange(10 * PER_DAY) * FIVE_MINUTES, np.zeros(10 * PER_DAY)
    flags[::50] = 1.0
    flags[9 * PER_DAY :] = 1.0
    assert stays_unusual(times, flags, 0.01) is None
    assert stays_unusual(times, np.full(flags.size, np.nan), 0.01) is None


@pytest.mark.parametrize(("noise", "told"), [(0.3, []), (0.1, ["load"])])
def test_a_metric_that_became_quieter_is_told_beside_the_others(noise, told):
    def table(days, begin, noise, seed):
        times, load = course(days, begin, noise=noise, swing=2.0, seed=seed)
        _, other = course(days, begin, swing=2.0, seed=seed + 10)
        clock = pl.Series(times).cast(pl.Datetime("us"))
        return pl.DataFrame({"time": clock, "load": load, "other": other})

    train, test = table(8, 0, 0.3, 0), table(4, 8, noise, 1)
    result = train_test(train, test, time_column="time")
    said = changed(train, test, result, time_column="time", alpha=0.01)
    assert list(said) == told
    assert all("its noise on 4 of the last 4 days is 0.4" in one for (one,) in said.values())
