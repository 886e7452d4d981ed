"""Backtests: train and test, through the platform's own pipeline."""

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from anomaly_platform.ml.backtest.series import feature_set_for, train_test
from tests.unit.ml.backtest.frames import SMALL, START, wide, with_jump


def test_train_test_finds_the_jump_and_names_it():
    result = train_test(
        wide(600), with_jump(wide(200, 1, 600), 50), time_column="t", feature_set=SMALL
    )
    assert result.score.shape == (200,)
    assert set(result.metric_scores) == {"cpu", "mem"}
    assert int(np.argmax(result.score)) == 50
    assert result.is_anomaly[50]
    assert set(result.causes[50]) == {"cpu", "mem"}
    assert result.is_anomaly.mean() < 0.1
    assert result.rows_per_second > 0


def test_a_test_part_that_does_not_follow_has_no_past():
    result = train_test(wide(600), wide(100, 1, 0), time_column="t", feature_set=SMALL)
    assert result.score.shape == (100,)
    assert np.isfinite(result.score).all()
    assert not result.is_anomaly[:32].any()  # two thirds of the longest window


def test_pandas_and_missing_values_are_taken():
    test = wide(50, 1, 600).with_columns(
        cpu=pl.when(pl.int_range(pl.len()) == 3).then(None).otherwise(pl.col("cpu"))
    )
    result = train_test(wide(600).to_pandas(), test.to_pandas(), time_column="t", feature_set=SMALL)
    assert np.isnan(result.metric_scores["cpu"][3])
    assert np.isfinite(result.score).all()


def test_the_longest_window_covers_a_day_within_bounds():
    for minutes, rows in ((5, 288), (1, 1440), (60, 288), (0.1, 2880)):
        times = pl.Series([START + i * timedelta(minutes=minutes) for i in range(50)])
        feature_set = feature_set_for(times)
        assert feature_set.windows[-1] == rows
        assert feature_set.frequency == timedelta(minutes=minutes)


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match="same metrics"):
        train_test(wide(10), wide(10).drop("mem"), time_column="t")
    with pytest.raises(ValueError, match="must have rows"):
        train_test(wide(10), wide(0), time_column="t")


@pytest.mark.parametrize("days", [10, 21])
@pytest.mark.parametrize(("noise", "ramp", "step"), [(2.0, 0.5, 0.0), (0.3, 0.0, 3.0)])
def test_slow_change_and_new_levels_are_followed_with_and_without_a_season(days, noise, ramp, step):
    rows, known = (days + 8) * 288, days * 288
    since = np.maximum(np.arange(rows) - known, 0) / 288
    values = 50.0 + 5.0 * np.sin(2 * np.pi * np.arange(rows) / 288)
    values += np.random.default_rng(3).normal(0.0, noise, rows)
    values += ramp * since + step * (since > 1)
    values[-100] += 20.0 * noise
    times = [START + i * timedelta(minutes=5) for i in range(rows)]
    whole = pl.DataFrame({"t": times, "m": values})
    result = train_test(whole[:known], whole[known:], time_column="t")
    settled = result.is_anomaly[2 * 288 : -100]
    assert settled.mean() < 0.025
    assert result.is_anomaly[-100]


def changed_for_good(change, swing, days=21):
    """Return flags of eight days after a change, and where each 97th reading is clearly off."""
    rows, known = (days + 8) * 288, days * 288
    late = np.arange(rows) > known + 288
    rough = np.where(late & (change == "noise"), 3.0, 1.0)
    wide = np.where(late & (change == "swing"), 0.2, 1.0)
    values = 50.0 + wide * swing * np.sin(2 * np.pi * np.arange(rows) / 288)
    values += rough * np.random.default_rng(4).normal(0.0, 1.0, rows)
    values += 10.0 * (late & (change == "level"))
    off = np.arange(known + 3 * 288, rows - 12, 97)
    values[off] -= 10.0 * rough[off]
    times = [START + i * timedelta(minutes=5) for i in range(rows)]
    whole = pl.DataFrame({"t": times, "m": values})
    flags = train_test(whole[:known], whole[known:], time_column="t").is_anomaly
    return flags[3 * 288 :], off - known - 3 * 288


@pytest.mark.parametrize("swing", [0.0, 5.0])
@pytest.mark.parametrize("change", ["noise", "swing", "level"])
def test_what_is_odd_is_found_after_a_change_that_is_followed(change, swing):
    flags, off = changed_for_good(change, swing)
    assert flags[off].mean() > 0.95
    ordinary = np.ones(flags.size, dtype=bool)
    for row in off:
        ordinary[row : row + 12] = False
    assert flags[ordinary].mean() < 0.06
