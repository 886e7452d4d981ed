"""Calibration: valid p-values, a monotone tail, the one score and its views."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly_platform.ml.calibration.conformal import (
    KNOTS,
    P_FLOOR,
    THRESHOLD,
    Calibration,
    CalibrationError,
    barcode_view,
    p_of_score,
    score_of_p,
)

FINITE = st.floats(-1e6, 1e6)
SAMPLES = st.lists(FINITE, min_size=1, max_size=80)

DISTRIBUTIONS = {
    "normal": lambda rng, n: rng.normal(size=n),
    "heavy": lambda rng, n: rng.standard_t(2, size=n),
    "bounded": lambda rng, n: rng.beta(2, 5, size=n),
    "ties": lambda rng, n: rng.integers(0, 400, size=n).astype(float),
}


def conformal(scores: np.ndarray, s: float) -> float:
    return (1 + int((scores >= s).sum())) / (scores.size + 1)


@given(SAMPLES, st.lists(FINITE, min_size=1, max_size=20))
@settings(max_examples=60, deadline=None)
def test_equals_the_conformal_p_value_up_to_the_largest_score(sample, queries):
    scores = np.array(sample)
    calibration = Calibration.fit(scores)
    inside = np.array([q for q in [*queries, *sample] if q <= scores.max()])
    expected = [conformal(scores, q) for q in inside]
    assert calibration.p_value(inside).tolist() == expected


@given(SAMPLES, st.floats(1e-3, 10.0))
@settings(max_examples=60, deadline=None)
def test_never_increases_and_never_reaches_zero(sample, floor):
    calibration = Calibration.fit(sample, tail_floor=floor)
    grid = np.sort(np.concatenate([sample, np.linspace(-2e6, 2e6, 101), [np.inf, -np.inf]]))
    p = calibration.p_value(grid)
    assert (np.diff(p) <= 0).all()
    assert p.min() >= P_FLOOR
    assert p.max() <= 1.0


def test_the_tail_falls_strictly_from_below_one_over_n_plus_one():
    scores = np.random.default_rng(3).exponential(size=999)
    calibration = Calibration.fit(scores)
    beyond = calibration.p_value(scores.max() + np.array([0.0, 1e-9, 0.5, 1.0, 2.0, 4.0]))
    assert beyond[0] == 2 / 1000
    assert beyond[1] == pytest.approx(1 / 1000, rel=1e-6)
    assert (np.diff(beyond) < 0).all()
    # Exponential data: each further unit multiplies p by about exp(-1).
    assert 0.1 < beyond[4] / beyond[3] < 0.6


def test_the_floor_keeps_a_narrow_calibration_from_false_certainty():
    narrow = 0.5 + 1e-6 * np.arange(200)
    certain = Calibration.fit(narrow).p_value(0.9)[0]
    careful = Calibration.fit(narrow, tail_floor=0.25).p_value(0.9)[0]
    assert certain == pytest.approx(P_FLOOR, rel=1e-3)
    assert careful > 1e-4


def test_what_lies_further_out_never_ranks_beside_what_lies_less_far():
    calibration = Calibration.fit(np.random.default_rng(3).normal(size=999))
    far = calibration.values[np.isfinite(calibration.values)].max() + np.geomspace(0.01, 1e3, 200)
    p = calibration.p_value(far)
    assert (np.diff(p) < 0.0).all()
    assert P_FLOOR < p[-1] < 1e-11 < p[0]
    assert (np.diff(score_of_p(p, 0.001)) > 0.0).all()


def test_a_calibration_of_an_older_version_ends_where_it_ended():
    arrays = Calibration.fit(np.random.default_rng(3).normal(size=999)).to_arrays()
    older = Calibration.from_arrays({**arrays, "tail": arrays["tail"][:3]})
    assert older.p_value([1e3, 2e3]).tolist() == [P_FLOOR, P_FLOOR]


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("alpha", [0.01, 0.05])
def test_alarm_rate_on_exchangeable_data_is_alpha(name, alpha):
    """P(score >= 0.7) over fresh calibrations and fresh rows lies in its binomial interval."""
    trials, rows = 4000, 299
    rng = np.random.default_rng([len(name), int(alpha * 100)])
    alarms = 0
    for _ in range(trials):
        draw = DISTRIBUTIONS[name](rng, rows + 1)
        calibration = Calibration.fit(draw[:rows])
        alarms += int(score_of_p(calibration.p_value(draw[rows]), alpha)[0] >= THRESHOLD)
    spread = 4 * np.sqrt(trials * alpha * (1 - alpha))
    assert alarms <= trials * alpha + spread
    if name != "ties":  # ties only make the p-value larger
        assert alarms >= trials * alpha - spread


def test_thinning_is_conservative_compact_and_close():
    scores = np.random.default_rng(5).normal(size=50_000)
    calibration = Calibration.fit(scores)
    assert all(array.shape[0] <= KNOTS for array in calibration.to_arrays().values())
    queries = np.random.default_rng(6).normal(size=2000)
    queries = queries[queries <= scores.max()]
    exact = np.array([conformal(scores, q) for q in queries])
    p = calibration.p_value(queries)
    assert (p >= exact).all()
    assert (p <= exact * 1.05).all()
    top = np.sort(scores)[-200:]
    assert calibration.p_value(top).tolist() == [conformal(scores, q) for q in top]


def test_save_and_load_keep_every_bit():
    scores = np.random.default_rng(1).gamma(2.0, size=3000)
    calibration = Calibration.fit(scores)
    again = Calibration.from_arrays(
        {name: array.copy() for name, array in calibration.to_arrays().items()}
    )
    grid = np.linspace(-1, 40, 500)
    assert calibration.p_value(grid).tobytes() == again.p_value(grid).tobytes()
    assert again.rows == 3000


def test_one_row_is_the_same_row_in_a_batch():
    calibration = Calibration.fit(np.random.default_rng(2).normal(size=400))
    grid = np.linspace(-6, 12, 333)
    batch = calibration.p_value(grid)
    assert [calibration.p_value(s)[0] for s in grid] == batch.tolist()
    scores = score_of_p(batch, 0.01)
    assert [score_of_p(p, 0.01)[0] for p in batch] == scores.tolist()


def test_constant_scores_calibrate():
    calibration = Calibration.fit(np.full(50, 0.4), tail_floor=0.1)
    below, at, above = calibration.p_value([0.3, 0.4, 0.9])
    assert below == at == 1.0
    assert above < 1 / 51


@pytest.mark.parametrize("bad", [[], [0.1, np.nan], [0.1, np.inf]])
def test_fit_refuses(bad):
    with pytest.raises(CalibrationError):
        Calibration.fit(bad)


def test_refuses_no_scores_nan_scores_and_a_bad_floor():
    with pytest.raises(CalibrationError, match="no scores"):
        Calibration.fit([])
    with pytest.raises(CalibrationError, match="NaN"):
        Calibration.fit([1.0, 2.0]).p_value([0.0, np.nan])
    with pytest.raises(CalibrationError, match="tail_floor"):
        Calibration.fit([1.0], tail_floor=0.0)


@given(st.floats(1e-12, 1.0), st.floats(1e-6, 0.1))
@settings(deadline=None)
def test_score_and_its_inverse(p, alpha):
    score = score_of_p(p, alpha)
    assert 0.0 <= score[0] < 1.0
    assert (score[0] >= THRESHOLD) == (p <= alpha) or p == pytest.approx(alpha, rel=1e-9)
    assert p_of_score(score, alpha)[0] == pytest.approx(p, rel=1e-5, abs=1e-9)


def test_the_score_never_reaches_one_even_where_alpha_is_large():
    assert score_of_p(P_FLOOR, 0.9)[0] < 1.0
    assert p_of_score(score_of_p(P_FLOOR, 0.9), 0.9)[0] > 0.0


@pytest.mark.parametrize("alpha", [0.001, 0.005, 0.01, 0.02, 0.05, 0.1])
def test_alpha_itself_is_the_threshold_exactly(alpha):
    assert score_of_p(alpha, alpha)[0] == THRESHOLD


@pytest.mark.parametrize("bad", [0.0, -0.1, 1.1, np.nan])
def test_score_refuses_what_is_no_p_value(bad):
    with pytest.raises(CalibrationError):
        score_of_p(bad, 0.01)


@pytest.mark.parametrize("bad", [-0.1, 1.0, np.nan])
def test_inverse_refuses_what_is_no_score(bad):
    with pytest.raises(CalibrationError):
        p_of_score(bad, 0.01)


@pytest.mark.parametrize("bad", [0.0, 1.0, -1.0])
def test_alpha_has_a_range(bad):
    with pytest.raises(CalibrationError, match="alpha"):
        score_of_p(0.5, bad)


@pytest.mark.parametrize("bad", [-0.1, 1.1, float("nan")])
def test_a_view_has_a_threshold_of_the_scale(bad):
    with pytest.raises(CalibrationError, match="threshold"):
        barcode_view(0.5, bad)


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_the_ends_of_the_scale_are_thresholds(threshold):
    scores = np.array([0.0, 0.5, 1.0])
    assert ((barcode_view(scores, threshold) >= 50.0) == (scores >= threshold)).all()


@given(st.floats(0, 1), st.floats(0.05, 0.95))
@settings(deadline=None)
def test_the_view_agrees_on_what_is_flagged(score, threshold):
    percent = barcode_view(score, threshold)[0]
    assert 0.0 <= percent <= 100.0
    assert (percent >= 50.0) == (score >= threshold) or percent == pytest.approx(50.0)


def test_the_view_has_the_documented_corners():
    assert barcode_view([0.0, 0.35, 0.7, 1.0]) == pytest.approx([0.0, 25.0, 50.0, 100.0])
