"""Alarms of a stream: evidence adds up, what goes on is not called again, nothing looks ahead."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from anomaly_platform.ml.calibration.conformal import score_of_p
from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.scoring.alarms import ESCALATION, GATHERED_ROWS, announce, gather

FEATURES = MetricFeatureSet(windows=(6, 24, 40))
QUIET = 30  # rows: three quarters of the longest window
P_VALUES = hnp.arrays(
    np.float64, st.integers(1, 80), elements=st.floats(1e-12, 1.0) | st.just(np.nan)
)


def scores(p_values):
    result = np.full(p_values.size, np.nan)
    known = ~np.isnan(p_values)
    result[known] = score_of_p(p_values[known], 0.01)
    return result


@given(P_VALUES, st.integers(1, 80))
@settings(max_examples=50)
def test_nothing_looks_ahead(p_values, first):
    p = gather(p_values)
    np.testing.assert_array_equal(gather(p_values[:first]), p[:first])
    called = announce(scores(p), p, 0.7, FEATURES)
    part = announce(scores(p[:first]), p[:first], 0.7, FEATURES)
    np.testing.assert_array_equal(part, called[:first])


@given(P_VALUES)
@settings(max_examples=50)
def test_gathering_keeps_gaps_and_loses_no_single_reading(p_values):
    p = gather(p_values)
    np.testing.assert_array_equal(np.isnan(p), np.isnan(p_values))
    known = ~np.isnan(p)
    assert ((p[known] > 0) & (p[known] <= 1)).all()
    # What one reading says alone costs at most the factor of two looks.
    assert (p[known] <= np.minimum(2 * p_values[known], 1.0) + 1e-12).all()


def test_several_unusual_readings_are_more_unusual_than_one():
    p = gather(np.concatenate((np.full(20, 0.5), np.full(GATHERED_ROWS, 0.02))))
    assert p[19] > 0.5
    assert p[-1] < 0.002


def test_one_reading_alone_makes_no_sum():
    p_values = np.concatenate((np.full(20, 0.5), [1e-12], np.full(8, 0.5)))
    p = gather(p_values)
    assert p[20] == pytest.approx(2e-12)
    assert p[21:].min() > 0.01


@pytest.mark.parametrize("correlation", [0.0, 0.6])
def test_ordinary_readings_alarm_no_more_often_than_allowed(correlation):
    from scipy.special import ndtr

    rng = np.random.default_rng(0)
    noise = rng.normal(size=100_000)
    for row in range(1, noise.size):
        noise[row] = correlation * noise[row - 1] + np.sqrt(1 - correlation**2) * noise[row]
    assert (gather(ndtr(noise)) <= 0.01).mean() < 0.012


@given(P_VALUES)
@settings(max_examples=50)
def test_an_alarm_is_called_once_and_again_only_when_stronger(p_values):
    plain = scores(p_values)
    called = announce(plain, p_values, 0.7, FEATURES)
    flagged, alarms = plain >= 0.7, called >= 0.7
    np.testing.assert_array_equal(called[~flagged], plain[~flagged])
    np.testing.assert_array_equal(called[alarms], plain[alarms])
    rows = np.flatnonzero(alarms)
    if flagged.any():
        assert rows[0] == np.flatnonzero(flagged)[0]
    for before, after in pairwise(rows):
        stronger = np.log(p_values[before]) - np.log(p_values[after]) > ESCALATION
        assert after - before > QUIET or stronger
    # Continued alarms still rank above everything that is none.
    held = called[flagged & ~alarms]
    assert (held < 0.7).all()
    assert (held > 0.6999).all()


def test_an_alarm_that_lasts_is_called_again_after_a_while():
    p = np.full(100, 1e-5)
    alarms = announce(scores(p), p, 0.7, FEATURES) >= 0.7
    assert np.flatnonzero(alarms).tolist() == [0, QUIET + 1, 2 * QUIET + 2, 3 * QUIET + 3]
