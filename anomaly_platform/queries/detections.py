"""Rows of ``anomaly_detections``: what was found unusual, each reading once.

A reading that was judged on arrival and again by the batch has two rows; the one given on arrival,
which is never rewritten, is shown.
"""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass
from typing import Any, Final

from psycopg import AsyncConnection
from psycopg.rows import dict_row

from anomaly_platform.serving.predict.scales import signed_score
from anomaly_platform.serving.schemas.anomalies import Anomaly

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

    def values(self) -> dict[str, Any]:
        """Return the parameters of the statements."""
        return {
            "stream": self.stream,
            "device": self.device,
            "metric": self.metric,
            "since": self.since,
            "until": self.until,
        }


async def list_detections(
    connection: AsyncConnection[Any],
    chosen: DetectionFilter,
    *,
    after: tuple[dt.datetime, uuid.UUID] | None,
    limit: int,
) -> list[Anomaly]:
    """Return detections, the newest first, at most `limit` after a sort key (time and id)."""
    time, identity = after or (None, None)
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(
            "SELECT d.id, d.model_id, d.device_id, d.metric_name, d.value, d.anomaly_score, "
            'd.threshold, d.confidence, d."timestamp", d.source, d.metadata '
            f"{_FILTER} AND (%(time)s::timestamptz IS NULL OR "
            '(d."timestamp", d.id) < (%(time)s::timestamptz, %(id)s::uuid)) '
            'ORDER BY d."timestamp" DESC, d.id DESC LIMIT %(limit)s',
            {**chosen.values(), "time": time, "id": identity, "limit": limit},
        )
        return [_anomaly(row) for row in await cursor.fetchall()]


async def count_detections(connection: AsyncConnection[Any], chosen: DetectionFilter) -> int:
    """Return how many detections fit."""
    cursor = await connection.execute(f"SELECT count(*) {_FILTER}", chosen.values())
    row = await cursor.fetchone()
    return 0 if row is None else int(row[0])


def _anomaly(row: dict[str, Any]) -> Anomaly:
    score, threshold = row.pop("anomaly_score"), row.pop("threshold")
    signed = None if score is None else signed_score(score, threshold)
    return Anomaly(**row, anomaly_score=signed, unit_score=score, is_anomaly=True)
