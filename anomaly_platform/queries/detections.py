"""Rows of ``anomaly_detections``: what was found unusual, each reading once.

A reading that was judged on arrival and again by the batch has two rows; the one given on arrival,
which is never rewritten, is shown.
"""

import datetime as dt
import uuid
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from psycopg import AsyncConnection

from anomaly_platform.queries.rows import count, fetch_all
from anomaly_platform.storage.postgres.transactions import Connection, Transactions, fetch_one

_FILTER: Final = """
    FROM anomaly_detections d WHERE d.stream = %(stream)s AND d.is_anomaly
        AND (%(device)s::text IS NULL OR d.device_id = %(device)s)
        AND (%(metric)s::text IS NULL OR d.metric_name = %(metric)s)
        AND (%(since)s::timestamptz IS NULL OR d."timestamp" >= %(since)s)
        AND (%(until)s::timestamptz IS NULL OR d."timestamp" <= %(until)s)
        AND (d.source = 'realtime' OR NOT EXISTS (
            SELECT FROM anomaly_detections r WHERE r.source = 'realtime'
            AND r.stream = d.stream AND r.device_id = d.device_id
            AND r.metric_name = d.metric_name AND r."timestamp" = d."timestamp"))
"""


@dataclass(frozen=True, slots=True)
class DetectionFilter:
    """Which detections are listed; None means any."""

    stream: str
    device: str | None = None
    metric: str | None = None
    since: dt.datetime | None = None
    until: dt.datetime | None = None


@dataclass(frozen=True, slots=True)
class Detection:
    """A reading that was found unusual; names as in ``anomaly_detections``."""

    id: uuid.UUID
    model_id: uuid.UUID | None
    device_id: str
    metric_name: str
    value: float | None
    anomaly_score: float | None
    score: float | None
    confidence: float | None
    timestamp: dt.datetime
    source: Literal["batch", "realtime"]
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class DetectedReading:
    """Which reading a detection is about."""

    stream: str
    entity: str
    metric: str
    event_time: dt.datetime
    event_id: uuid.UUID | None


async def list_detections(
    connection: AsyncConnection[Any],
    chosen: DetectionFilter,
    *,
    after: tuple[dt.datetime, uuid.UUID] | None,
    limit: int,
) -> list[Detection]:
    """Return detections, the newest first, at most `limit` after a sort key (time and id)."""
    time, identity = after or (None, None)
    return await fetch_all(
        connection,
        Detection,
        "SELECT d.id, d.model_id, d.device_id, d.metric_name, d.value, d.anomaly_score, "
        'd.score, d.confidence, d."timestamp", d.source, d.metadata '
        f"{_FILTER} AND (%(time)s::timestamptz IS NULL OR "
        '(d."timestamp", d.id) < (%(time)s::timestamptz, %(id)s::uuid)) '
        'ORDER BY d."timestamp" DESC, d.id DESC LIMIT %(limit)s',
        {**asdict(chosen), "time": time, "id": identity, "limit": limit},
    )


async def count_detections(connection: AsyncConnection[Any], chosen: DetectionFilter) -> int:
    """Return how many detections fit."""
    return await count(connection, f"SELECT count(*) {_FILTER}", asdict(chosen))


def detected_reading(connection: Connection, detection: uuid.UUID) -> DetectedReading | None:
    """Return which reading a detection is about, None where there is no such detection."""
    return fetch_one(
        connection,
        DetectedReading,
        "SELECT stream, device_id AS entity, metric_name AS metric, "
        '"timestamp" AS event_time, event_id FROM anomaly_detections WHERE id = %s',
        (detection,),
    )


def has_detections(transactions: Transactions, stream: str | None) -> bool:
    """Return whether anything was ever found unusual, in one stream or in any."""
    return bool(
        transactions.value(
            "SELECT EXISTS (SELECT FROM anomaly_detections "
            "WHERE is_anomaly AND (%(stream)s::text IS NULL OR stream = %(stream)s))",
            {"stream": stream},
        )
    )
