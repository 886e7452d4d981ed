"""``monitoring_stats``: what a day says about data and model, in numbers.

What belongs here: volumes, rates, drift against the training reference, quality where there are
labels, age and latency. What follows from them is decided elsewhere.
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import date

import numpy as np
import numpy.typing as npt
import polars as pl
from dagster import (
    AssetExecutionContext,
    AssetsDefinition,
    MaterializeResult,
    MetadataValue,
    asset,
)

from anomaly_platform.assets.feature_drift import feature_drift_of_day
from anomaly_platform.assets.feedback import with_feedback
from anomaly_platform.assets.metadata import picture, records_table
from anomaly_platform.assets.partitions import SINGLE_RUN, days_of, to_days
from anomaly_platform.assets.series_drift import READ, FleetReference, SeriesDrift, fleet_reference
from anomaly_platform.platform import Platform
from anomaly_platform.storage.tables.partitions import Partition
from anomaly_platform.streams import MetricStream, Stream

Stats = dict[tuple[str, str], float | None]

_QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
_READ = (*READ, "score", "label")
_SHOWN = ("readings", "anomaly_rate", "quarantine_ratio", "series_drifted_share", "recall")


def build_monitoring_stats(stream: MetricStream, platform: Platform) -> AssetsDefinition:
    """Return the asset ``[stream, monitoring_stats]``."""

    @asset(
        key=stream.key("monitoring_stats"),
        deps=[stream.key("scored_events"), stream.key("quarantine")],
        partitions_def=days_of(platform.start_of(stream)),
        backfill_policy=SINGLE_RUN,
        group_name=stream.name,
        kinds={"postgres"},
        owners=list(stream.owners),
        tags={"stage": "monitoring"},
        description=(
            "Volumes, quarantine ratio, anomaly rate, drift of each series against its training "
            "reference, score quantiles, quality against labels, model age and latency of a day."
        ),
        required_resource_keys={"platform"},
    )
    def monitoring_stats(context: AssetExecutionContext) -> MaterializeResult[None]:
        opened: Platform = context.resources.platform
        reference = fleet_reference(opened, stream)
        records = []
        for day in to_days(context.partition_keys):
            stats = stats_of_day(opened, stream, day, reference)
            opened.warehouse.monitoring.replace_day(stream.name, day, stats)
            shown = {stat: stats.get(("day", stat)) for stat in _SHOWN}
            records.append({"day": str(day), **shown})
        metadata: dict[str, MetadataValue] = {"days": records_table(records)}
        curves = _curves(opened, stream, to_days(context.partition_keys)[-1])
        if curves is not None:
            metadata["precision and recall"] = picture(curves)
        return MaterializeResult(metadata=metadata)

    return monitoring_stats


def stats_of_day(
    platform: Platform, stream: MetricStream, day: date, reference: FleetReference
) -> Stats:
    """Return the numbers of one day by (subject, stat), and store the drift of its series.

    Subject ``day`` is the day as a whole.
    """
    partitions = platform.warehouse.partitions
    stats = ingest_stats(partitions.get(stream.name, "validated_events", day.isoformat()))
    scored = partitions.get(stream.name, "scored_events", day.isoformat())
    if scored is None:
        return stats
    tally = _Tally()
    features = feature_drift_of_day(
        platform, stream, day, reference.features, reference.of_features
    )
    drift = SeriesDrift(stream.retraining, reference, features)
    labels = platform.warehouse.labels.of_day(stream.name, day)
    for chunk in platform.lake.chunks([scored.path], columns=_READ):
        tally.add(with_feedback(chunk, labels))
        drift.add(chunk)
    if tally.readings:
        stats |= tally.volumes()
        stats |= tally.quality()
    stats |= drift.stats()
    platform.warehouse.drift.replace_day(
        stream.name,
        day,
        series=drift.series,
        features=drift.features,
        bundle_version=reference.version,
    )
    stats |= model_and_latency(platform, stream, day)
    return stats


def ingest_stats(validated: Partition | None) -> Stats:
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


@dataclass(slots=True)
class _Tally:
    """What is counted of a day while its chunks pass; of a row it keeps the score and two flags."""

    readings: int = 0
    decided: int = 0
    anomalies: int = 0
    series: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    scores: list[pl.Series] = field(default_factory=list)
    labels: list[npt.NDArray[np.bool_]] = field(default_factory=list)
    flags: list[npt.NDArray[np.bool_]] = field(default_factory=list)

    def add(self, rows: pl.DataFrame) -> None:
        """Count rows, all of their series' rows of the day."""
        self.readings += rows.height
        self.decided += rows["is_anomaly"].count()
        self.anomalies += int(rows["is_anomaly"].sum())
        self.series += rows.select(pl.struct("entity", "metric").n_unique()).item()
        for status, count in rows["status"].value_counts().iter_rows():
            self.statuses[status] += count
        self.scores.append(rows["score"].drop_nulls())
        known = rows.filter(pl.col("label").is_not_null()).sort("entity", "metric", "event_time")
        self.labels.append(known["label"].to_numpy())
        self.flags.append(known["is_anomaly"].fill_null(value=False).to_numpy())

    def volumes(self) -> Stats:
        """Return counts, rates and the scores' quantiles."""
        scores = pl.concat(self.scores)
        return {
            ("day", "readings"): self.readings,
            ("day", "anomalies"): self.anomalies,
            ("day", "anomaly_rate"): self.anomalies / self.decided if self.decided else None,
            ("day", "series"): self.series,
            **{("status", status): count for status, count in self.statuses.items()},
            **{("score", name): scores.quantile(q) for name, q in _QUANTILES.items()},
        }

    def quality(self) -> Stats:
        """Compare decisions with labels, where readings carry any."""
        from anomaly_platform.ml.evaluation.measures import confusion, events_found

        labels, flags = np.concatenate(self.labels), np.concatenate(self.flags)
        if labels.size == 0:
            return {}
        counts = confusion(labels, flags)
        found = events_found(labels, flags)
        return {
            ("day", "labelled"): labels.size,
            ("day", "precision"): counts.precision,
            ("day", "recall"): counts.recall,
            ("day", "false_positive_rate"): counts.false_positive_rate,
            ("day", "labelled_anomalies"): found.size,
            ("day", "event_recall"): float(found.mean()) if found.size else None,
        }


def model_and_latency(platform: Platform, stream: Stream, day: date) -> Stats:
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


def _curves(platform: Platform, stream: MetricStream, day: date) -> bytes | None:
    """Draw precision and recall of the newest day, if its labels have both kinds."""
    from anomaly_platform.ml.evaluation.plots import quality_curves

    scored = platform.warehouse.partitions.get(stream.name, "scored_events", day.isoformat())
    if scored is None:
        return None
    labels_given = platform.warehouse.labels.of_day(stream.name, day)
    columns = ["entity", "metric", "event_time", "score", "label"]
    parts = [
        with_feedback(chunk, labels_given).select("score", "label").drop_nulls()
        for chunk in platform.lake.chunks([scored.path], columns=columns)
    ]
    if not parts:
        return None
    rows = pl.concat(parts)
    labels = rows["label"].to_numpy()
    if not labels.any() or labels.all():
        return None
    return quality_curves(labels, rows["score"].to_numpy(), title=f"{stream.title}, {day}")
