"""Writes a bundle's manifest: origin, training, features, data and quality.

The digests of its files are added by `ml.bundles.writer`, which writes it.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import polars as pl

from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet


@dataclass(frozen=True)
class Lineage:
    """Where a bundle comes from.

    Attributes
    ----------
    stream
        Name of the stream.
    version
        The bundle's own version.
    code_version
        Version of the code that trained it.
    detector
        Name of the detector.
    parent
        Version of the bundle that it was made from, if it was.
    """

    stream: str
    version: str
    code_version: str
    detector: str = "isolation_forest"
    parent: str | None = None


def manifest_of(
    series: pl.DataFrame,
    feature_set: MetricFeatureSet,
    inputs: Sequence[str],
    hyper_parameters: dict[str, object],
    lineage: Lineage,
    started: datetime,
) -> dict[str, object]:
    """Return the manifest of a fleet's bundle as plain JSON values.

    Parameters
    ----------
    series
        The bundle's series table.
    feature_set, inputs
        The stored features, and the model inputs derived from them.
    hyper_parameters
        The policy's fields.
    lineage
        Origin.
    started
        When the training began.
    """
    trained = series.filter(pl.col("status") == "trained")
    counts = dict(series["status"].value_counts().rows())
    finished = datetime.now(UTC)
    return {
        **asdict(lineage),
        "trained_at": started.isoformat(),
        "training_seconds": round((finished - started).total_seconds(), 3),
        "window": {
            "first_time": _moment(series["first_time"].min()),
            "last_time": _moment(series["last_time"].max()),
        },
        "feature_schema": {
            "version": feature_set.version,
            "definition": feature_set.definition(),
            "features": feature_set.schema(),
            "inputs": list(inputs),
        },
        "hyper_parameters": hyper_parameters,
        "data": {
            "series": series.height,
            "entities": series["entity"].n_unique(),
            "rows": int(series["rows"].sum()),
            "trained": counts.get("trained", 0),
            "insufficient_history": counts.get("insufficient_history", 0),
            "failed": counts.get("failed", 0),
        },
        "metrics": {
            "balanced_accuracy_median": trained["balanced_accuracy"].median(),
            "balanced_accuracy_p10": trained["balanced_accuracy"].quantile(0.1),
            "false_positive_rate_median": trained["false_positive_rate"].median(),
            "false_positive_rate_p90": trained["false_positive_rate"].quantile(0.9),
            "true_positive_rate_median": trained["true_positive_rate"].median(),
            "event_recall_median": trained["event_recall"].median(),
        },
    }


def _moment(value: object) -> str | None:
    return value.isoformat() if isinstance(value, datetime) else None
