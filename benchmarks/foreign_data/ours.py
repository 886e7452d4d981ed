"""The platform as one more method of the benchmark: what `anomaly backtest metrics` does.

Nothing is chosen per corpus and no setting differs from its default.
"""

from __future__ import annotations

import polars as pl
from foreign_data.corpora import Case
from foreign_data.verdicts import Verdicts

from anomaly_platform.ml.arrays import Bools
from anomaly_platform.ml.backtest.series import train_test
from anomaly_platform.ml.backtest.streaming import streaming


def platform_scores(case: Case) -> Verdicts:
    """Learn from the train part and score the rest; the labels are not looked at.

    Returns
    -------
    Verdicts
        The score over all metrics together and the decision at the default threshold, NaN and
        False in the train part and where there is none; and which rows are calls.
    """
    frame = case.frame
    if case.streaming:
        result = streaming(frame, time_column="timestamp")
    else:
        train, test = frame[: case.train], frame[case.train :]
        result = train_test(train, test, time_column="timestamp")
    # Of rows with the same time the platform scores the first; the others share its verdict.
    verdicts = pl.DataFrame(
        {
            "timestamp": result.times.dt.replace_time_zone(None),
            "score": result.score,
            "flag": result.is_anomaly,
            "call": result.is_call,
        }
    )
    rows = frame.select(pl.col("timestamp").cast(pl.Datetime("us"))).join(
        verdicts, on="timestamp", how="left", maintain_order="left"
    )
    flags, calls = (_decisions(rows[name]) for name in ("flag", "call"))
    return Verdicts(rows["score"].fill_null(float("nan")).to_numpy(), flags, calls)


def _decisions(column: pl.Series) -> Bools:
    return column.cast(pl.Boolean).fill_null(value=False).to_numpy()
