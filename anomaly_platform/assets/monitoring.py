"""``monitoring_stats``: what a day says about data and models, in numbers.

What belongs here: what became of the raw rows, age and latency, and the days one by one. What else
is counted, and drift, is the kind's own; what follows from the numbers is decided elsewhere.
"""

from collections.abc import Callable
from datetime import date
from typing import Any

import polars as pl
from dagster import AssetExecutionContext, AssetsDefinition, MaterializeResult

from anomaly_platform.assets.metadata import metadata_of
from anomaly_platform.assets.partitions import days_of, to_days
from anomaly_platform.assets.stage import stage_asset
from anomaly_platform.kinds.base import Stats, StreamKind
from anomaly_platform.kinds.feedback import with_feedback
from anomaly_platform.platform import Platform
from anomaly_platform.storage.tables.partitions import Partition
from anomaly_platform.streams import Stream

STAGE = "monitoring_stats"


def build_monitoring_stats(stream: Stream, platform: Platform) -> AssetsDefinition:
    """Return the asset ``[stream, monitoring_stats]``."""

    @stage_asset(
        stream,
        STAGE,
        deps=["scored_events", "features", "quarantine"],
        days=days_of(platform.first_day_of(stream)),
        tools=frozenset({"postgres"}),
        tag="monitoring",
        description=platform.kind(stream).descriptions[STAGE],
    )
    def monitoring_stats(context: AssetExecutionContext) -> MaterializeResult[None]:
        opened: Platform = context.resources.platform
        kind = opened.kind(stream)
        measure = kind.monitor()
        records = []
        days = to_days(context.partition_keys)
        for day in days:
            stats = stats_of_day(opened, stream, day, measure)
            opened.warehouse.monitoring.replace_day(stream.name, day, stats)
            shown = {stat: stats.get(("day", stat)) for stat in kind.shown_stats}
            records.append({"day": str(day), **shown})
        curves = _curves(kind, days[-1])
        drawn = {} if curves is None else {"precision and recall": curves}
        return MaterializeResult(metadata=metadata_of({"days": records, **drawn}))

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


def _curves(kind: StreamKind[Any], day: date) -> bytes | None:
    """Draw precision and recall of the newest day, if its labels have both kinds."""
    from anomaly_platform.ml.evaluation.plots import quality_curves

    parts, form, stream = kind.parts, kind.scored, kind.stream
    scored = parts.partitions.get(stream.name, "scored_events", day.isoformat())
    if scored is None:
        return None
    given = parts.labels.of_day(stream.name, day)
    columns = [*form.key, form.score, "label"]
    rows = [
        with_feedback(chunk, given, form.key).select("label", form.score).drop_nulls()
        for chunk in parts.lake.chunks([scored.path], columns=columns)
    ]
    if not rows:
        return None
    known = pl.concat(rows)
    labels = known["label"].to_numpy()
    if not labels.any() or labels.all():
        return None
    return quality_curves(labels, known[form.score].to_numpy(), title=f"{stream.title}, {day}")
