"""``isolation_forest_model``: one bundle with a model per series, trained and evaluated.

What belongs here: the asset and what Dagster shows of it. The training is in ``training``.
"""

import polars as pl
from dagster import (
    AssetExecutionContext,
    AssetsDefinition,
    Failure,
    MaterializeResult,
    MetadataValue,
    asset,
)

from anomaly_platform.assets.metadata import records_table
from anomaly_platform.assets.model_files import open_path, open_version
from anomaly_platform.assets.training import rebase, retrained_counts, train
from anomaly_platform.assets.training_config import TrainingConfig, TrainingOrigin
from anomaly_platform.platform import DETECTOR, Platform
from anomaly_platform.streams import MetricStream

__all__ = [
    "TrainingConfig",
    "TrainingOrigin",
    "build_isolation_forest_model",
    "open_path",
    "open_version",
    "rebase",
    "train",
]

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
    def isolation_forest_model(
        context: AssetExecutionContext, config: TrainingConfig
    ) -> MaterializeResult[None]:
        platform: Platform = context.resources.platform
        origin = TrainingOrigin.of(context, config)
        try:
            series = config.keys()
        except ValueError as error:
            raise Failure(str(error)) from error
        version, bundle = train(
            platform, stream, series=series, window_days=config.window_days, origin=origin
        )
        record = platform.warehouse.bundles.get(stream.name, DETECTOR, version)
        why = "not said" if record is None else record.trained_because_of
        data = bundle.manifest["data"]
        context.log.info("bundle %d: %s", version, data)
        return MaterializeResult(
            metadata={
                "version": MetadataValue.int(version),
                "parent": MetadataValue.text(bundle.manifest.get("parent") or "none"),
                "trained because of": MetadataValue.text(why),
                "retrained": MetadataValue.json(retrained_counts(bundle)),
                "series": MetadataValue.json(data),
                "metrics": MetadataValue.json(bundle.manifest["metrics"]),
                "training seconds": MetadataValue.float(float(bundle.manifest["training_seconds"])),
                "least accurate series": records_table(_least_accurate(bundle.series)),
                "untrained series": records_table(_untrained(bundle.series)),
            }
        )

    return isolation_forest_model


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
