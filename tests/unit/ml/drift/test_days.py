"""Days that are quieter or wider than those of training."""

import math

import numpy as np
import pytest

from anomaly_platform.ml.drift.days import DayChange, UsualDays, told, whole_days

PER_DAY = 288


def weeks(days, first=0, *, noise=1.0, swing=5.0, flat_weekends=True, per_day=PER_DAY, seed=0):
    """Return a daily course, flat on two days of seven."""
    day = first + np.arange(days * per_day) / per_day
    course = swing * np.sin(2.0 * np.pi * day)
    if flat_weekends:
        course = course * (day % 7.0 < 5.0)
    values = 50.0 + course + noise * np.random.default_rng(seed).standard_normal(day.size)
    return (day * 86_400e6).astype(np.int64), values


def kinds(usual, **changed):
    return [one.kind for one in usual.compare(*weeks(7, 28, seed=1, **changed))]


@pytest.mark.parametrize("per_day", [288, 1440])
@pytest.mark.parametrize("noise", [1.0, 0.3])
def test_a_third_of_the_noise_is_quieter_on_every_day_and_the_same_on_none(noise, per_day):
    usual = UsualDays.fit(*weeks(28, noise=noise, per_day=per_day))
    assert kinds(usual, noise=noise, per_day=per_day) == [None] * 7
    assert kinds(usual, noise=noise / 3.0, per_day=per_day).count("quieter") >= 6


def test_a_swing_that_grew_is_wider_where_flat_days_hide_it():
    usual = UsualDays.fit(*weeks(28))
    assert kinds(usual, swing=7.5) == ["wider"] * 5 + [None] * 2
    followed = UsualDays.fit(*weeks(28, flat_weekends=False))
    assert kinds(followed, swing=7.5, flat_weekends=False) == [None] * 7


def test_one_that_rests_or_is_known_for_less_than_a_week_tells_nothing():
    resting = weeks(28)[0], np.repeat([0.0, 1.0], 14 * PER_DAY)
    assert math.isnan(UsualDays.fit(*resting).least_noise)
    usual = UsualDays.fit(*weeks(28))
    times, values = weeks(7, 28)
    stuck = usual.compare(times, np.full(values.size, 50.0))
    assert [one.kind for one in stuck] == [None] * 7
    assert kinds(UsualDays.fit(*weeks(6)), noise=0.1) == [None] * 7


def test_half_a_day_and_missing_readings_are_no_day():
    times, values = weeks(2)
    values[PER_DAY // 2 : PER_DAY] = np.nan
    noise, swing = whole_days(times, values)
    assert noise.shape == swing.shape == (1,)
    assert whole_days(times[:0], values[:0])[0].size == 0


def test_it_comes_back_from_a_list_and_knows_nothing_without():
    usual = UsualDays.fit(*weeks(28))
    assert UsualDays(*usual.to_list()) == usual
    assert kinds(UsualDays(), noise=0.1) == [None] * 7


def test_three_of_the_last_seven_days_are_told_with_their_median():
    quiet, wide = DayChange("quieter", 0.3, 1.0), DayChange("wider", 1.0, 1.5)
    assert told([quiet] * 2 + [DayChange()]) == []
    assert told([quiet] * 3 + [DayChange()] * 7) == []
    (said,) = told([quiet, DayChange("quieter", 0.4, 1.0), quiet])
    assert "its noise on 3 of the last 3 days is 0.30 of that of the quietest day" in said
    (said,) = told([wide] * 5 + [DayChange()] * 2)
    assert "its swing on 5 of the last 7 days is 1.50 times that of the widest day" in said
