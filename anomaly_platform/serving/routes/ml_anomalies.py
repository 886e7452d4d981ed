"""``/api/v1/ml/anomalies``: what was found unusual in readings of devices."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Annotated

from fastapi import APIRouter, Depends, Query

from anomaly_platform.queries.detections import (
    DetectionFilter,
    count_detections,
    list_detections,
)
from anomaly_platform.queries.known_names import refuse_unknown
from anomaly_platform.serving.auth.security import Caller, require
from anomaly_platform.serving.http.cursors import read_cursor, write_cursor
from anomaly_platform.serving.http.openapi import problems
from anomaly_platform.serving.http.strict_query import STRICT_QUERY
from anomaly_platform.serving.schemas.anomalies import AnomalyList
from anomaly_platform.serving.schemas.base import Cursor, Name, PageSize, Time
from anomaly_platform.serving.state import Serving
from anomaly_platform.streams.bindings import DEVICES

router = APIRouter(prefix="/api/v1/ml", tags=["anomalies of devices"], dependencies=[STRICT_QUERY])

_KIND = "anomalies"


@router.get("/anomalies", responses=problems(404))
async def list_anomalies(
    serving: Serving,
    _caller: Annotated[Caller, Depends(require("ml:read"))],
    device_id: Annotated[Name | None, Query()] = None,
    metric_name: Annotated[Name | None, Query()] = None,
    since: Annotated[Time | None, Query(alias="from", description="First time.")] = None,
    until: Annotated[Time | None, Query(alias="to", description="Last time.")] = None,
    limit: PageSize = 100,
    cursor: Cursor = None,
) -> AnomalyList:
    """List unusual readings, the newest first."""
    after = read_cursor(_KIND, cursor, (dt.datetime, uuid.UUID)) if cursor else None
    chosen = DetectionFilter(DEVICES, device_id, metric_name, since, until)
    async with serving.pool.connection() as connection:
        found = await list_detections(connection, chosen, after=after, limit=limit + 1)
        total = await count_detections(connection, chosen)
        if not total:
            await refuse_unknown(connection, DEVICES, device_id, metric_name, kind="device")
    page = found[:limit]
    following = None
    if len(found) > limit:
        following = write_cursor(_KIND, page[-1].timestamp, page[-1].id)
    return AnomalyList(anomalies=page, total=total, next_cursor=following)
