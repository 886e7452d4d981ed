"""``scored_events``: a day's readings as the champion sees them, in PostgreSQL and the lake.

What belongs here: feeding chunks to the scorer and replacing the day. How a score comes about is
in ``ml.scoring``; that nobody sees half a day is ``resources.scores``' promise.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

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

from anomaly_platform.assets.metadata import column_schema, picture, records_table
from anomaly_platform.assets.models import open_version
from anomaly_platform.assets.partitions import SINGLE_RUN, days_of, to_days
from anomaly_platform.incidents.anomaly_alerts import METRIC_ROWS, DayAlerts
from anomaly_platform.platform import DETECTOR, Platform
from anomaly_platform.storage.postgres.transactions import StaleInput
from anomaly_platform.streams import MetricStream

if TYPE_CHECKING:
    from anomaly_platform.ml.scoring.batch import FleetScorer

STAGE = "scored_events"
_HISTOGRAM_BINS = 50

SCORED_SCHEMA = pl.Schema(
    {
        "bucket": pl.UInt8(),
        "entity": pl.String(),
        "metric": pl.String(),
        "event_time": pl.Datetime("us", "UTC"),
        "event_id": pl.String(),
        "value": pl.Float64(),
        "score": pl.Float64(),
        "is_anomaly": pl.Boolean(),
        "threshold": pl.Float64(),
        "status": pl.String(),
        "p_value": pl.Float64(),
        "raw_score": pl.Float64(),
        "z_score": pl.Float64(),
        "iqr_score": pl.Float64(),
        "mad_score": pl.Float64(),
        "label": pl.Boolean(),
        "entity_score": pl.Float64(),
        "entity_is_anomaly": pl.Boolean(),
        "causes": pl.String(),
        "metadata": pl.String(),
    }
)
"""A scored day in the lake, and what goes into PostgreSQL of it."""


@dataclass(slots=True)
class ScoredDayResult:
    """What became of one day; `skipped` says why nothing was written."""

    day: date
    rows: int = 0
    anomalies: int = 0
    skipped: str = ""


def build_scored_events(stream: MetricStream, platform: Platform) -> AssetsDefinition:
    """Return the asset ``[stream, scored_events]``."""

    @asset(
        key=stream.key(STAGE),
        deps=[stream.key("features"), stream.key("champion")],
        partitions_def=days_of(platform.start_of(stream)),
        backfill_policy=SINGLE_RUN,
        group_name=stream.name,
        kinds={"postgres", "parquet"},
        owners=list(stream.owners),
        tags={"stage": "scored"},
        description=(
            "Every reading of the day with its score, decision and the evidence. The day is "
            f"replaced as a whole; BI reads bi_{stream.name}_scores."
        ),
        required_resource_keys={"platform"},
    )
    def scored_events(context: AssetExecutionContext) -> MaterializeResult[None]:
        opened: Platform = context.resources.platform
        ensure_tables(opened, stream)
        version, scorer = current_scorer(opened, stream)
        histogram = np.zeros(_HISTOGRAM_BINS, dtype=np.int64)
        results = []
        for day in to_days(context.partition_keys):
            result = score_day(opened, stream, day, version, scorer, histogram)
            if result.skipped:
                context.log.warning("%s: %s", day, result.skipped)
            results.append(result)
        return MaterializeResult(
            metadata={
                "dagster/row_count": MetadataValue.int(sum(r.rows for r in results)),
                "anomalies": MetadataValue.int(sum(r.anomalies for r in results)),
                "bundle version": MetadataValue.text("none" if version is None else str(version)),
                "days": records_table(
                    [
                        {
                            "day": str(r.day),
                            "rows": r.rows,
                            "anomalies": r.anomalies,
                            "skipped": r.skipped,
                        }
                        for r in results
                    ]
                ),
                "scores": picture(_histogram_picture(histogram, opened.threshold_of(stream))),
                "dagster/table_name": MetadataValue.text(f"scored_{stream.name}"),
                "dagster/column_schema": column_schema(SCORED_COLUMNS),
            }
        )

    return scored_events


def ensure_tables(platform: Platform, stream: MetricStream) -> None:
    """Make the tables and views of a user's own stream when it is scored for the first time."""
    scores = platform.warehouse.scores
    if not scores.has_tables(stream.name, stream.entity_field):
        scores.ensure_metric_tables(stream.name, entity_field=stream.entity_field)


def current_scorer(platform: Platform, stream: MetricStream) -> "tuple[int | None, FleetScorer]":
    """Return the champion's version and a scorer over its bundle, or the fallback's without."""
    from anomaly_platform.ml.scoring.batch import FleetScorer

    threshold = platform.threshold_of(stream)
    own = platform.warehouse.labels.thresholds.all(stream.name)
    thresholds = {series: one.threshold for series, one in own.items()}
    champion = platform.warehouse.bundles.champion(stream.name, DETECTOR)
    if champion is None:
        alpha = platform.alpha_of(stream)
        return None, FleetScorer.without_models(
            stream.features, alpha=alpha, threshold=threshold, thresholds=thresholds
        )
    bundle = open_version(platform, stream, champion.version)
    deleted = platform.warehouse.bundles.deleted_series(stream.name, DETECTOR, champion.version)
    return champion.version, FleetScorer(
        bundle, threshold=threshold, thresholds=thresholds, deleted=deleted
    )


def score_day(
    platform: Platform,
    stream: MetricStream,
    day: date,
    version: int | None,
    scorer: "FleetScorer",
    histogram: npt.NDArray[np.int64],
) -> ScoredDayResult:
    """Score one day's features and replace the day, unless something newer has been written."""
    source = platform.warehouse.partitions.get(stream.name, "features", day.isoformat())
    if source is None:
        return ScoredDayResult(day, skipped="the day has no features")

    def chunks() -> Iterator[pl.DataFrame]:
        for features in platform.lake.chunks([source.path]):
            scored = _for_lake(scorer.score(features))
            finite = scored["score"].drop_nulls().to_numpy()
            histogram[:] += np.histogram(finite, bins=_HISTOGRAM_BINS, range=(0.0, 1.0))[0]
            yield scored

    # To the lake first: the transaction that replaces the day then only copies.
    written = platform.lake.write(
        STAGE, stream.name, day.isoformat(), chunks(), schema=SCORED_SCHEMA
    )
    try:
        stored = platform.warehouse.scores.replace_day(
            stream.name,
            day,
            platform.lake.chunks([written.path]),
            watermark=source.watermark,
            detector=DETECTOR,
            bundle_version=version,
            alerts=DayAlerts(platform.outbox, stream.name, stream.title, day, METRIC_ROWS),
        )
    except StaleInput as error:
        return ScoredDayResult(day, skipped=str(error))
    platform.warehouse.partitions.publish(
        stream.name,
        STAGE,
        day.isoformat(),
        path=written.path,
        rows=stored.rows,
        watermark=source.watermark,
        stats={"anomalies": stored.anomalies, "bundle_version": version},
    )
    if version is not None:
        platform.warehouse.scores.note_use(stream.name, day, DETECTOR, version)
    return ScoredDayResult(day, stored.rows, stored.anomalies)


def _for_lake(scored: pl.DataFrame) -> pl.DataFrame:
    """Return the columns that are kept, the ranked causes as a JSON array."""
    wrapped = pl.struct("causes").struct.json_encode()
    array = wrapped.str.strip_prefix('{"causes":').str.strip_suffix("}")
    causes = pl.when(pl.col("causes").is_not_null()).then(array)
    return scored.with_columns(causes.alias("causes")).select(
        pl.col(name).cast(kind) for name, kind in SCORED_SCHEMA.items()
    )


def _histogram_picture(histogram: npt.NDArray[np.int64], threshold: float) -> bytes:
    from anomaly_platform.ml.evaluation.plots import score_histogram

    middles = (np.arange(_HISTOGRAM_BINS) + 0.5) / _HISTOGRAM_BINS
    # The picture shows shares: a hundred thousand points tell as much as all of them.
    shown = np.ceil(histogram * min(1.0, 100_000 / max(1, int(histogram.sum())))).astype(int)
    return score_histogram(np.repeat(middles, shown), threshold=threshold)


SCORED_COLUMNS = {
    "entity": ("string", "device or asset"),
    "metric": ("string", "name of the metric"),
    "event_time": ("timestamp (UTC)", "when the reading was taken"),
    "value": ("float", "the reading"),
    "score": ("float", "0 ordinary to 1 most unusual; null where nothing can be said"),
    "is_anomaly": ("bool", "score reaches threshold; null is unknown"),
    "threshold": ("float", "the decision's threshold"),
    "status": ("string", "trained, insufficient_history, failed or missing_value"),
    "p_value": ("float", "share of ordinary readings at least as unusual"),
    "raw_score": ("float", "the detector's own score"),
    "z_score": ("float", "distance from the trailing mean in standard deviations"),
    "iqr_score": ("float", "distance from the trailing quartiles in interquartile ranges"),
    "mad_score": ("float", "distance from the trailing median in scaled MADs"),
    "entity_score": ("float", "score of the whole device or asset at this time"),
    "entity_is_anomaly": ("bool", "entity_score reaches threshold"),
    "causes": ("json", "the metrics behind the entity's score, ranked"),
    "label": ("bool", "known anomaly, known normal, or unknown"),
}
