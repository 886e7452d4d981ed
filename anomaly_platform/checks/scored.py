"""Checks of ``scored_events`` and ``monitoring_stats``: complete, in range, plausible."""

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

from dagster import AssetChecksDefinition

from anomaly_platform.checks.scope import Days, checks_of, rows_of
from anomaly_platform.kinds.base import StreamKind
from anomaly_platform.kinds.findings import Check, Finding, ScoreLook
from anomaly_platform.platform import Platform
from anomaly_platform.queries.latency import IN_TIME, LOOKED_AT, latency_of
from anomaly_platform.storage.tables.partitions import Partition
from anomaly_platform.streams import Stream

STAGE = "scored_events"
#: A share of anomalies among fewer decisions says nothing.
_ENOUGH_DECIDED = 1_000


def build_scored_checks(described: StreamKind[Any]) -> AssetChecksDefinition:
    """Return the checks of ``scored_events``."""
    stream, decided = described.stream, described.decided
    complete = Check(
        "scored_rows_equal_feature_rows",
        "Every row of features is a row in PostgreSQL and in the lake.",
    )
    rate = Check(
        "anomaly_rate",
        f"At most {stream.max_anomaly_rate:.0%} of the {decided} are alarms.",
        warns=True,
    )

    def look(platform: Platform, days_of: Days) -> Iterator[Finding]:
        kind, days = platform.kind(stream), days_of(STAGE)
        missing: list[str] = []
        seen = ScoreLook()
        for day in days:
            missing += _missing_rows(platform, stream, day)
            kind.look_at_scores(day, seen)
        told = rows_of(days)
        yield Finding(complete.name, missing, told)
        for check in kind.score_checks:
            yield Finding(check.name, seen.problems.get(check.name, []), told)
        share = seen.anomalies / seen.decided if seen.decided else 0.0
        shown = f"{seen.anomalies:,} of {seen.decided:,} {decided} ({share:.2%}) are anomalies"
        too_many = seen.decided >= _ENOUGH_DECIDED and share > stream.max_anomaly_rate
        yield Finding(rate.name, [shown] if too_many else [], shown, {"rate": share})

    return checks_of(stream, STAGE, (complete, *described.score_checks, rate), look)


def _missing_rows(platform: Platform, stream: Stream, day: Partition) -> list[str]:
    features = platform.warehouse.partitions.get(stream.name, "features", day.partition)
    expected = features.rows if features is not None else 0
    stored = platform.scores_of(stream).count_rows(stream.name, date.fromisoformat(day.partition))
    if expected == stored == day.rows:
        return []
    counts = f"{expected} rows of features, {stored} in PostgreSQL, {day.rows} in the lake"
    return [f"{day.partition}: {counts}"]


def build_monitoring_checks(stream: Stream) -> AssetChecksDefinition:
    """Return the checks of ``monitoring_stats``."""
    counted = f"{stream.event}s"
    agree = Check(
        "counts_agree",
        f"{counted.capitalize()} and anomalies of a day are those of its scored rows.",
    )

    fast = Check(
        "predictions_in_time",
        f"{IN_TIME:.0%} of the scoring requests to each route were answered within their target in "
        f"the last {LOOKED_AT // timedelta(hours=1)} hours.",
        warns=True,
    )

    def look(platform: Platform, days_of: Days) -> Iterator[Finding]:
        days = days_of(STAGE)
        problems = []
        for day in days:
            when = date.fromisoformat(day.partition)
            known = platform.warehouse.monitoring.of_day(stream.name, when)
            expected = (float(day.rows), float(day.stats["anomalies"]))
            told = (known.get(counted, 0.0), known.get("anomalies", 0.0))
            if known and told != expected:
                problems.append(f"{day.partition}: told {told}, scored {expected}")
        yield Finding(agree.name, problems, f"{len(days)} days")
        table, target = platform.warehouse.prediction_latency, platform.prediction_target_of(stream)
        latency = latency_of(table, stream.name, target)
        measured = {"p95_seconds": latency.p95, "p99_seconds": latency.p99}
        figures = {name: value for name, value in measured.items() if value is not None}
        yield Finding(fast.name, latency.slow, latency.seen, figures)

    return checks_of(stream, "monitoring_stats", (agree, fast), look)
