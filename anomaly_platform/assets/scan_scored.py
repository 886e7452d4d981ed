"""``scored_events`` of a stream of scans: a day as rules, models and their fusion see it.

What belongs here: bringing a day's scans together with the history of their codes, and the columns
that are kept. How a verdict comes about is in ``ml.barcode_scoring``; that nobody sees half a day
is the promise of ``resources.scan_scores``.

The history is computed from the validated scans of the look-back, for the codes of the day only:
a day's scores follow from that day and its look-back, and from nothing else.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
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

from anomaly_platform.assets.features import SCAN_SCHEMA, in_order
from anomaly_platform.assets.metadata import column_schema, counts_table, picture, records_table
from anomaly_platform.assets.partitions import SINGLE_RUN, days_of, to_days, with_lookback
from anomaly_platform.assets.scan_champion import read_serving
from anomaly_platform.assets.scored import ScoredDayResult
from anomaly_platform.incidents.anomaly_alerts import SCAN_ROWS, DayAlerts
from anomaly_platform.platform import Platform
from anomaly_platform.storage.postgres.transactions import StaleInput
from anomaly_platform.storage.tables.partitions import Partition
from anomaly_platform.streams import ScanStream

if TYPE_CHECKING:
    from anomaly_platform.ml.scans.scoring import BarcodeModels

STAGE = "scored_events"
_HISTOGRAM_BINS = 50
_CHUNK_ROWS = 300_000
#: The rules as models name them, and as tables do.
RULE_COLUMNS = {
    "epcFake": "epc_fake_score",
    "epcDup": "epc_dup_score",
    "locErr": "loc_err_score",
    "evtOrderErr": "evt_order_err_score",
    "jump": "jump_score",
}


@dataclass(slots=True)
class ScanDayResult(ScoredDayResult):
    """What became of one day, with the names of detectors that took no part although they serve."""

    left_out: tuple[str, ...] = ()


def build_scan_scored_events(stream: ScanStream, platform: Platform) -> AssetsDefinition:
    """Return the asset ``[stream, scored_events]``."""

    @asset(
        key=stream.key(STAGE),
        deps=[
            stream.key("features"),
            stream.key("champion"),
            with_lookback(stream.key("validated_events"), stream.lookback_days),
        ],
        partitions_def=days_of(platform.start_of(stream)),
        backfill_policy=SINGLE_RUN,
        group_name=stream.name,
        kinds={"postgres", "parquet"},
        owners=list(stream.owners),
        tags={"stage": "scored"},
        description=(
            "Every scan of the day with what each detector and all together say, and why. The day "
            f"is replaced as a whole; BI reads bi_{stream.name}_scores."
        ),
        required_resource_keys={"platform"},
    )
    def scored_events(context: AssetExecutionContext) -> MaterializeResult[None]:
        from anomaly_platform.storage.tables.scored_rows import SCORED_SCANS

        opened: Platform = context.resources.platform
        version, models = current_models(opened, stream)
        histogram = np.zeros(_HISTOGRAM_BINS, dtype=np.int64)
        results = []
        for day in to_days(context.partition_keys):
            result = score_scan_day(opened, stream, day, version, models, histogram)
            if result.skipped:
                context.log.warning("%s: %s", day, result.skipped)
            for detector in result.left_out:
                context.log.error("%s: %s could not judge and was left out", day, detector)
            results.append(result)
        return MaterializeResult(
            metadata={
                "dagster/row_count": MetadataValue.int(sum(r.rows for r in results)),
                "anomalies": MetadataValue.int(sum(r.anomalies for r in results)),
                "set of models": MetadataValue.text(
                    "rules only" if version is None else str(version)
                ),
                "left out": counts_table("detector", _left_out(results)),
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
                "confidences": picture(_histogram_picture(histogram)),
                "dagster/table_name": MetadataValue.text(f"scored_{stream.name}"),
                "dagster/column_schema": column_schema(
                    {name: (str(kind), "") for name, kind in SCORED_SCANS.schema.items()}
                ),
            }
        )

    return scored_events


def current_models(platform: Platform, stream: ScanStream) -> "tuple[int | None, BarcodeModels]":
    """Return the set in service, or the rules alone with what is known beforehand."""
    from anomaly_platform.ml.detectors.rules.detector import RulesModel
    from anomaly_platform.ml.detectors.rules.routes import RouteStatistics
    from anomaly_platform.ml.features.scans.reference import ScanReference
    from anomaly_platform.ml.scans.scoring import BarcodeModels

    champion = platform.warehouse.bundles.champion(stream.name, stream.scored_by)
    if champion is None:
        reference = ScanReference.read(platform.reference_folder(stream))
        return None, BarcodeModels(RulesModel(reference, RouteStatistics.empty()))
    return champion.version, read_serving(platform, stream, champion.version)


def score_scan_day(
    platform: Platform,
    stream: ScanStream,
    day: date,
    version: int | None,
    models: "BarcodeModels",
    histogram: npt.NDArray[np.int64],
) -> ScanDayResult:
    """Score one day's scans and replace the day, unless something newer has been written."""
    from anomaly_platform.storage.tables.scored_rows import SCORED_SCANS

    source = platform.warehouse.partitions.get(stream.name, "features", day.isoformat())
    if source is None:
        return ScanDayResult(day, skipped="the day has no features")
    missing: set[str] = set()
    midnight = datetime.combine(day, time(), UTC)

    def chunks() -> Iterator[pl.DataFrame]:
        for scans in _with_history(platform, stream, source, midnight):
            scored = models.score(scans, since=midnight, threshold=platform.threshold_of(stream))
            missing.update(_silent(models, scored))
            confidence = scored["final_confidence"].to_numpy()
            histogram[:] += np.histogram(confidence, bins=_HISTOGRAM_BINS, range=(0, 100))[0]
            yield for_storage(models, scored)

    written = platform.lake.write(
        STAGE,
        stream.name,
        day.isoformat(),
        chunks(),
        schema={"bucket": pl.UInt8(), **SCORED_SCANS.schema},
    )
    try:
        stored = platform.warehouse.scan_scores.replace_day(
            stream.name,
            day,
            platform.lake.chunks([written.path]),
            watermark=source.watermark,
            detector=stream.scored_by,
            bundle_version=version,
            alerts=DayAlerts(platform.outbox, stream.name, stream.title, day, SCAN_ROWS),
            threshold=platform.threshold_of(stream),
        )
    except StaleInput as error:
        return ScanDayResult(day, skipped=str(error))
    platform.warehouse.partitions.publish(
        stream.name,
        STAGE,
        day.isoformat(),
        path=written.path,
        rows=stored.rows,
        watermark=source.watermark,
        stats={"anomalies": stored.anomalies, "bundle_version": version},
    )
    return ScanDayResult(day, stored.rows, stored.anomalies, left_out=tuple(sorted(missing)))


def _with_history(
    platform: Platform, stream: ScanStream, source: Partition, midnight: datetime
) -> Iterator[pl.DataFrame]:
    """Yield the day's scan features with the history of their codes, in chunks of whole codes."""
    first = midnight.date() - timedelta(days=stream.lookback_days)
    earlier = platform.warehouse.partitions.between(
        stream.name,
        "validated_events",
        first.isoformat(),
        (midnight.date() - timedelta(days=1)).isoformat(),
    )
    names = [name for name in SCAN_SCHEMA if name != "places_so_far"]
    for today in platform.lake.chunks([source.path], columns=names, target_rows=_CHUNK_ROWS):
        span = (int(today["bucket"][0]), int(today["bucket"][-1]))
        codes = today["epc_code"].unique().implode()
        past = [
            platform.lake.read(day.path, between={"bucket": span}).filter(
                pl.col("epc_code").is_in(codes)
            )
            for day in earlier
        ]
        history = [part for part in past if part.height]
        if history:
            computed = stream.features.compute(in_order(pl.concat(history)))
            kept = computed.select(pl.col(name).cast(SCAN_SCHEMA[name]) for name in names)
            yield in_order(pl.concat([kept, today.select(names)]))
        else:
            yield in_order(today)


def _silent(models: "BarcodeModels", scored: pl.DataFrame) -> list[str]:
    """Return the detectors of the set that gave no score."""
    expected = {"lstm": models.lstm, "svm": models.svm}
    return [
        name
        for name, model in expected.items()
        if model is not None and scored.height and scored[f"{name}_score"].null_count() > 0
    ]


def for_storage(models: "BarcodeModels", scored: pl.DataFrame) -> pl.DataFrame:
    """Return the columns that are kept, with what the reference knows about the places."""
    from anomaly_platform.storage.tables.scored_rows import SCORED_SCANS

    names = models.rules.reference.locations.select("location_id", place_name="scan_location")
    placed = models.rules.reference.place_features(scored).join(
        names, left_on="place", right_on="location_id", how="left", maintain_order="left"
    )
    words = pl.col("ml_explanation")
    return placed.with_columns(
        pl.when(words != "").then(words).alias("explanation"),
        *(pl.col(f"{kind}_score").alias(column) for kind, column in RULE_COLUMNS.items()),
    ).select(
        pl.col(name).cast(kind)
        for name, kind in {"bucket": pl.UInt8(), **SCORED_SCANS.schema}.items()
    )


def _left_out(results: list[ScanDayResult]) -> dict[str, int]:
    names = [name for result in results for name in result.left_out]
    return {name: names.count(name) for name in sorted(set(names))}


def _histogram_picture(histogram: npt.NDArray[np.int64]) -> bytes:
    from anomaly_platform.ml.evaluation.plots import score_histogram

    middles = (np.arange(_HISTOGRAM_BINS) + 0.5) / _HISTOGRAM_BINS
    # The picture shows shares: a hundred thousand points tell as much as all of them.
    shown = np.ceil(histogram * min(1.0, 100_000 / max(1, int(histogram.sum())))).astype(int)
    return score_histogram(
        np.repeat(middles, shown), threshold=0.5, title="Confidences, as shares of 100"
    )
