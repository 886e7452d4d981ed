"""The explanations of a backtest's rows: of each time those of its metrics."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from anomaly_platform.ml.scoring.explaining.numbers import COLUMNS, NOVELTY

#: Of a host its own decision counts, as in alerts.
IS_CALL = pl.coalesce("entity_is_call", "is_call").fill_null(value=False)
_IS_ANOMALY = pl.col("is_anomaly") | pl.col("entity_is_anomaly")


def explanations_of(scored: pl.DataFrame) -> pl.DataFrame:
    """Return `COLUMNS` per time of scored rows, ascending; null where nothing is explained.

    The numbers are those of the metric with the highest score among the explained; `explanation`
    has all of them by metric, the highest score first.
    """
    is_told = (_IS_ANOMALY | IS_CALL) & pl.col("explanation").is_not_null()
    told = (
        scored.filter(is_told)
        .sort("event_time", "score", descending=[False, True], nulls_last=True)
        .group_by("event_time", maintain_order=True)
        .agg(pl.col("metric"), pl.col(list(COLUMNS)))
    )
    rows = [
        {name: row[name][0] for name in COLUMNS}
        | {"event_time": row["event_time"], "explanation": _by_metric(row)}
        for row in told.iter_rows(named=True)
    ]
    schema = {"event_time": scored.schema["event_time"], **COLUMNS}
    times = scored.select("event_time").unique().sort("event_time")
    found = times.join(pl.DataFrame(rows, schema=schema), on="event_time", how="left")
    return found.sort("event_time").select(list(COLUMNS))


def by_novelty(explained: pl.DataFrame, calls: Mapping[int, Iterable[str]]) -> pl.DataFrame:
    """Return explanations in which some rows, by place, are told because of metrics' new ranges."""
    rows = explained.rows(named=True)
    for place, metrics in calls.items():
        told = {name: {"parts": {NOVELTY: 1.0}} for name in metrics}
        rows[place] = dict.fromkeys(COLUMNS) | {"explanation": json.dumps(told)}
    return pl.DataFrame(rows, schema=COLUMNS)


def reasons_of(metrics: int) -> pl.Expr:
    """Return a time's reasons, the highest score first, of several metrics each with its name.

    Those of flagged metrics, and of a call those of all that have one.
    """
    reason = pl.col("reason")
    if metrics > 1:
        reason = pl.format("{}: {}", "metric", reason)
    told = (_IS_ANOMALY | IS_CALL) & pl.col("reason").is_not_null()
    scores = pl.col("score").filter(told)
    said = reason.filter(told).sort_by(
        scores, descending=True, nulls_last=True, maintain_order=True
    )
    return pl.when(said.len() > 0).then(said.str.join("; "))


def _by_metric(row: Mapping[str, Any]) -> str:
    evidence = zip(row["metric"], row["explanation"], strict=True)
    return json.dumps({metric: json.loads(one) for metric, one in evidence})
