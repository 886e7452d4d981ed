"""``monitoring_stats``: what a day says about data and models, in numbers.

What belongs here: what became of the raw rows, age and latency, and the days one by one. What else
is counted, and drift, is the kind's own; what follows from the numbers is decided elsewhere.
"""

from collections.abc import Callable
from datetime import date
from typing import Any

import polars as pl
from dagster import AssetExecutionContext, AssetsDefinition, MaterializeResult

from anomaly_platform.assets.metadata import days_result
from anomaly_platform.assets.partitions import days_of, to_days
from anomaly_platform.assets.stage import as_failures, stage_asset
from anomaly_platform.kinds.base import Stats, StreamKind
from anomaly_platform.kinds.feedback import with_feedback
from anomaly_platform.ml.evaluation.miniatures import Drawing, curves
from anomaly_platform.platform import Platform
from anomaly_platform.storage.tables.partitions import Partition
from anomaly_platform.streams import Stream

STAGE = "monitoring_stats"


def build_monitoring_stats(stream: Stream, platform: Platform) -> AssetsDefinition:
    """Return the asset ``[stream, monitoring_stats]``."""

    @stage_asset(
        stream,
        platform,
        STAGE,
        deps=["scored_events", "features", "quarantine"],
        days=days_of(platform.first_day_of(stream)),
        tools=frozenset({"postgres"}),
        tag="monitoring",
        table="monitoring_stats",
        description=platform.kind(stream).descriptions[STAGE],
    )
    def monitoring_stats(context: AssetExecutionContext) -> MaterializeResult[None]:
        opened: Platform = context.resources.platform
        kind = opened.kind(stream)
        days: dict[date, dict[str, Any]] = {}
        with as_failures():
            measure = kind.monitor()
            for day in to_days(context.partition_keys):
                stats = stats_of_day(opened, stream, day, measure)
                opened.warehouse.monitoring.replace_day(stream.name, day, stats)
                known = {stat: stats.get(("day", stat)) for stat in kind.shown_stats}
                days[day] = {
                    "dagster/row_count": len(stats),
                    **{stat: value for stat, value in known.items() if value is not None},
                    **_curves(kind, day),
                }
        return days_result(context, stream.key(STAGE), days, {})

    return monitoring_stats


def stats_of_day(
    platform: Platform, stream: Stream, day: date, measure: Callable[[date, Partition], Stats]
) -> Stats:
    """Return the numbers of one day by (subject, stat), and store its drift.

    Subject ``day`` is the day as a whole.
    """
    partitions = platform.warehouse.partitions
    stats = _ingest_stats(partitions.get(stream.name, "validated_events", day.isoformat()))
    scored = partitions.get(stream.name, "scored_events", day.isoformat())
    if scored is None:
        return stats
    return stats | measure(day, scored) | _model_and_latency(platform, stream, day)


def _ingest_stats(validated: Partition | None) -> Stats:
    """Return what became of a day's raw rows."""
    if validated is None:
        return {}
    rows_in, refused = int(validated.stats["rows_in"]), int(validated.stats["quarantined"])
    return {
        ("day", "rows_in"): rows_in,
        ("day", "duplicates"): int(validated.stats["duplicates"]),
        ("day", "quarantined"): refused,
        ("day", "quarantine_ratio"): refused / rows_in if rows_in else 0.0,
    }


def _model_and_latency(platform: Platform, stream: Stream, day: date) -> Stats:
    """Return the age of the model that scored a day, and how long the scores took to come."""
    scored = platform.scores_of(stream).scored_day(stream.name, day)
    if scored is None:
        return {}
    stats: Stats = {}
    files = platform.warehouse.ledger.raw_files(stream.name, day)
    arrived = [platform.warehouse.ledger.find(stream.name, file.digest) for file in files]
    newest = max((entry.ingested_at for entry in arrived if entry is not None), default=None)
    if newest is not None:
        stats[("day", "latency_seconds")] = (scored.written_at - newest).total_seconds()
    if scored.bundle_version is not None:
        record = platform.warehouse.bundles.get(
            stream.name, stream.scored_by, scored.bundle_version
        )
        if record is not None and record.trained_at is not None:
            age = scored.written_at - record.trained_at
            stats[("model", "age_days")] = age.total_seconds() / 86_400
        stats[("model", "version")] = scored.bundle_version
    return stats


def _curves(kind: StreamKind[Any], day: date) -> dict[str, Drawing]:
    """Draw precision and recall of a day, and its ROC curve, if its labels have both kinds."""
    from anomaly_platform.ml.evaluation.measures import pr_curve, roc_curve

    parts, form, stream = kind.parts, kind.scored, kind.stream
    scored = parts.partitions.get(stream.name, "scored_events", day.isoformat())
    if scored is None:
        return {}
    given = parts.labels.of_day(stream.name, day)
    columns = [*form.key, form.score, "label"]
    rows = [
        with_feedback(chunk, given, form.key).select("label", form.score).drop_nulls()
        for chunk in parts.lake.chunks([scored.path], columns=columns)
    ]
    if not rows:
        return {}
    known = pl.concat(rows)
    labels = known["label"].to_numpy()
    if not labels.any() or labels.all():
        return {}
    scores = known[form.score].to_numpy()
    drawn = {"precision over recall": pr_curve(labels, scores), "ROC": roc_curve(labels, scores)}
    return {"precision and recall": curves(drawn)}
