"""Sequences of events in every form that they come in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from anomaly_platform import SequenceDetector
from anomaly_platform.ml.backtest.sessions import SessionDetector, SessionParameters


def test_lists_texts_columns_and_frames_say_the_same(fitted: Any) -> None:
    case, detector = fitted("sequence")
    expected = detector.score_samples(case.test).to_numpy()
    lists = case.test["events"].to_list()
    objects = np.empty(len(lists), dtype=object)
    objects[:] = lists
    forms = [lists, objects, [" ".join(s) for s in lists], case.test["events"], pd.Series(lists)]
    for form in forms:
        scores = detector.score_samples(form)
        np.testing.assert_array_equal(np.asarray(scores), expected)
    assert isinstance(detector.predict(pd.Series(lists)), pd.Series)
    assert isinstance(detector.predict(objects), np.ndarray)


def test_scores_are_those_of_the_session_detector(fitted: Any) -> None:
    case, detector = fitted("sequence")
    usual = SessionParameters(folds=2).training
    training = type(usual)(**{**vars(usual), "hidden": 16, "max_epochs": 6})
    direct = SessionDetector.fit(
        case.train["events"].to_list(), parameters=SessionParameters(0.03, 2, training)
    )
    expected = direct.score(case.test["events"].to_list()).score
    np.testing.assert_array_equal(detector.score_samples(case.test).to_numpy(), -expected)


def test_wrong_sequences_are_refused_by_name(fitted: Any) -> None:
    case, detector = fitted("sequence")
    with pytest.raises(ValueError, match="no column 'events'"):
        detector.predict(case.test.rename({"events": "log"}))
    with pytest.raises(TypeError, match="row 1 is None"):
        detector.predict(pl.DataFrame({"events": [["a"], None]}))
    with pytest.raises(ValueError, match="3 training sessions"):
        SequenceDetector().fit([["a"], ["b"], ["c"]])
