"""``/api/v1/metrics`` and ``/api/v1/models``: an asset's readings, and the bundles that serve."""

import asyncio
import datetime as dt
import uuid
from itertools import groupby
from operator import itemgetter
from typing import Annotated

from fastapi import APIRouter, Path, Query

from anomaly_platform.queries.bundles import count_bundles, list_bundles
from anomaly_platform.queries.scored_readings import ReadingFilter, last_hours, read_values
from anomaly_platform.queries.value_statistics import describe
from anomaly_platform.serving.auth.security import Reader
from anomaly_platform.serving.http.cursors import Pages
from anomaly_platform.serving.http.openapi import problems
from anomaly_platform.serving.http.strict_query import STRICT_QUERY
from anomaly_platform.serving.lookups import known_metrics, known_stream
from anomaly_platform.serving.schemas.base import Cursor, Hours, Name, PageSize
from anomaly_platform.serving.schemas.metrics import AssetMetrics, MetricValues, Value
from anomaly_platform.serving.schemas.models import Bundle, BundleList
from anomaly_platform.serving.state import Serving
from anomaly_platform.streams.bindings import ASSETS

router = APIRouter(prefix="/api/v1", tags=["assets"], dependencies=[STRICT_QUERY])

_PAGES = Pages("bundles", dt.datetime, uuid.UUID)
_MOST_VALUES = 20_000


@router.get("/metrics/{asset_id:path}", responses=problems(404))
async def show_metrics(
    asset_id: Annotated[Name, Path()],
    serving: Serving,
    _caller: Reader,
    hours: Annotated[Hours, Query()] = 24.0,
    metric_name: Annotated[Name | None, Query()] = None,
) -> AssetMetrics:
    """Return an asset's readings in the last hours, and what is usual in them."""
    async with serving.pool.connection() as connection:
        metrics = await known_metrics(connection, ASSETS, asset_id, metric_name, kind="asset")
        chosen = ReadingFilter(ASSETS, asset_id, metric_name, *last_hours(metrics, hours))
        rows = await read_values(connection, chosen, limit=_MOST_VALUES + 1)
    described = await asyncio.to_thread(_described, rows[:_MOST_VALUES])
    return AssetMetrics(
        asset_id=asset_id,
        window_start=chosen.since,
        window_end=chosen.until,
        metrics=described,
        truncated=len(rows) > _MOST_VALUES,
    )


@router.get("/models", responses=problems(404))
async def list_versions(
    serving: Serving,
    _caller: Reader,
    stream: Annotated[Name | None, Query(description="All by default.", examples=[ASSETS])] = None,
    limit: PageSize = 100,
    cursor: Cursor = None,
) -> BundleList:
    """List the versions of every detector, the newest first: a bundle holds many models."""
    after = _PAGES.after(cursor)
    async with serving.pool.connection() as connection:
        found = await list_bundles(connection, stream, after=after, limit=limit + 1)
        total = await count_bundles(connection, stream)
    if stream is not None and not total:
        known_stream(serving, stream)
    page, following = _PAGES.cut(found, limit, lambda last: (last.createdAt, last.id))
    models = [Bundle.model_validate(one) for one in page]
    return BundleList(models=models, total=total, next_cursor=following)


def _described(rows: list[tuple[str, dt.datetime, float | None]]) -> list[MetricValues]:
    """Return the readings of each metric with what is usual in them."""
    found = []
    for name, group in groupby(rows, key=itemgetter(0)):
        readings = [(time, value) for _, time, value in group]
        numbers = describe([time for time, _ in readings], [value for _, value in readings])
        values = [Value(timestamp=time, value=value) for time, value in readings]
        found.append(MetricValues(metric_name=name, values=values, **numbers))
    return found
