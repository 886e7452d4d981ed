"""Checks of ``scored_events`` and ``monitoring_stats``: complete, in range, plausible."""

from collections import Counter
from collections.abc import Iterator
from datetime import date

import polars as pl
from dagster import (
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetChecksDefinition,
    AssetCheckSeverity,
    AssetCheckSpec,
    multi_asset_check,
)

from anomaly_platform.checks.scope import partitions_in_scope, verdict
from anomaly_platform.platform import Platform
from anomaly_platform.storage.tables.partitions import Partition
from anomaly_platform.streams import MetricStream

#: A share of anomalies among fewer decided readings says nothing.
_ENOUGH_DECIDED = 1_000


def build_scored_checks(stream: MetricStream) -> AssetChecksDefinition:
    """Return the checks of ``scored_events``."""
    key = stream.key("scored_events")

    @multi_asset_check(
        name=f"{stream.name}__scored_events_checks",
        specs=[
            AssetCheckSpec(
                "scored_rows_equal_feature_rows",
                asset=key,
                description="Every row of features is a row in PostgreSQL and in the lake.",
            ),
            AssetCheckSpec(
                "score_range",
                asset=key,
                description=(
                    "Scores lie in [0, 1], agree with the decision, and are absent where nothing "
                    "can be said."
                ),
            ),
            AssetCheckSpec(
                "anomaly_rate",
                asset=key,
                description=f"At most {stream.max_anomaly_rate:.0%} of the decisions are alarms.",
            ),
        ],
        required_resource_keys={"platform"},
    )
    def checks(context: AssetCheckExecutionContext) -> Iterator[AssetCheckResult]:
        platform: Platform = context.resources.platform
        days = partitions_in_scope(context, platform, stream, "scored_events")
        missing: list[str] = []
        wrong: list[str] = []
        decided = anomalies = 0
        for day in days:
            missing.extend(_missing_rows(platform, stream, day))
            problems: Counter[str] = Counter()
            for rows in platform.lake.chunks(
                [day.path], columns=["score", "is_anomaly", "threshold", "status"]
            ):
                problems.update(_range_problems(rows))
                decided += rows["is_anomaly"].count()
                anomalies += int(rows["is_anomaly"].sum())
            wrong.extend(f"{day.partition}: {n} {what}" for what, n in problems.items())
        seen = f"{sum(day.rows for day in days):,} rows of {len(days)} days"
        yield verdict(stream, "scored_events", "scored_rows_equal_feature_rows", missing, seen)
        yield verdict(stream, "scored_events", "score_range", wrong, seen)
        rate = anomalies / decided if decided else 0.0
        shown = f"{anomalies:,} of {decided:,} decisions ({rate:.2%}) are anomalies"
        too_many = decided >= _ENOUGH_DECIDED and rate > stream.max_anomaly_rate
        yield verdict(
            stream,
            "scored_events",
            "anomaly_rate",
            [shown] if too_many else [],
            shown,
            severity=AssetCheckSeverity.WARN,
            rate=rate,
        )

    return checks


def _missing_rows(platform: Platform, stream: MetricStream, day: Partition) -> list[str]:
    features = platform.warehouse.partitions.get(stream.name, "features", day.partition)
    expected = features.rows if features is not None else 0
    stored = platform.warehouse.scores.count_rows(stream.name, date.fromisoformat(day.partition))
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


def build_monitoring_checks(stream: MetricStream) -> AssetChecksDefinition:
    """Return the checks of ``monitoring_stats``."""
    key = stream.key("monitoring_stats")

    @multi_asset_check(
        name=f"{stream.name}__monitoring_stats_checks",
        specs=[
            AssetCheckSpec(
                "counts_agree",
                asset=key,
                description="Readings and anomalies of a day are those of its scored rows.",
            )
        ],
        required_resource_keys={"platform"},
    )
    def checks(context: AssetCheckExecutionContext) -> Iterator[AssetCheckResult]:
        platform: Platform = context.resources.platform
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
            told = (known.get("readings", 0.0), known.get("anomalies", 0.0))
            if known and told != expected:
                problems.append(f"{day.partition}: told {told}, scored {expected}")
        yield verdict(stream, "monitoring_stats", "counts_agree", problems, f"{len(days)} days")

    return checks
