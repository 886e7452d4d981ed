"""Table of models: a row per series of every bundle.

Belongs here: writing ``ml_models``. Does not belong here: the bundles themselves.
"""

import datetime as dt
from collections.abc import Mapping
from typing import Final
from uuid import UUID

import polars as pl

from anomaly_platform.storage.postgres.copying import PgType, incoming
from anomaly_platform.storage.postgres.transactions import Connection

_MODEL: Final[Mapping[str, PgType]] = {
    "entity": "text",
    "metric": "text",
    "status": "text",
    "accuracy": "float8",
    "false_positive_rate": "float8",
    "true_positive_rate": "float8",
    "event_recall": "float8",
    "threshold": "float8",
    "rows": "int8",
    "trained_at": "timestamptz",
}

_QUALITY: Final = ("accuracy", "false_positive_rate", "true_positive_rate", "event_recall")

HAS_MODEL: Final = "status IN ('candidate', 'active', 'inactive')"
"""SQL that is true of rows of ``ml_models`` that stand for a model, not for the lack of one."""

FALLBACK: Final = "statistical"
"""What is called the detector of a verdict in which no model had a say."""


def insert_models(
    connection: Connection,
    stream: str,
    detector: str,
    version: int,
    *,
    path: str,
    trained_at: dt.datetime,
    series: pl.DataFrame,
) -> None:
    """Enter a row per series of a bundle within the caller's transaction."""
    known = series.with_columns(
        value.alias(name)
        for name, value in {
            **dict.fromkeys((*_QUALITY, "threshold"), pl.lit(None, pl.Float64)),
            # A series that a bundle has from its parent is as old as it was there.
            "trained_at": pl.lit(trained_at),
        }.items()
        if name not in series.columns
    ).with_columns(pl.col(_QUALITY).cast(pl.Float64).fill_nan(None))
    with incoming(connection, known, _MODEL):
        connection.execute(
            "INSERT INTO ml_models (id, stream, device_id, metric_name, model_type, "
            "bundle_version, model_path, status, accuracy, false_positive_rate, "
            "true_positive_rate, event_recall, threshold, "
            "training_samples, trained_at) SELECT md5(concat_ws(E'\\x1f', %(stream)s::text, "
            "%(detector)s::text, %(version)s::text, entity, metric))::uuid, %(stream)s, entity, "
            "metric, %(detector)s, %(version)s, %(path)s, "
            "CASE status WHEN 'trained' THEN 'candidate' ELSE status END, "
            "accuracy, false_positive_rate, true_positive_rate, event_recall, threshold, rows, "
            "trained_at FROM incoming",
            {"stream": stream, "detector": detector, "version": version, "path": path},
        )


def mark_deleted(connection: Connection, model: UUID) -> bool:
    """Take the model of a series out of service for good; return whether it was not before."""
    changed = connection.execute(
        "UPDATE ml_models SET status = 'deleted' WHERE id = %s AND status <> 'deleted'", (model,)
    )
    return changed.rowcount > 0


def failed_series(
    connection: Connection, stream: str, detector: str, version: int
) -> list[tuple[str, str]]:
    """Return entity and metric of the series of a bundle that could not be trained."""
    return connection.execute(
        "SELECT device_id, metric_name FROM ml_models WHERE stream = %s AND model_type = %s "
        "AND bundle_version = %s AND status = 'failed' ORDER BY device_id, metric_name",
        (stream, detector, version),
    ).fetchall()
