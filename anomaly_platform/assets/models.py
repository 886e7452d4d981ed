"""``isolation_forest_model``: one bundle with a model per series, trained and evaluated.

What belongs here: which rows each series trains on, and the bundle's entry into the index. How a
series is trained is in ``ml.training``.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import polars as pl
from dagster import (
    AssetExecutionContext,
    AssetsDefinition,
    Failure,
    MaterializeResult,
    MetadataValue,
    asset,
)

from anomaly_platform import __version__
from anomaly_platform.assets.metadata import records_table
from anomaly_platform.resources.partitions import Partition
from anomaly_platform.resources.platform import DETECTOR, Platform
from anomaly_platform.streams import MetricStream

if TYPE_CHECKING:
    from anomaly_platform.ml.bundle import Bundle

_WORST_SHOWN = 20


def build_isolation_forest_model(stream: MetricStream) -> AssetsDefinition:
    """Return the asset ``[stream, isolation_forest_model]``."""

    @asset(
        key=stream.key(f"{DETECTOR}_model"),
        deps=[stream.key("features")],
        group_name=stream.name,
        kinds={"numba", "safetensors"},
        owners=list(stream.owners),
        tags={"stage": "model"},
        description=(
            "An isolation forest and its calibration per device and metric, in one bundle; each "
            f"trained on the last {stream.retraining.window.days} days of its own history."
        ),
        required_resource_keys={"platform"},
    )
    def isolation_forest_model(context: AssetExecutionContext) -> MaterializeResult[None]:
        platform: Platform = context.resources.platform
        version, bundle = train(platform, stream)
        series = bundle.series
        context.log.info("bundle %d: %s", version, bundle.manifest["data"])
        return MaterializeResult(
            metadata={
                "version": MetadataValue.int(version),
                "series": MetadataValue.json(bundle.manifest["data"]),
                "metrics": MetadataValue.json(bundle.manifest["metrics"]),
                "training seconds": MetadataValue.float(float(bundle.manifest["training_seconds"])),
                "least accurate series": records_table(_least_accurate(series)),
                "untrained series": records_table(_untrained(series)),
            }
        )

    return isolation_forest_model


@dataclass(frozen=True, slots=True)
class TrainingWindow:
    """From when to when each series of a stream trains.

    Attributes
    ----------
    series : polars.DataFrame
        ``entity``, ``metric``, ``since`` and ``until``, a row per series.
    days : list of Partition
        Feature files that hold rows of some window.
    """

    series: pl.DataFrame
    days: list[Partition]

    @property
    def watermark(self) -> int:
        """The newest ingested file that any of the days was made from."""
        return max((day.watermark for day in self.days), default=0)


def training_window(platform: Platform, stream: MetricStream) -> TrainingWindow:
    """Return each series' own window: the policy's length, up to its own last event.

    Series that fell silent long before the stream's newest event are left out.
    """
    extents = platform.warehouse.series.extents(stream.name)
    newest = extents["last_event"].max()
    if not isinstance(newest, datetime):
        return TrainingWindow(extents.head(0), [])
    policy = stream.retraining
    series = extents.filter(pl.col("last_event") >= newest - policy.max_silence).select(
        "entity",
        "metric",
        since=pl.col("last_event") - policy.window,
        until=pl.col("last_event"),
    )
    first = series.select(pl.col("since").dt.date().min()).item()
    days = platform.warehouse.partitions.between(
        stream.name, "features", first.isoformat(), f"{newest:%Y-%m-%d}"
    )
    wanted = _days_of(series)
    return TrainingWindow(series, [day for day in days if day.partition in wanted])


def _days_of(series: pl.DataFrame) -> set[str]:
    spans = series.select(first=pl.col("since").dt.date(), last=pl.col("until").dt.date()).unique()
    days: set[str] = set()
    for first, last in spans.iter_rows():
        days.update((first + timedelta(days=n)).isoformat() for n in range((last - first).days + 1))
    return days


def train(platform: Platform, stream: MetricStream) -> "tuple[int, Bundle]":
    """Train every series on its window, publish the bundle and enter it as a challenger.

    Raises
    ------
    Failure
        When there is nothing to train on.
    """
    from anomaly_platform.ml.training.fit import FleetPolicy
    from anomaly_platform.ml.training.fleet import train_fleet
    from anomaly_platform.ml.training.manifest import Lineage

    window = training_window(platform, stream)
    if not window.days:
        raise Failure(f"{stream.name} has no features to train on; materialize some days first")
    bundles = platform.warehouse.bundles
    version = bundles.reserve_version(stream.name, DETECTOR)
    settings = platform.settings
    folder = platform.lake.new_folder()
    try:
        train_fleet(
            _training_frames(platform, window),
            stream.features,
            FleetPolicy(
                alpha=platform.alpha_of(stream),
                threshold=platform.threshold_of(stream),
                seed=settings.seed,
                min_samples=settings.min_training_samples,
                contamination=settings.contamination,
            ),
            folder / "bundle",
            lineage=Lineage(stream=stream.name, version=str(version), code_version=__version__),
        )
        path = f"models/{stream.name}/{DETECTOR}/{version:06d}"
        platform.lake.publish_folder(folder / "bundle", path)
    except Exception as error:
        bundles.fail(stream.name, DETECTOR, version, f"{type(error).__name__}: {error}")
        raise
    published = open_path(platform, path)
    _register(platform, stream, version, path, published, window)
    return version, published


def _training_frames(platform: Platform, window: TrainingWindow) -> Iterator[pl.DataFrame]:
    """Yield the windows' rows in chunks of whole entities, without known anomalies.

    What people have labelled an anomaly is no example of the ordinary, neither for the forest nor
    for the calibration.
    """
    for frame in platform.lake.chunks([day.path for day in window.days]):
        rows = frame.join(window.series, on=["entity", "metric"], how="inner").filter(
            pl.col("event_time").is_between(pl.col("since"), pl.col("until")),
            ~pl.col("label").fill_null(value=False),
        )
        yield rows.sort("entity", "metric", "event_time")


def _register(
    platform: Platform,
    stream: MetricStream,
    version: int,
    path: str,
    bundle: "Bundle",
    window: TrainingWindow,
) -> None:
    manifest = bundle.manifest
    counts = manifest["data"]
    platform.warehouse.bundles.register(
        stream.name,
        DETECTOR,
        version,
        path=path,
        digest=bundle.digest,
        trained_at=datetime.fromisoformat(manifest["trained_at"]),
        window_start=window.series.select(pl.col("since").min()).item(),
        window_end=window.series.select(pl.col("until").max()).item(),
        metrics={
            **manifest["metrics"],
            "series_trained": counts["trained"],
            "series_failed": counts["failed"],
            "series_insufficient_history": counts["insufficient_history"],
        },
        parameters={**manifest["hyper_parameters"], "watermark": window.watermark},
        series=bundle.series.rename({"balanced_accuracy": "accuracy"}),
    )


def open_version(platform: Platform, stream: MetricStream, version: int) -> "Bundle":
    """Open a registered bundle, its digests verified.

    Raises
    ------
    Failure
        When the index does not know the version, or its files are gone.
    """
    record = platform.warehouse.bundles.get(stream.name, DETECTOR, version)
    if record is None or record.path is None:
        raise Failure(f"{stream.name} {DETECTOR} {version} has no files")
    return open_path(platform, record.path)


def open_path(platform: Platform, path: str) -> "Bundle":
    """Open a bundle of the lake."""
    from anomaly_platform.ml.bundle import open_bundle

    return open_bundle(platform.lake.fetch_folder(path, platform.settings.home / "cache"))


def _least_accurate(series: pl.DataFrame) -> list[dict[str, object]]:
    return (
        series.filter(pl.col("status") == "trained")
        .sort("balanced_accuracy", descending=True)
        .tail(_WORST_SHOWN)
        .select("entity", "metric", "rows", "balanced_accuracy", "false_positive_rate")
        .to_dicts()
    )


def _untrained(series: pl.DataFrame) -> list[dict[str, object]]:
    return (
        series.filter(pl.col("status") != "trained")
        .tail(_WORST_SHOWN)
        .select("entity", "metric", "status", "reason")
        .to_dicts()
    )
