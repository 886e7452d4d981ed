"""``/api/v1/ml/anomalies``: what was found unusual in readings of devices."""

import datetime as dt
import uuid
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query

from anomaly_platform.queries.detections import (
    Detection,
    DetectionFilter,
    count_detections,
    list_detections,
)
from anomaly_platform.serving.auth.security import Reader
from anomaly_platform.serving.http.cursors import Pages
from anomaly_platform.serving.http.openapi import problems
from anomaly_platform.serving.http.strict_query import STRICT_QUERY
from anomaly_platform.serving.lookups import refuse_unknown
from anomaly_platform.serving.schemas.anomalies import Anomaly, AnomalyList
from anomaly_platform.serving.schemas.base import Cursor, Name, PageSize, Time
from anomaly_platform.serving.state import Serving
from anomaly_platform.streams.bindings import DEVICES

router = APIRouter(prefix="/api/v1/ml", tags=["anomalies of devices"], dependencies=[STRICT_QUERY])

_PAGES = Pages("anomalies", dt.datetime, uuid.UUID)


@router.get("/anomalies", responses=problems(404))
async def list_anomalies(
    serving: Serving,
    _caller: Reader,
    device_id: Annotated[Name | None, Query()] = None,
    metric_name: Annotated[Name | None, Query()] = None,
    since: Annotated[Time | None, Query(alias="from", description="First time.")] = None,
    until: Annotated[Time | None, Query(alias="to", description="Last time.")] = None,
    limit: PageSize = 100,
    cursor: Cursor = None,
) -> AnomalyList:
    """List unusual readings, the newest first."""
    after = _PAGES.after(cursor)
    chosen = DetectionFilter(DEVICES, device_id, metric_name, since, until)
    async with serving.pool.connection() as connection:
        found = await list_detections(connection, chosen, after=after, limit=limit + 1)
        total = await count_detections(connection, chosen)
        if not total:
            await refuse_unknown(connection, DEVICES, device_id, metric_name, kind="device")
    page, following = _PAGES.cut(found, limit, lambda last: (last.timestamp, last.id))
    return AnomalyList(
        anomalies=[_anomaly(one) for one in page], total=total, next_cursor=following
    )


def _anomaly(found: Detection) -> Anomaly:
    """Return a detection as the API shows it."""
    shown = asdict(found)
    score = shown.pop("score")
    return Anomaly(**shown, unit_score=score, is_anomaly=True)
