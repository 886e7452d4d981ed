"""Backtests of one file as it comes."""

import numpy as np
import polars as pl
import pytest

from anomaly_platform.ml.backtest.series import Backtest
from anomaly_platform.ml.backtest.streaming import _as_alarms, streaming
from anomaly_platform.ml.calibration.conformal import score_of_p
from anomaly_platform.ml.scoring.explaining.numbers import COLUMNS
from anomaly_platform.ml.scoring.novelty import Novel
from tests.unit.ml.backtest.frames import SMALL, wide, with_jump


def test_streaming_never_uses_what_comes_later():
    whole = with_jump(wide(700), 400)
    result = streaming(whole, time_column="t", feature_set=SMALL)
    shorter = streaming(whole[:450], time_column="t", probation=105 / 450, feature_set=SMALL)
    assert result.score.size == 700 - 105
    np.testing.assert_array_equal(result.score[: 450 - 105], shorter.score)
    assert result.is_anomaly[400 - 105]


def test_each_alarm_of_a_stream_has_its_reason():
    whole = with_jump(wide(700), 400)
    result = streaming(whole, time_column="t", feature_set=SMALL)
    assert result.is_call.any()
    assert (result.reasons.is_not_null().to_numpy() == result.is_call).all()


def test_an_alarm_about_several_rows_says_so():
    """The tenth row is none by itself, but with the nine before it."""
    p = np.array([0.6] * 20 + [0.001] * 4 + [0.0063] * 5 + [0.011, 0.6])
    nothing = np.zeros(p.size, dtype=np.bool_)
    alone = Backtest(
        times=pl.Series(range(p.size)),
        score=score_of_p(p, 0.01),
        is_anomaly=nothing,
        is_call=nothing,
        metric_scores={},
        causes=pl.Series([None] * p.size, dtype=pl.List(pl.String)),
        reasons=pl.Series([None] * p.size, dtype=pl.String),
        explanations=pl.DataFrame({name: [None] * p.size for name in COLUMNS}, schema=COLUMNS),
        threshold=0.7,
        seconds=1.0,
    )
    quiet = {name: Novel(p, 0, nothing) for name in ("cpu", "mem")}
    result = _as_alarms(alone, 0.01, SMALL, quiet)
    assert np.flatnonzero(result.is_call).tolist() == [29]
    assert result.reasons[29].startswith("the last 10 rows are unusual together")
    assert result.reasons.null_count() == p.size - 1


def test_streaming_starts_with_the_fallback_when_there_is_too_little_for_a_model():
    done = []
    result = streaming(
        wide(300),
        time_column="t",
        probation=0.15,
        feature_set=SMALL,
        progress=lambda rows, total: done.append((rows, total)),
    )
    assert np.isfinite(result.score[5:]).all()
    assert done[-1] == (300, 300)


def test_too_few_rows_are_refused():
    with pytest.raises(ValueError, match="too few"):
        streaming(wide(3), time_column="t")
