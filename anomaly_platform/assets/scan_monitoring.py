"""``monitoring_stats`` of a stream of scans: what a day says about data and models, in numbers.

What belongs here: volumes, findings per rule and detector, drift against the scans that the models
learned from, quality where there are labels. What follows from them is decided elsewhere.
"""

from datetime import date
from typing import TYPE_CHECKING

import polars as pl
from dagster import AssetExecutionContext, AssetsDefinition, MaterializeResult, MetadataValue, asset

from anomaly_platform.assets.feedback import with_scan_feedback
from anomaly_platform.assets.metadata import picture, records_table
from anomaly_platform.assets.monitoring import Stats, ingest_stats, model_and_latency
from anomaly_platform.assets.partitions import SINGLE_RUN, days_of, to_days
from anomaly_platform.assets.scan_drift import store_drift
from anomaly_platform.assets.scan_scored import RULE_COLUMNS
from anomaly_platform.assets.scan_window import available_columns, folder_of
from anomaly_platform.platform import Platform
from anomaly_platform.streams import ScanStream

if TYPE_CHECKING:
    from anomaly_platform.ml.drift.distances import ReferenceDistribution

_FIRES_AT = 50.0
_QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
_SHOWN = ("scans", "anomaly_rate", "quarantine_ratio", "psi_max", "recall")


def build_scan_monitoring_stats(stream: ScanStream, platform: Platform) -> AssetsDefinition:
    """Return the asset ``[stream, monitoring_stats]``."""

    @asset(
        key=stream.key("monitoring_stats"),
        deps=[stream.key("scored_events"), stream.key("features"), stream.key("quarantine")],
        partitions_def=days_of(platform.start_of(stream)),
        backfill_policy=SINGLE_RUN,
        group_name=stream.name,
        kinds={"postgres"},
        owners=list(stream.owners),
        tags={"stage": "monitoring"},
        description=(
            "Volumes, quarantine ratio, findings per rule and detector, drift per feature, "
            "confidence quantiles, quality against labels, model age and latency of a day."
        ),
        required_resource_keys={"platform"},
    )
    def monitoring_stats(context: AssetExecutionContext) -> MaterializeResult[None]:
        opened: Platform = context.resources.platform
        reference = _reference(opened, stream)
        records = []
        days = to_days(context.partition_keys)
        for day in days:
            stats = scan_stats_of_day(opened, stream, day, reference)
            opened.warehouse.monitoring.replace_day(stream.name, day, stats)
            shown = {stat: stats.get(("day", stat)) for stat in _SHOWN}
            records.append({"day": str(day), **shown})
        metadata: dict[str, MetadataValue] = {"days": records_table(records)}
        curves = _curves(opened, stream, days[-1])
        if curves is not None:
            metadata["precision and recall"] = picture(curves)
        return MaterializeResult(metadata=metadata)

    return monitoring_stats


def scan_stats_of_day(
    platform: Platform, stream: ScanStream, day: date, reference: "ReferenceDistribution | None"
) -> Stats:
    """Return the numbers of one day by (subject, stat); subject ``day`` is the day as a whole."""
    partitions = platform.warehouse.partitions
    stats = ingest_stats(partitions.get(stream.name, "validated_events", day.isoformat()))
    scored = partitions.get(stream.name, "scored_events", day.isoformat())
    if scored is None:
        return stats
    rows = platform.lake.read(scored.path)
    stats |= _volumes(rows)
    stats |= _quality(with_scan_feedback(rows, platform.warehouse.labels.of_day(stream.name, day)))
    features = partitions.get(stream.name, "features", day.isoformat())
    if reference is not None and features is not None:
        names = list(reference.features)
        watched = platform.lake.read(features.path, columns=names)
        stats |= store_drift(platform, stream, day, watched, rows, reference)
    stats |= model_and_latency(platform, stream, day)
    return stats


def _volumes(rows: pl.DataFrame) -> Stats:
    anomalies = int(rows["is_anomaly"].sum())
    stats: Stats = {
        ("day", "scans"): rows.height,
        ("day", "codes"): rows["epc_code"].n_unique(),
        ("day", "anomalies"): anomalies,
        ("day", "anomaly_rate"): anomalies / rows.height if rows.height else None,
        ("day", "location_interpolated"): int(rows["location_interpolated"].sum()),
        ("day", "business_step_inferred"): int(rows["business_step_inferred"].sum()),
        ("day", "event_type_missing"): int(rows["event_type_missing"].sum()),
        ("day", "epc_malformed"): int(rows["epc_malformed"].sum()),
    }
    for kind, column in RULE_COLUMNS.items():
        stats[("rule", kind)] = int((rows[column] >= _FIRES_AT).sum())
    for detector in ("lstm", "svm", "ml_combined"):
        scores = rows[f"{detector}_score"]
        judged = rows.height - scores.null_count()
        stats[("detector", detector)] = int((scores >= _FIRES_AT).sum()) if judged else None
    for severity, count in rows["severity"].value_counts().iter_rows():
        stats[("severity", severity)] = count
    for name, q in _QUANTILES.items():
        stats[("confidence", name)] = rows["final_confidence"].quantile(q)
    return stats


def _quality(rows: pl.DataFrame) -> Stats:
    """Compare decisions with labels, where scans carry any."""
    from anomaly_platform.ml.evaluation.measures import confusion

    known = rows.filter(pl.col("label").is_not_null())
    if known.is_empty():
        return {}
    counts = confusion(known["label"].to_numpy(), known["is_anomaly"].to_numpy())
    return {
        ("day", "labelled"): known.height,
        ("day", "labelled_anomalies"): int(known["label"].sum()),
        ("day", "precision"): counts.precision,
        ("day", "recall"): counts.recall,
        ("day", "false_positive_rate"): counts.false_positive_rate,
    }


def _reference(platform: Platform, stream: ScanStream) -> "ReferenceDistribution | None":
    """Return how the scans were distributed that the serving set learned from."""
    from anomaly_platform.ml.scans.bundles import read_reference

    champion = platform.warehouse.bundles.champion(stream.name, stream.scored_by)
    if champion is None:
        return None
    return read_reference(
        folder_of(platform, stream, stream.scored_by, champion.version),
        available=available_columns(stream),
    )


def _curves(platform: Platform, stream: ScanStream, day: date) -> bytes | None:
    """Draw precision and recall of the newest day, if its labels have both kinds."""
    from anomaly_platform.ml.evaluation.plots import quality_curves

    scored = platform.warehouse.partitions.get(stream.name, "scored_events", day.isoformat())
    if scored is None:
        return None
    columns = ["epc_code", "event_time", "final_confidence", "label"]
    given = platform.warehouse.labels.of_day(stream.name, day)
    rows = with_scan_feedback(platform.lake.read(scored.path, columns=columns), given).drop_nulls()
    labels = rows["label"].to_numpy()
    if not labels.any() or labels.all():
        return None
    return quality_curves(
        labels, rows["final_confidence"].to_numpy(), title=f"{stream.title}, {day}"
    )
