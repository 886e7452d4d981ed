"""Checks of ``scored_events`` and ``monitoring_stats``: complete, in range, plausible."""

from collections import Counter
from collections.abc import Callable
from datetime import date

import polars as pl
from dagster import (
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetChecksDefinition,
)

from anomaly_platform.checks.scope import Results, StageChecks, partitions_in_scope
from anomaly_platform.platform import Platform
from anomaly_platform.storage.tables.partitions import Partition
from anomaly_platform.streams import MetricStream, Stream

#: A share of anomalies among fewer rows says nothing.
_ENOUGH_DECIDED = 1_000


def build_scored_checks(stream: MetricStream) -> AssetChecksDefinition:
    """Return the checks of ``scored_events``."""
    declared = StageChecks(
        stream,
        "scored_events",
        {
            "scored_rows_equal_feature_rows": (
                "Every row of features is a row in PostgreSQL and in the lake."
            ),
            "score_range": (
                "Scores lie in [0, 1], agree with the decision, and are absent where nothing "
                "can be said."
            ),
            "anomaly_rate": f"At most {stream.max_anomaly_rate:.0%} of the decisions are alarms.",
        },
        warning=("anomaly_rate",),
    )

    @declared.define
    def checks(context: AssetCheckExecutionContext, platform: Platform) -> Results:
        days = partitions_in_scope(context, platform, stream, "scored_events")
        missing: list[str] = []
        wrong: list[str] = []
        decided = anomalies = 0
        for day in days:
            missing += missing_rows(platform, stream, day, platform.warehouse.scores.count_rows)
            problems: Counter[str] = Counter()
            for rows in platform.lake.chunks(
                [day.path], columns=["score", "is_anomaly", "threshold", "status"]
            ):
                problems.update(_range_problems(rows))
                decided += rows["is_anomaly"].count()
                anomalies += int(rows["is_anomaly"].sum())
            wrong.extend(f"{day.partition}: {n} {what}" for what, n in problems.items())
        seen = f"{sum(day.rows for day in days):,} rows of {len(days)} days"
        yield declared.verdict("scored_rows_equal_feature_rows", missing, seen)
        yield declared.verdict("score_range", wrong, seen)
        yield rate_verdict(declared, anomalies, decided, "decisions")

    return checks


def rate_verdict(
    declared: StageChecks, anomalies: int, decided: int, what: str
) -> AssetCheckResult:
    """Return whether there are at most as many anomalies as the stream's definition allows."""
    rate = anomalies / decided if decided else 0.0
    shown = f"{anomalies:,} of {decided:,} {what} ({rate:.2%}) are anomalies"
    too_many = decided >= _ENOUGH_DECIDED and rate > declared.stream.max_anomaly_rate
    return declared.verdict("anomaly_rate", [shown] if too_many else [], shown, rate=rate)


def missing_rows(
    platform: Platform, stream: Stream, day: Partition, count_rows: Callable[[str, date], int]
) -> list[str]:
    """Return what is wrong where features, PostgreSQL and the lake have unlike many rows."""
    features = platform.warehouse.partitions.get(stream.name, "features", day.partition)
    expected = features.rows if features is not None else 0
    stored = count_rows(stream.name, date.fromisoformat(day.partition))
    if expected == stored == day.rows:
        return []
    counts = f"{expected} rows of features, {stored} in PostgreSQL, {day.rows} in the lake"
    return [f"{day.partition}: {counts}"]


def _range_problems(rows: pl.DataFrame) -> dict[str, int]:
    outside = rows.filter(~pl.col("score").is_between(0.0, 1.0) | pl.col("score").is_nan())
    contradicting = rows.filter(pl.col("is_anomaly") != (pl.col("score") >= pl.col("threshold")))
    without = rows.filter(
        (pl.col("status") == "trained")
        & (pl.col("score").is_null() | pl.col("is_anomaly").is_null())
    )
    normal_by_ignorance = rows.filter(
        (pl.col("status") != "trained") & (pl.col("is_anomaly") == pl.lit(value=False))
    )
    found = {
        "scores lie outside [0, 1]": outside.height,
        "decisions contradict score and threshold": contradicting.height,
        "trained rows have no score": without.height,
        "rows without a model are called normal": normal_by_ignorance.height,
    }
    return {what: count for what, count in found.items() if count}


def build_monitoring_checks(stream: Stream) -> AssetChecksDefinition:
    """Return the checks of ``monitoring_stats``."""
    events = f"{stream.event}s"
    declared = StageChecks(
        stream,
        "monitoring_stats",
        {
            "counts_agree": (
                f"{events.capitalize()} and anomalies of a day are those of its scored rows."
            ),
        },
    )

    @declared.define
    def checks(context: AssetCheckExecutionContext, platform: Platform) -> Results:
        days = partitions_in_scope(context, platform, stream, "scored_events")
        problems = []
        for day in days:
            when = date.fromisoformat(day.partition)
            stats = platform.warehouse.monitoring.between(stream.name, when, when)
            known = {
                stat: value
                for subject, stat, value in stats.select("subject", "stat", "value").iter_rows()
                if subject == "day"
            }
            expected = (float(day.rows), float(day.stats["anomalies"]))
            told = (known.get(events, 0.0), known.get("anomalies", 0.0))
            if known and told != expected:
                problems.append(f"{day.partition}: told {told}, scored {expected}")
        yield declared.verdict("counts_agree", problems, f"{len(days)} days")

    return checks
