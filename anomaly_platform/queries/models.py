# ruff: noqa: S608 - statements are put together from constants of this module
"""Rows of ``ml_models`` and ``bundles`` as the API shows them.

Belongs here: the statements about models. What is in service is not asked here but taken from
memory (see ``models``).
"""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass
from typing import Any, Final

from psycopg import AsyncConnection
from psycopg.rows import dict_row

from anomaly_platform.serving.schemas.models import Bundle, Model, Performance

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

    def values(self) -> dict[str, Any]:
        """Return the parameters of the statements."""
        return {
            "stream": self.stream,
            "device": self.device,
            "metric": self.metric,
            "status": self.status,
        }


async def read_model(
    connection: AsyncConnection[Any], stream: str, model_id: uuid.UUID, *, default: float
) -> Model | None:
    """Return a model of a stream, None where there is none of that id."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(
            f"SELECT {_COLUMNS} {_FROM} WHERE m.id = %(id)s AND m.stream = %(stream)s",
            {"id": model_id, "stream": stream, "default": default},
        )
        row = await cursor.fetchone()
    return None if row is None else Model(**row)


async def list_models(
    connection: AsyncConnection[Any],
    chosen: ModelFilter,
    *,
    default: float,
    after: ModelKey | None,
    limit: int,
) -> list[Model]:
    """Return models by device, metric, type and version, at most `limit` after a sort key."""
    device, metric, kind, version = after or (None, None, None, None)
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(
            f"SELECT {_COLUMNS} {_FROM} WHERE {_FILTER} AND (%(a)s::text IS NULL OR "
            '(m.device_id COLLATE "C", m.metric_name COLLATE "C", m.model_type COLLATE "C", '
            "m.bundle_version) > (%(a)s::text, %(b)s::text, %(c)s::text, %(d)s::bigint)) "
            'ORDER BY m.device_id COLLATE "C", m.metric_name COLLATE "C", '
            'm.model_type COLLATE "C", m.bundle_version LIMIT %(limit)s',
            {
                **chosen.values(),
                "default": default,
                "limit": limit,
                "a": device,
                "b": metric,
                "c": kind,
                "d": version,
            },
        )
        return [Model(**row) for row in await cursor.fetchall()]


async def count_models(connection: AsyncConnection[Any], chosen: ModelFilter) -> tuple[int, int]:
    """Return how many models fit, and how many of them are in service."""
    cursor = await connection.execute(
        "SELECT count(*), count(*) FILTER (WHERE m.status = 'active') "
        f"FROM {WITH_BUNDLE} WHERE {_FILTER}",
        chosen.values(),
    )
    row = await cursor.fetchone()
    return (0, 0) if row is None else (int(row[0]), int(row[1]))


async def read_performance(connection: AsyncConnection[Any], model: Model) -> Performance:
    """Return how well a model does, labels and detections included."""
    cursor = await connection.execute(
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
        SELECT (SELECT count(*) FROM found), (SELECT count(*) FROM labels),
            (SELECT avg(labels.is_anomaly::integer) FROM labels JOIN found USING (event_time))
        """,
        {"id": model.id},
    )
    row = await cursor.fetchone() or (0, 0, None)
    return Performance(
        model_id=model.id,
        accuracy=model.accuracy,
        false_positive_rate=model.false_positive_rate,
        last_trained=model.trained_at,
        training_samples=model.training_samples,
        status=model.status,
        threshold=model.threshold,
        detections=row[0],
        labelled=row[1],
        confirmed_share=None if row[2] is None else float(row[2]),
    )


async def list_bundles(
    connection: AsyncConnection[Any],
    stream: str | None,
    *,
    after: tuple[dt.datetime, uuid.UUID] | None,
    limit: int,
) -> tuple[list[Bundle], int]:
    """Return bundles, the newest first, at most `limit` after a sort key; and how many fit."""
    time, identity = after or (None, None)
    key = {"stream": stream, "time": time, "id": identity, "limit": limit}
    fits = "(%(stream)s::text IS NULL OR metadata ->> 'stream' = %(stream)s)"
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(
            f"SELECT * FROM model_metadata WHERE {fits} AND (%(time)s::timestamptz IS NULL OR "
            '("createdAt", id) < (%(time)s::timestamptz, %(id)s::uuid)) '
            'ORDER BY "createdAt" DESC, id DESC LIMIT %(limit)s',
            key,
        )
        rows = [Bundle(**row) for row in await cursor.fetchall()]
    counted = await connection.execute(f"SELECT count(*) FROM model_metadata WHERE {fits}", key)
    total = await counted.fetchone()
    return rows, 0 if total is None else int(total[0])
