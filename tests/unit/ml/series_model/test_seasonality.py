"""Seasons: found when they repeat, not when they do not; the daily job is learned."""

import numpy as np
import pytest

from anomaly_platform.ml.series_model.season_kernels import lay_on_grid
from anomaly_platform.ml.series_model.seasonality import SeasonalProfile

MINUTE = 60_000_000
FREQUENCY = 5 * MINUTE
DAY = 1440 * MINUTE
START = 1_772_409_600_000_000


def clock(days, frequency=FREQUENCY):
    return START + np.arange(days * DAY // frequency, dtype=np.int64) * frequency


def test_noise_has_no_season():
    times = clock(21)
    noise = np.random.default_rng(0).normal(size=(times.size, 6))
    profile = SeasonalProfile.fit(times, noise, FREQUENCY)
    assert profile.period == 0
    np.testing.assert_array_equal(profile.apply(times, noise), noise)


def test_the_six_o_clock_job_is_usual_at_six_and_nowhere_else():
    times = clock(21)
    inputs = np.random.default_rng(1).normal(0, 0.3, size=(times.size, 6))
    at_six = (times % DAY) == 6 * 60 * MINUTE
    inputs[at_six, 2] += 5.0
    profile = SeasonalProfile.fit(times, inputs, FREQUENCY)
    assert profile.period == DAY
    assert profile.strength > 0.5
    left = profile.apply(times, inputs)
    assert np.abs(left[at_six, 2]).max() < 1.5
    # The same jump at noon is as strange as before.
    noon = np.zeros((1, 6))
    noon[0, 2] = 5.0
    moment = np.array([START + 30 * DAY + 720 * MINUTE])
    assert profile.apply(moment, noon)[0, 2] > 4.0


@pytest.mark.parametrize("period", [DAY, 7 * DAY, 100 * FREQUENCY])
def test_periods_are_found(period):
    times = clock(28)
    wave = np.sin(2 * np.pi * (times % period) / period)
    if period == 7 * DAY:
        wave += np.sin(4 * np.pi * (times % period) / period)
    noise = np.random.default_rng(2).normal(0, 0.3, size=(times.size, 6))
    profile = SeasonalProfile.fit(times, noise + wave[:, None], FREQUENCY)
    assert abs(profile.period - period) <= FREQUENCY


def test_too_few_cycles_are_no_season():
    times = clock(2)
    wave = np.sin(2 * np.pi * (times % DAY) / DAY)[:, None] * np.ones(6)
    assert SeasonalProfile.fit(times, wave, FREQUENCY).period < DAY


def test_a_profile_survives_its_arrays():
    times = clock(10)
    wave = np.sin(2 * np.pi * (times % DAY) / DAY)[:, None] * np.ones(6)
    profile = SeasonalProfile.fit(times, wave, FREQUENCY)
    again = SeasonalProfile.from_arrays(profile.to_arrays())
    np.testing.assert_array_equal(again.apply(times, wave), profile.apply(times, wave))


def test_one_row_and_none_have_no_season():
    one = SeasonalProfile.fit(np.array([START]), np.zeros((1, 6)), FREQUENCY)
    assert one.period == 0


@pytest.mark.parametrize("rows", [1, 9, 800])
def test_inputs_lie_on_the_grid_at_their_times_and_less_numpys_mean(rows):
    rng = np.random.default_rng(rows)
    times = START + np.cumsum(rng.integers(1, 4, rows)) * FREQUENCY + rng.integers(0, MINUTE)
    inputs = rng.normal(size=(rows, 5))
    place = np.round((times - times[0]) / FREQUENCY).astype(int)
    grid, wanted = np.zeros((2, place[-1] + 3))

    lay_on_grid(times, inputs, 2, FREQUENCY, grid)

    wanted[place] = inputs[:, 2] - inputs[:, 2].mean()
    assert grid.tobytes() == wanted.tobytes()


def spikes(rows, length=2_880):
    series = np.zeros((length, 6))
    series[rows] = -5.0
    return START + np.arange(length, dtype=np.int64) * 10 * MINUTE, series


@pytest.mark.parametrize("rows", [(251, 576, 1958), (551, 557, 859, 2033)])
def test_a_few_events_that_lie_a_period_apart_by_chance_are_no_season(rows):
    times, series = spikes(list(rows))
    assert SeasonalProfile.fit(times, series, 10 * MINUTE).period == 0


def test_hardly_any_few_events_at_random_times_make_a_season():
    rng = np.random.default_rng(3)
    found = 0
    for number in rng.integers(3, 12, size=200):
        times, series = spikes(rng.choice(2_880, number, replace=False))
        found += SeasonalProfile.fit(times, series, 10 * MINUTE).period > 0
    assert found <= 2


@pytest.mark.parametrize("days", [1, 7])
def test_events_at_one_time_of_every_cycle_are_a_season_however_few_they_are(days):
    times, series = spikes(np.arange(60, 144 * 7 * 4, 144 * days), 144 * 7 * 4)
    assert SeasonalProfile.fit(times, series, 10 * MINUTE).period == days * DAY


def test_a_shift_that_people_begin_and_end_roughly_at_one_time_is_a_season():
    rng = np.random.default_rng(4)
    times, series = spikes([], 144 * 12)
    for day in range(12):
        begin, end = 144 * day + 48 + rng.integers(-6, 7, 2) + np.array((0, 48))
        series[begin:end] = 1.0
    assert SeasonalProfile.fit(times, series, 10 * MINUTE).period == DAY
