"""The isolation forest as an estimator: the platform's forest and calibration, and clear errors."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest

from anomaly_platform import IsolationForest
from anomaly_platform.ml.calibration.conformal import Calibration, score_of_p
from anomaly_platform.ml.detectors.isolation_forest import TAIL_FLOOR, fit_forest, score_forest

X = np.random.default_rng(1).normal(size=(2000, 3))


def test_scores_are_those_of_the_platforms_forest_and_calibration() -> None:
    order = np.random.default_rng(42).permutation(2000)
    forest = fit_forest(np.ascontiguousarray(X[order[:1600]]), 42, contamination=0.1)
    raw = score_forest(forest, np.ascontiguousarray(X[order[1600:]]))
    calibration = Calibration.fit(raw, tail_floor=TAIL_FLOOR)
    expected = score_of_p(calibration.p_value(score_forest(forest, X)), 0.01)
    scores = IsolationForest().fit(X).score_samples(X)
    assert isinstance(scores, np.ndarray)
    np.testing.assert_array_equal(scores, -expected)


def test_a_share_of_alpha_of_ordinary_rows_is_called() -> None:
    fresh = np.random.default_rng(2).normal(size=(4000, 3))
    calls = IsolationForest(alpha=0.05).fit(X).predict(fresh)
    assert 0.02 < (calls == -1).mean() < 0.09


def test_odd_training_rows_are_found_wherever_they_stand() -> None:
    odd = np.random.default_rng(3).normal(12.0, 1.0, size=(60, 3))
    for rows in (np.vstack([X, odd]), np.vstack([odd, X])):
        calls = IsolationForest().fit_predict(rows)
        assert (calls[(rows > 6).all(axis=1)] == -1).mean() > 0.95


def test_columns_are_found_by_name_in_any_library() -> None:
    frame = pl.DataFrame(X, schema=["a", "b", "c"])
    forest = IsolationForest().fit(frame)
    assert forest.feature_names_in_.tolist() == ["a", "b", "c"]
    expected = forest.score_samples(X)
    np.testing.assert_array_equal(forest.score_samples(frame.select("c", "a", "b")), expected)
    theirs = forest.score_samples(frame.to_pandas())
    assert isinstance(theirs, pd.Series)
    np.testing.assert_array_equal(theirs, expected)


def test_an_explanation_names_the_odd_feature_and_comes_as_a_frame() -> None:
    frame = pl.DataFrame(X, schema=["a", "b", "c"])
    forest = IsolationForest().fit(frame)
    rows = pd.DataFrame({"c": [0.1, 5.0], "a": [5.0, 0.0], "b": [0.0, 0.1]}, index=[7, 9])
    told = forest.explain(rows)
    assert isinstance(told, pd.DataFrame)
    assert told.idxmax(axis=1).to_dict() == {7: "a", 9: "c"}
    usual = forest.explain(X[:500]).sum(axis=1)
    assert told.sum(axis=1).min() > usual.mean() + 2


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (pl.DataFrame({"a": [1.0], "c": [1.0]}), r"missing \['b'\]"),
        (pl.DataFrame({"a": [1.0], "b": [1.0], "c": [1.0], "d": [1]}), r"unknown \['d'\]"),
        (pl.DataFrame({"a": [1.0], "b": ["x"], "c": [1.0]}), "'b' is String.*encode"),
        (pl.DataFrame({"a": [1.0], "b": [None], "c": [1.0]}), "'b' is nan in row 0"),
        (np.ones((4, 2)), "2 columns, 3 are needed: a, b, c"),
        (np.ones(3), "reshape"),
        (np.ones((0, 3)), "no rows"),
    ],
)
def test_wrong_rows_are_refused_by_name(rows: object, message: str) -> None:
    forest = IsolationForest().fit(pl.DataFrame(X, schema=["a", "b", "c"]))
    with pytest.raises(ValueError, match=message):
        forest.predict(rows)


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="12 rows, min_samples 100"):
        IsolationForest().fit(X[:12])
    assert IsolationForest(min_samples=10).fit(X[:12]).predict(X[:3]).shape == (3,)
