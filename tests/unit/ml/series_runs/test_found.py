"""What a person sees at a glance is found, and says what it is; the ordinary is no alarm."""

from datetime import UTC, datetime, timedelta
from fnmatch import fnmatch

import numpy as np
import polars as pl
import pytest

from anomaly_platform.ml.backtest.series import train_test
from anomaly_platform.ml.scoring.reasons import STUCK_REASONS

BEGIN = datetime(2026, 3, 2, tzinfo=UTC)


def found(values, cut, minutes, *, changes=False):
    """Return flags and reasons of the rows from `cut` on, after training on those before.

    With `changes`, readings come only when the value changes.
    """
    times = [BEGIN + timedelta(minutes=minutes * n) for n in range(len(values))]
    frame = pl.DataFrame({"time": times, "value": values})
    told = np.append(True, values[1:] != values[:-1]) | ~np.bool_(changes)
    train, test = frame[:cut].filter(told[:cut]), frame[cut:].filter(told[cut:])
    result = train_test(train, test, time_column="time")
    reasons = result.reasons.fill_null("").to_list()
    told = result.is_anomaly | result.is_call
    assert [bool(reason) for reason in reasons] == told.tolist()
    return result.is_anomaly, np.where(result.is_anomaly, reasons, "")


def said(reasons, words):
    return np.array([words in reason for reason in reasons])


def sunshine(days, seed):
    """Return a photovoltaic power every 15 minutes, 0 at night, clouds by day."""
    rng = np.random.default_rng(seed)
    clock = np.arange(days * 96) % 96 / 4.0
    sun = np.clip(np.sin((clock - 6.0) / 12.0 * np.pi), 0.0, None)
    return (5000.0 * sun * rng.uniform(0.4, 1.0, sun.size)).round()


def switching(rows, seed, on=27, off=54):
    """Return a pump's state every minute."""
    rng, values, state = np.random.default_rng(seed), [], 0.0
    while len(values) < rows:
        mean = on if state else off
        values += [state] * max(2, round(rng.normal(mean, mean / 4)))
        state = 1.0 - state
    return np.array(values[:rows])


def counting(rows, seed):
    """Return a counter of requests every five minutes, with a day's course and two resets."""
    rng = np.random.default_rng(seed)
    day = np.arange(rows) / 288
    values = np.cumsum(rng.poisson(3000.0 * (1.2 + np.sin(2.0 * np.pi * day))).astype(float))
    for reset in (rows // 3, rows - 600):
        values[reset:] -= values[reset - 1]
    return values


def test_power_at_night_and_none_at_noon():
    values, cut = sunshine(56, 1), 42 * 96
    night, noon = cut + 5 * 96 + 4, cut + 8 * 96 + 46
    values[night : night + 6] = 900.0
    values[noon : noon + 8] = 0.0
    flags, reasons = found(values, cut, 15)
    at_night, at_noon = said(reasons, "not at rest at 0"), said(reasons, "at 0 for")
    at_noon |= said(reasons, "at rest at 1")
    assert at_night[night - cut : night - cut + 6].sum() >= 4
    assert at_noon[noon - cut : noon - cut + 8].sum() >= 6
    assert "always 0 at this hour in 42 days" in reasons[night - cut]
    assert flags.mean() < 0.03
    assert (at_night.sum() + at_noon.sum()) <= 14


def test_hourly_power_at_night():
    values, cut = sunshine(56, 1)[::4], 42 * 24
    night = cut + 5 * 24 + 1
    values[night : night + 2] = 900.0
    flags, reasons = found(values, cut, 60)
    at_night = said(reasons, "not at rest at 0")
    assert at_night[night - cut : night - cut + 2].all()
    assert at_night.sum() == 2
    assert flags.mean() < 0.03


def test_power_that_comes_every_night_is_accepted():
    values, cut = sunshine(56, 1), 42 * 96
    for day in range(42, 56):
        values[day * 96 + 4 : day * 96 + 10] = 900.0
    _, reasons = found(values, cut, 15)
    nights = said(reasons, "not at rest").reshape(14, 96).any(axis=1)
    assert nights[:3].all()
    assert not nights[4:].any()


def test_a_pump_that_chatters_and_one_that_stays_off():
    values, cut = switching(18 * 1440, 2), 14 * 1440
    chatter, off = cut + 1500, cut + 3000
    values[chatter : chatter + 60] = np.arange(60) % 2
    values[off : off + 480] = 0.0
    flags, reasons = found(values, cut, 1)
    quick, long = said(reasons, "8 changes at most"), said(reasons, "at 0 for")
    assert quick[chatter - cut : chatter - cut + 60].mean() > 0.8
    assert long[off - cut : off - cut + 480].mean() > 0.5
    ordinary = np.ones(flags.size, dtype=bool)
    ordinary[chatter - cut : chatter - cut + 60] = ordinary[off - cut : off - cut + 480] = False
    assert flags[ordinary].mean() < 0.03
    assert quick[ordinary].mean() < 0.005
    assert long[ordinary].mean() < 0.005
    assert any("longest before" in reason and " h, " in reason for reason in reasons[long])


def test_a_pump_that_never_rests():
    values, cut = switching(18 * 1440, 3), 14 * 1440
    values[cut + 2000 : cut + 2400] = 1.0
    _, reasons = found(values, cut, 1)
    assert said(reasons, "at 1 for")[2000:2400].mean() > 0.5


def test_a_door_open_for_hours():
    rng, values = np.random.default_rng(4), np.zeros(35 * 288)
    for day in range(35):
        for at in rng.integers(96, 216, 8):
            values[day * 288 + at : day * 288 + at + rng.integers(1, 6)] = 1.0
    cut = 28 * 288
    values[cut + 500 : cut + 608] = 1.0
    flags, reasons = found(values, cut, 5)
    open_long = said(reasons, "at 1 for")
    assert open_long[500:608].mean() > 0.7
    assert "at 1 for 8.9 h" in reasons[607]
    assert any(fnmatch(reasons[607], one.replace("%", "*")) for one in STUCK_REASONS)
    ordinary = np.delete(np.arange(flags.size), np.arange(500, 608))
    assert flags[ordinary].mean() < 0.03
    assert open_long[ordinary].mean() < 0.005


def test_a_door_that_tells_only_when_it_moves():
    rng, values = np.random.default_rng(4), np.zeros(42 * 1440)
    for day in range(42):
        for at in rng.integers(480, 1080, 10):
            values[day * 1440 + at : day * 1440 + at + rng.integers(1, 26)] = 1.0
    cut = 28 * 1440
    values[cut + 3000 : cut + 3540] = 1.0
    at_night = cut + 5 * 1440 + 120
    values[at_night : at_night + 15] = 1.0
    flags, reasons = found(values, cut, 1, changes=True)
    rows = np.flatnonzero(values[cut:] != np.append(0.0, values[cut:-1]))
    shut, opened = np.searchsorted(rows, (3540, at_night - cut)) + (flags.size - rows.size)
    assert reasons[shut].startswith("at 1 for 9 h, longest before ")
    assert reasons[opened].startswith("not at rest at 02:00 UTC, always 0 at this hour in 28 days")
    ordinary = np.delete(np.arange(flags.size), [shut, opened, opened + 1])
    assert flags[ordinary].mean() < 0.03
    assert (said(reasons, "at 1 for") | said(reasons, "at 0 for"))[ordinary].mean() < 0.005


@pytest.mark.parametrize("digits", [1, 3])
def test_a_sensor_that_repeats_one_value(digits):
    rng = np.random.default_rng(5)
    values = (21.0 + np.cumsum(rng.normal(0.0, 0.05, 5000)) % 3.0).round(digits)
    cut = 3500
    values[cut + 700 : cut + 790] = values[cut + 700]
    flags, reasons = found(values, cut, 5)
    stuck = said(reasons, "repeats")
    assert stuck[700:790].mean() > 0.7
    assert " readings, longest before" in reasons[789]
    assert f"repeats {values[cut + 700]:.6g} for 9" in reasons[789]
    assert flags[~stuck].mean() < 0.03
    assert np.delete(stuck, np.arange(700, 790)).mean() < 0.005


def test_a_counter_that_stops_and_one_that_runs_away():
    values, cut = counting(28 * 288, 6), 21 * 288
    rush, stop = cut + 400, cut + 900
    values[rush:] += np.minimum(np.arange(values.size - rush), 12) * 30000.0
    values[stop:] += values[stop - 1] - values[stop + 24]
    values[stop : stop + 24] = values[stop - 1]
    # The reset ends at what is counted from there on.
    values[-600:] -= values[-600] - 3000.0
    flags, reasons = found(values, cut, 5)
    assert said(reasons, "has not counted for")[900:924].mean() > 0.6
    assert said(reasons, "rises by")[400:413].sum() >= 10
    ordinary = np.ones(flags.size, dtype=bool)
    ordinary[400:413] = ordinary[900:925] = False
    assert flags[ordinary].mean() < 0.03
    # A reset is no alarm.
    reset = values.size - 600 - cut
    assert not flags[reset - 1 : reset + 14].any()


def test_a_meter_that_counts_at_night_and_one_that_stands_still():
    rng, cut = np.random.default_rng(3), 28 * 96
    hour = np.arange(35 * 96) % 96 / 4.0
    used = ((hour > 6) & (hour < 9) | (hour > 17) & (hour < 22)) & (rng.random(hour.size) < 0.5)
    counts = np.where(used, rng.integers(1, 12, hour.size), 0)
    night, still = cut + 2 * 96 + 4, cut + 4 * 96 + 12
    counts[night : night + 12] = 6
    counts[still : still + 144] = 0
    values = np.cumsum(counts).astype(float)
    # An outage of the logger over the night: what it counts up to at its end is nobody's hour.
    values[cut + 96 - 12 : cut + 96 + 16] = np.nan
    _, reasons = found(values, cut, 15)
    at_night, stands = said(reasons, "counts at 0"), said(reasons, "has not counted for")
    assert at_night[night - cut : night - cut + 12].sum() >= 10
    assert at_night.sum() <= 12
    assert "never at this hour in 28 days" in reasons[night - cut + 6]
    assert stands[still - cut : still - cut + 144].sum() >= 40
    assert stands.sum() <= 144


@pytest.mark.parametrize("jitter", [0, 1])
def test_a_daily_job_that_stays_out(jitter):
    rng, values = np.random.default_rng(7), np.zeros(42 * 288)
    for day in range(42):
        at = day * 288 + 24 + rng.integers(-jitter, jitter + 1)
        values[at : at + 6 + rng.integers(-jitter, jitter + 1)] = 40.0
    cut, out = 28 * 288, 33
    values[out * 288 : out * 288 + 60] = 0.0
    flags, reasons = found(values, cut, 5)
    missed = said(reasons, "at 0 for") | said(reasons, "at rest at")
    there = out * 288 - cut
    assert missed[there + 24 : there + 48].any()
    ordinary = np.delete(np.arange(flags.size), np.arange(there, there + 2 * 288))
    assert flags[ordinary].mean() < 0.03
    assert missed[ordinary].mean() < 0.005


@pytest.mark.parametrize("minutes", [5, 15, 60])
@pytest.mark.parametrize("change", ["level", "unit"])
def test_a_lasting_change_is_accepted_after_a_day_and_spikes_are_found(minutes, change):
    per_day, noise = 1440 // minutes, 0.3
    day = np.arange(40 * per_day) / per_day
    values = 20.0 + 4.0 * np.sin(2.0 * np.pi * day)
    values += noise * np.random.default_rng(9).standard_normal(day.size)
    cut, at = 28 * per_day, 30 * per_day
    values[at:] = 1.8 * values[at:] + 32.0 if change == "unit" else values[at:] - 10.0
    spikes = np.arange(at + per_day + 5, values.size - 3, 97)
    values[spikes] += 8.0 * noise * (1.8 if change == "unit" else 1.0)
    flags, _ = found(values, cut, minutes)
    assert flags[at - cut]
    assert flags[spikes - cut].mean() >= 0.95
    later = np.ones(flags.size, dtype=bool)
    later[: at - cut + per_day] = False
    for spike in spikes - cut:
        later[spike : spike + 1 + 60 // minutes] = False
    assert flags[later].mean() < 0.05


@pytest.mark.parametrize("minutes", [30, 60])
def test_a_spike_after_a_lasting_step_leaves_no_alarm_on_the_next_day(minutes):
    per_day = 1440 // minutes
    day = np.arange(44 * per_day) / per_day
    values = 50.0 + 5.0 * np.sin(2.0 * np.pi * day)
    values += 3.0 * np.random.default_rng(0).standard_normal(day.size)
    cut, at = 28 * per_day, 30 * per_day
    values[at:] -= 20.0
    spikes = np.arange(at + per_day + 7, values.size - per_day, 97)
    values[spikes] -= 24.0
    flags, _ = found(values, cut, minutes)
    assert flags[spikes - cut].all()
    assert not flags[spikes - cut + per_day].any()


@pytest.mark.parametrize(
    ("minutes", "noise", "step", "spike"), [(60, 1.0, 5.0, 5 * 24), (30, 3.0, -20.0, 48)]
)
def test_a_spike_to_where_the_series_was_before_a_lasting_step_is_found(
    minutes, noise, step, spike
):
    per_day = 1440 // minutes
    day = np.arange(44 * per_day) / per_day
    values = 50.0 + 5.0 * np.sin(2.0 * np.pi * day)
    values += noise * np.random.default_rng(1).standard_normal(day.size)
    cut, at = 28 * per_day, 30 * per_day
    values[at:] += step
    values[at + spike] -= 8.0 * noise * np.sign(step)
    flags, _ = found(values, cut, minutes)
    assert flags[at + spike - cut]
    assert np.delete(flags[at + per_day - cut :], spike - per_day).mean() < 0.05


def test_a_night_of_another_shape_is_accepted_after_a_day():
    per_day, noise = 96, 0.3
    day, rng = np.arange(44 * per_day) / per_day, np.random.default_rng(0)
    smooth = rng.standard_normal(day.size)
    for n in range(1, day.size):
        smooth[n] = 0.8 * smooth[n - 1] + 0.6 * smooth[n]
    values = 50.0 + 5.0 * np.sin(2.0 * np.pi * day) + noise * smooth
    cut, at = 28 * per_day, 31 * per_day
    values[(day >= 31) & (day % 1 * 24 >= 1) & (day % 1 * 24 < 6)] -= 8.0 * noise
    flags, _ = found(values, cut, 15)
    assert flags[at + 4 - cut]
    assert flags[at + per_day - cut :].mean() < 0.05
