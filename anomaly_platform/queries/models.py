# ruff: noqa: S608 - statements are put together from constants of this module
"""Models of single series, and how well each does: rows of ``ml_models``.

Which version is in service is not asked here: a worker has it in memory (``serving.champions``).
"""

import datetime as dt
import uuid
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from psycopg import AsyncConnection

from anomaly_platform.queries.rows import fetch_all, fetch_one

ModelStatus = Literal[
    "candidate", "rejected", "active", "inactive", "insufficient_history", "failed", "deleted"
]

#: A row of `ml_models` does not know what the gates said of its version.
MODEL_STATUS: Final = (
    "CASE WHEN m.status = 'candidate' AND b.status = 'rejected' THEN 'rejected' ELSE m.status END"
)
WITH_BUNDLE: Final = (
    "ml_models m JOIN bundles b ON b.stream = m.stream AND b.detector = m.model_type "
    "AND b.version = m.bundle_version"
)
_COLUMNS: Final = (
    "m.id, m.device_id, m.metric_name, m.model_type, m.model_path, "
    "m.bundle_version AS model_version, "
    f"{MODEL_STATUS} AS status, m.accuracy, m.false_positive_rate, "
    "m.true_positive_rate, m.event_recall, "
    "coalesce(t.threshold, %(default)s) AS threshold, m.training_samples, "
    "m.trained_at, m.last_used_at, m.created_at"
)
_FROM: Final = (
    f"FROM {WITH_BUNDLE} LEFT JOIN thresholds t ON t.stream = m.stream "
    "AND t.entity = m.device_id AND t.metric = m.metric_name"
)
_FILTER: Final = (
    "m.stream = %(stream)s AND (%(device)s::text IS NULL OR m.device_id = %(device)s) "
    "AND (%(metric)s::text IS NULL OR m.metric_name = %(metric)s) "
    "AND CASE WHEN %(status)s::text IS NULL THEN m.status <> 'deleted' "
    f"ELSE {MODEL_STATUS} = %(status)s END"
)
ModelKey = tuple[str, str, str, int]
"""Device, metric, type and version: what the list of models is sorted by."""


@dataclass(frozen=True, slots=True)
class ModelFilter:
    """Which models are listed; None means any, and any status but deleted."""

    stream: str
    device: str | None = None
    metric: str | None = None
    status: str | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """The model of one series; names as in ``ml_models``.

    Attributes
    ----------
    model_path
        Of its bundle, within the lake.
    threshold
        That of its series, or else the default.
    """

    id: uuid.UUID
    device_id: str
    metric_name: str
    model_type: str
    model_path: str | None
    model_version: int
    status: ModelStatus
    accuracy: float | None
    false_positive_rate: float | None
    true_positive_rate: float | None
    event_recall: float | None
    threshold: float
    training_samples: int
    trained_at: dt.datetime | None
    last_used_at: dt.datetime | None
    created_at: dt.datetime


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What people say of a model's detections.

    Attributes
    ----------
    detections, labelled
        Readings that it flagged, and readings of its series that are labelled.
    confirmed_share
        Of its labelled detections the share that is called right; None where none is labelled.
    """

    detections: int
    labelled: int
    confirmed_share: float | None


async def read_model(
    connection: AsyncConnection[Any], stream: str, model_id: uuid.UUID, *, default: float
) -> Model | None:
    """Return a model of a stream, None where there is none of that id."""
    return await fetch_one(
        connection,
        Model,
        f"SELECT {_COLUMNS} {_FROM} WHERE m.id = %(id)s AND m.stream = %(stream)s",
        {"id": model_id, "stream": stream, "default": default},
    )


async def list_models(
    connection: AsyncConnection[Any],
    chosen: ModelFilter,
    *,
    default: float,
    after: ModelKey | None,
    limit: int,
) -> list[Model]:
    """Return models by device, metric, type and version, at most `limit` after a sort key."""
    return await fetch_all(
        connection,
        Model,
        f"SELECT {_COLUMNS} {_FROM} WHERE {_FILTER} AND (%(a)s::text IS NULL OR "
        '(m.device_id COLLATE "C", m.metric_name COLLATE "C", m.model_type COLLATE "C", '
        "m.bundle_version) > (%(a)s::text, %(b)s::text, %(c)s::text, %(d)s::bigint)) "
        'ORDER BY m.device_id COLLATE "C", m.metric_name COLLATE "C", '
        'm.model_type COLLATE "C", m.bundle_version LIMIT %(limit)s',
        {
            **asdict(chosen),
            **dict(zip("abcd", after or (None,) * 4, strict=True)),
            "default": default,
            "limit": limit,
        },
    )


async def count_models(connection: AsyncConnection[Any], chosen: ModelFilter) -> tuple[int, int]:
    """Return how many models fit, and how many of them are in service."""
    cursor = await connection.execute(
        "SELECT count(*), count(*) FILTER (WHERE m.status = 'active') "
        f"FROM {WITH_BUNDLE} WHERE {_FILTER}",
        asdict(chosen),
    )
    row = await cursor.fetchone()
    return (0, 0) if row is None else (int(row[0]), int(row[1]))


async def read_confirmation(connection: AsyncConnection[Any], model_id: uuid.UUID) -> Confirmation:
    """Return how many readings a model flagged, and what people say of them."""
    found = await fetch_one(
        connection,
        Confirmation,
        """
        WITH labels AS (
            SELECT DISTINCT ON (l.event_time) l.event_time, l.is_anomaly
            FROM feedback_labels l JOIN ml_models m ON m.stream = l.stream
                AND m.device_id = l.entity AND m.metric_name = l.metric
            WHERE m.id = %(id)s ORDER BY l.event_time, l.created_at DESC
        ), found AS (
            SELECT DISTINCT "timestamp" AS event_time FROM anomaly_detections
            WHERE model_id = %(id)s
        )
        SELECT (SELECT count(*) FROM found) AS detections,
            (SELECT count(*) FROM labels) AS labelled,
            (SELECT avg(labels.is_anomaly::integer)::float8 FROM labels
                JOIN found USING (event_time)) AS confirmed_share
        """,
        {"id": model_id},
    )
    return found or Confirmation(0, 0, None)
