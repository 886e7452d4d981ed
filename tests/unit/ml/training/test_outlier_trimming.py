"""Calibration rows that look like unreported incidents."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly_platform.ml.calibration.conformal import Calibration
from anomaly_platform.ml.features.metrics.batch import microseconds
from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.training.fit import FleetPolicy, cross_p_values, fit_series
from anomaly_platform.ml.training.outlier_trimming import EXPECTED, NEIGHBOURS, outliers
from tests.builders.readings import series

ROWS = 1600
INCIDENTS = (200, 700, 1450)


def bulk(seed: int = 0, rows: int = ROWS) -> np.ndarray:
    return np.random.default_rng(seed).exponential(0.2, rows)


def with_incidents(scores: np.ndarray) -> np.ndarray:
    scores = scores.copy()
    for start in INCIDENTS:
        scores[start : start + 10] = 3.0
    return scores


def test_incidents_are_set_aside_with_their_neighbours() -> None:
    aside = outliers(with_incidents(bulk()), 0.1, 0.001)
    for start in INCIDENTS:
        assert aside[start - NEIGHBOURS : start + 10 + NEIGHBOURS].all()
    assert aside.mean() < 0.1


def test_without_them_a_later_incident_is_rare_again() -> None:
    scores = with_incidents(bulk())
    kept = ~outliers(scores, 0.1, 0.001)
    assert Calibration.fit(scores).p_value(2.5)[0] > 0.01
    assert Calibration.fit(scores[kept]).p_value(2.5)[0] < 0.001


def test_ordinary_tails_lose_about_the_expected_rows() -> None:
    beyond = []
    for seed in range(40):
        scores = bulk(seed)
        aside = outliers(scores, 0.1, 0.001)
        limit = scores[~aside].max()
        beyond.append(int((scores > limit).sum()))
    assert 0.5 * EXPECTED < np.mean(beyond) < 2.0 * EXPECTED


def test_a_power_law_of_distances_is_no_incident() -> None:
    distances = np.random.default_rng(3).pareto(1.0, ROWS)
    assert outliers(np.log1p(distances), 0.1, 0.001).mean() < 0.1
    assert (np.log1p(distances) > 4.0).any()


@pytest.mark.parametrize(
    ("rows", "share", "alpha"),
    [(900, 0.1, 0.002), (ROWS, 0.0, 0.001), (ROWS, 0.1, 0.01), (1000, 0.1, 0.001)],
    ids=["short", "none allowed", "many rows decide", "none to spare"],
)
def test_nothing_is_set_aside(rows: int, share: float, alpha: float) -> None:
    scores = bulk(1, rows)
    scores[100:110] = 3.0
    assert not outliers(scores, share, alpha).any()


def test_a_series_that_is_often_far_is_like_that() -> None:
    scores = bulk()
    scores[::20] = 3.0
    assert not outliers(scores, 0.1, 0.001).any()


def test_constant_scores_have_no_suspects() -> None:
    assert not outliers(np.full(ROWS, 0.4), 0.1, 0.001).any()


@given(st.integers(0, 1000), st.floats(0.0, 1.0), st.floats(1e-4, 0.05), st.integers(1, 3000))
@settings(deadline=None, max_examples=60)
def test_never_more_than_allowed(seed: int, share: float, alpha: float, rows: int) -> None:
    scores = np.random.default_rng(seed).standard_t(2, rows)
    kept = ~outliers(scores, share, alpha)
    assert kept.all() or (kept.mean() >= 1.0 - share and kept.sum() * alpha >= 1.0)


def test_a_series_is_calibrated_without_them_and_testifies_with_all_rows() -> None:
    rows = 6000
    values = np.random.default_rng(2).normal(50.0, 2.0, rows)
    for start in (5000, 5400, 5800):
        values[start : start + 6] += 30.0
    features = MetricFeatureSet(windows=(6, 24, 48), lags=(1, 6))
    frame = features.compute(series("a", "m", values))
    columns = {name: frame[name].to_numpy() for name in features.names}
    fitted = fit_series(
        ("a", "m"),
        microseconds(frame["event_time"]),
        columns,
        features,
        FleetPolicy(alpha=0.002, evaluate=False),
    )
    assert fitted.scores.size == fitted.p_values.size == fitted.times.size == rows // 5
    assert 18 <= rows // 5 - fitted.model.calibration.rows <= 0.1 * rows // 5
    assert fitted.model.calibration.rows == fitted.ordinary.size


def test_blocks_are_judged_by_kept_rows_but_all_of_them_are_judged() -> None:
    scores = with_incidents(bulk())
    kept = ~outliers(scores, 0.1, 0.001)
    p_values = cross_p_values(scores, kept)
    assert p_values.size == ROWS
    assert (p_values[[i + 5 for i in INCIDENTS]] < 0.001).all()
    everything = cross_p_values(scores, np.ones(ROWS, dtype=np.bool_))
    assert (everything[[i + 5 for i in INCIDENTS]] > 0.005).all()
