"""Shapes: what is unlike all earlier windows ranks first, and later rows change nothing."""

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly_platform.ml.backtest.shapes import distances, ranked
from anomaly_platform.ml.backtest.streaming import streaming
from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet

LONGEST = 48
SMALL = MetricFeatureSet(windows=(6, 24, LONGEST), lags=(1, 6))


def cycles(rows, seed=0):
    noise = np.random.default_rng(seed).normal(0.0, 0.2, rows)
    return 10.0 + 3.0 * np.sin(np.arange(rows) * 2.0 * np.pi / LONGEST) + noise


def test_a_day_without_its_swing_is_further_than_any_other_though_no_value_is_unusual():
    values = cycles(1_500)
    values[1_000:1_040] = 10.0 + (cycles(40, 1) - cycles(40, 1).mean()) * 0.05
    found = distances(values, 225, LONGEST)
    assert 1_000 < int(np.argmax(found[225:])) + 225 < 1_060
    assert found[1_030] > 1.5 * np.quantile(found[225:], 0.9)


def test_a_level_is_no_shape():
    values = cycles(1_500)
    higher = values + np.where(np.arange(1_500) >= 1_000, 40.0, 0.0)
    settled = slice(1_000 + 2 * LONGEST, None)
    before, after = (distances(one, 225, LONGEST)[settled] for one in (values, higher))
    assert after == pytest.approx(before, rel=0.5)


def test_distances_are_those_that_plain_arithmetic_finds():
    values = cycles(140)
    found, unit = distances(values, 60, 24), values[:60].std()
    expected = 0.0
    for rows, step in ((2, 1), (8, 1), (16, 1)):
        last = values[140 - rows :]
        squares = [
            np.square((last - last.mean()) - (one - one.mean())).mean()
            for lag in range(rows, 141 - rows, step)
            for one in [values[140 - rows - lag : 140 - lag]]
        ]
        expected += np.sqrt(min(squares)) / unit
    assert found[-1] == pytest.approx(expected, rel=1e-9)


@given(
    values=st.lists(
        st.sampled_from([0.0, 1.0, 1.5, -3.0, 1e9, 1.7e308, -1.7e308, float("nan"), float("inf")]),
        min_size=1,
        max_size=80,
    ),
    cut=st.integers(1, 80),
)
def test_what_comes_later_changes_no_bit(values, cut):
    series = np.array(values)
    first = min(10, cut)
    whole = distances(series, first, 12)
    np.testing.assert_array_equal(distances(series[:cut], first, 12), whole[:cut])
    assert np.isfinite(whole).all()


def test_calls_stay_on_top_and_rows_without_a_score_have_none():
    scores = np.array([0.1, 0.8, np.nan, 0.6, 0.0])
    distance = np.array([3.0, 0.0, 9.0, 0.5, 1e9])
    found = ranked(scores, distance, np.full(5, 1.0), 0.7, LONGEST)
    assert found[1] == 0.8
    assert np.isnan(found[2])
    assert found[3] < found[0] < found[4] < 0.7


def test_the_rows_own_evidence_counts_beside_the_distance():
    scores, p = np.zeros(100), np.ones(100)
    p[50:60] = 1e-4
    found = ranked(scores, np.full(100, 0.5), p, 0.7, LONGEST)
    assert found[59] == found.max()
    assert found[59] > found[49]


def test_a_stream_of_one_metric_ranks_by_shape_what_it_does_not_call():
    values = cycles(900)
    values[600:640] = 10.0 + (cycles(40, 1) - cycles(40, 1).mean()) * 0.05
    times = [datetime(2026, 3, 2) + i * timedelta(minutes=5) for i in range(900)]  # noqa: DTZ001
    frame = pl.DataFrame({"t": times, "flow": values})
    found = streaming(frame, time_column="t", feature_set=SMALL)
    first = 900 - found.score.size
    assert 600 < int(np.argmax(np.where(found.is_anomaly, 0.0, found.score))) + first < 660
    np.testing.assert_array_equal(found.is_anomaly, found.score >= 0.7)
