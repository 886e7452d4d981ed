"""Z-score, IQR and MAD: textbook values, the fallback from trailing windows, constants."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from anomaly_platform.ml.detectors.statistical_kernels import (
    EXTREME,
    HISTORY,
    MIN_COUNT,
    P_FLOOR,
    RAW,
    P,
    sigma_p_value,
    statistical_rows,
)
from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.scoring.model_stack import Columns, Room, judge_by_window


@dataclass(frozen=True)
class WindowStatistics:
    """What the rules compare a value with: arrays of one shape, or scalars.

    Attributes
    ----------
    mean, std, q25, q75, median
        Of the history; the standard deviation is that of the population.
    mad
        Median absolute deviation from the median, not scaled.
    count
        Number of values in the history.
    """

    mean: np.ndarray
    std: np.ndarray
    q25: np.ndarray
    q75: np.ndarray
    median: np.ndarray
    mad: np.ndarray
    count: np.ndarray


@dataclass(frozen=True)
class StatisticalScores:
    """The rules' verdict on each of n readings; NaN where the history is too short for one.

    Attributes
    ----------
    z, iqr, mad
        The three scores in their own units, 0 to 1,000, (n,).
    raw
        Their combination in standard deviations, 0 to 1,000, (n,).
    p_value
        Of ``raw`` under a heavy-tailed standard distribution, 1e-12 to 1, (n,).
    """

    z: np.ndarray
    iqr: np.ndarray
    mad: np.ndarray
    raw: np.ndarray
    p_value: np.ndarray


def statistical_scores(value: np.ndarray, history: WindowStatistics) -> StatisticalScores:
    """Score values against histories of which they are no part.

    Parameters
    ----------
    value
        Readings, (n,); NaN = missing, which scores NaN.
    history
        The statistics for each reading, (n,) or scalars.

    Returns
    -------
    StatisticalScores
        NaN wherever ``count`` is below 30.
    """
    table, out = np.empty((len(HISTORY), value.size)), np.empty((5, value.size))
    for row, statistic in zip(table, vars(history).values(), strict=True):
        row[:] = statistic
    statistical_rows(np.ascontiguousarray(value), table, MIN_COUNT, P_FLOOR, out)
    return StatisticalScores(*out)


def history(values: np.ndarray) -> WindowStatistics:
    q25, median, q75 = np.quantile(values, (0.25, 0.5, 0.75))
    mad = np.median(np.abs(values - median))
    moments = (values.mean(), values.std(), q25, q75, median, mad, values.size)
    return WindowStatistics(*(np.float64(m) for m in moments))


NORMAL = np.random.default_rng(1).normal(50.0, 4.0, size=500)


def test_the_scores_are_the_textbooks():
    past = history(NORMAL)
    value = np.array([62.0])
    scores = statistical_scores(value, past)
    assert scores.z[0] == pytest.approx((62.0 - NORMAL.mean()) / NORMAL.std())
    assert scores.iqr[0] == pytest.approx((62.0 - past.q75) / (past.q75 - past.q25))
    assert scores.mad[0] == pytest.approx((62.0 - past.median) / past.mad)


def test_on_normal_data_the_combination_is_the_standard_deviations():
    past = history(np.random.default_rng(2).normal(size=200_000))
    scores = statistical_scores(np.array([2.0, -3.0, 5.0]), past)
    assert scores.raw == pytest.approx([2.0, 3.0, 5.0], rel=0.02)


@given(st.lists(st.floats(-1e6, 1e6), min_size=30, max_size=60), st.floats(-1e7, 1e7))
@settings(max_examples=100, deadline=None)
def test_scores_are_in_range_and_rise_with_the_distance(values, value):
    past = history(np.array(values))
    away = np.sign(value - float(past.median)) or 1.0
    steps = value + away * np.array([0.0, 1.0, 1e3, 1e8])
    scores = statistical_scores(steps, past)
    for score in (scores.z, scores.iqr, scores.mad, scores.raw):
        assert ((score >= 0.0) & (score <= EXTREME)).all()
    assert (np.diff(scores.mad) >= -1e-9).all()
    assert ((scores.p_value >= P_FLOOR) & (scores.p_value <= 1.0)).all()


@given(st.floats(-1e9, 1e9), st.floats(1e-3, 1e3))
@settings(max_examples=50, deadline=None)
def test_a_constant_that_changes_is_extreme_and_one_that_does_not_is_silent(level, change):
    # A sum of equal numbers, divided again, is not always that number.
    past = history(np.full(100, level))
    scores = statistical_scores(np.array([level, level + change * max(1.0, abs(level))]), past)
    assert scores.raw.tolist() == [0.0, EXTREME]
    assert scores.p_value[0] == 1.0
    assert scores.p_value[1] < 1e-8


def test_rounding_of_a_constant_is_no_change():
    level = 0.1
    past = WindowStatistics(*(np.float64(x) for x in (0.1 + 1e-16, 1e-17, 0.1, 0.1, 0.1, 0.0, 99)))
    assert statistical_scores(np.array([level]), past).raw[0] == 0.0


def test_a_mostly_constant_history_leaves_its_usual_exceptions_alone():
    values = np.zeros(100)
    values[::5] = 10.0
    scores = statistical_scores(np.array([0.0, 10.0, 500.0]), history(values))
    assert scores.p_value[0] > 0.5
    assert scores.p_value[1] > 0.01
    assert scores.p_value[2] < 1e-4


def test_one_old_outlier_does_not_hide_the_next():
    values = NORMAL.copy()
    values[10] = 1e6
    assert statistical_scores(np.array([100.0]), history(values)).p_value[0] < 0.01


@pytest.mark.parametrize(("count", "known"), [(0, False), (29, False), (30, True), (500, True)])
def test_nothing_is_said_below_thirty_readings(count, known):
    past = history(NORMAL)
    short = WindowStatistics(**{**vars(past), "count": np.float64(count)})
    scores = statistical_scores(np.array([60.0]), short)
    for score in (scores.z, scores.iqr, scores.mad, scores.raw, scores.p_value):
        assert np.isnan(score[0]) != known


def test_a_missing_reading_has_no_score():
    scores = statistical_scores(np.array([np.nan, 50.0]), history(NORMAL))
    assert np.isnan(scores.raw).tolist() == [True, False]
    assert np.isnan(scores.p_value).tolist() == [True, False]


def p_of(sigma):
    return np.array([sigma_p_value(one, P_FLOOR) for one in sigma])


def test_the_p_value_is_students_with_four_degrees_of_freedom():
    sigma = np.array([0.0, 0.5, 1.0, 3.0, 4.6, 10.0, 100.0, 900.0])
    assert p_of(sigma) == pytest.approx(2 * stats.t.sf(sigma, 4), rel=1e-9)
    assert (np.diff(p_of(np.linspace(0, 1000, 500))) < 0).all()


def test_false_alarms_on_heavy_tails_stay_rare():
    values = np.random.default_rng(5).standard_t(5, size=20_000)
    scores = statistical_scores(values[1000:], history(values[:1000]))
    assert (scores.p_value <= 0.01).mean() < 0.01


def test_the_fallback_reads_the_largest_window():
    feature_set = MetricFeatureSet()
    window = feature_set.windows[-1]
    past = history(NORMAL)
    columns = {f"{name}_{window}": np.full(3, float(x)) for name, x in vars(past).items()}
    columns["value"] = np.array([50.0, 90.0, np.nan])
    features = np.array([columns.get(name, np.zeros(3)) for name in feature_set.names])
    room = Room(3, Columns(feature_set))
    judge_by_window(features, Columns(feature_set), room)
    expected = statistical_scores(columns["value"], past)
    assert room.rules[RAW].tolist()[:2] == expected.raw.tolist()[:2]
    assert room.rules[P, 1] < 0.01 < room.rules[P, 0]
