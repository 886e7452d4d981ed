"""Days that are quieter or wider than those of training."""

import math
import warnings

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
    assert len(whole_days(times, values)) == 1
    assert whole_days(times[:0], values[:0]) == []


def test_a_day_of_few_readings_is_no_day():
    """As of its values and scores: chance alone would make some of them quieter."""
    assert len(whole_days(*weeks(2, per_day=49))) == 0
    assert len(whole_days(*weeks(2, per_day=50))) == 2


def test_the_course_of_a_smooth_series_is_no_noise():
    """A wider swing has longer steps, and a narrower one shorter steps."""
    smooth = {"noise": 0.05, "flat_weekends": False, "per_day": 96}
    usual = UsualDays.fit(*weeks(28, **smooth))
    assert kinds(usual, **smooth, swing=1.5) == [None] * 7
    assert kinds(usual, **(smooth | {"noise": 0.015})) == ["quieter"] * 7


@pytest.mark.parametrize("smooth", [True, False])
def test_days_with_another_interval_are_not_compared(smooth):
    own = {"noise": 0.0 if smooth else 1.0, "flat_weekends": False}
    usual = UsualDays.fit(*weeks(28, **own))
    each_minute = usual.compare(*weeks(7, 28, per_day=1440, **own, seed=1))
    assert [one.is_known for one in each_minute] == [False] * 7
    assert not any(one.is_known for one in UsualDays(*usual.to_list()[:3]).compare(*weeks(7)))
    assert all(one.is_known for one in usual.compare(*weeks(7, 28, per_day=270, **own)))


@pytest.mark.parametrize("step", [1.0, 0.1])
def test_a_difference_of_one_step_of_rounding_is_none(step):
    def rounded(noise, **other):
        times, values = weeks(noise=noise, flat_weekends=False, swing=0.0, **other)
        return times, np.round(values / step) * step

    usual = UsualDays.fit(*rounded(1.1 * step, days=28))
    one_step = usual.compare(*rounded(0.7 * step, days=7, first=28, seed=1))
    assert [one.kind for one in one_step] == [None] * 7
    loud = UsualDays.fit(*rounded(3.0 * step, days=28))
    several = loud.compare(*rounded(step, days=7, first=28, seed=1))
    assert [one.kind for one in several] == ["quieter"] * 7


def test_a_day_that_is_both_is_told_once_for_both():
    usual = UsualDays.fit(*weeks(28))
    days = usual.compare(*weeks(5, 28, seed=1, swing=7.5, noise=0.3))
    assert [one.kind for one in days] == ["wider"] * 5
    found = told(days)
    assert (found.is_quieter, found.is_wider) == (True, True)
    wider, quieter = found.words.split(". At the same time its ")
    assert "ordinary readings may be flagged" in wider
    assert "small anomalies may be missed" in quieter


def test_readings_near_the_largest_float_are_days_without_a_warning():
    times, values = weeks(28)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        usual = UsualDays.fit(times, np.copysign(1.7e308, values - 50.0))
        assert kinds(usual) == [None] * 7


def test_it_comes_back_from_a_list_and_knows_nothing_without():
    usual = UsualDays.fit(*weeks(28))
    assert UsualDays(*usual.to_list()) == usual
    assert kinds(UsualDays(), noise=0.1) == [None] * 7


def test_three_of_the_last_seven_days_are_told_with_their_median():
    quiet, wide = DayChange("quieter", 0.3, 1.0), DayChange("wider", 1.0, 1.5)
    assert told([quiet] * 2 + [DayChange()]) is None
    assert told([quiet] * 3 + [DayChange()] * 7) is None
    found = told([quiet, DayChange("quieter", 0.4, 1.0), quiet])
    assert "its noise on 3 of the last 3 days is 0.30 of that of the quietest day" in found.words
    assert not found.is_wider
    found = told([wide] * 5 + [DayChange()] * 2)
    assert "its swing on 5 of the last 7 days is 1.50 times that of the widest day" in found.words
    assert not found.is_quieter
