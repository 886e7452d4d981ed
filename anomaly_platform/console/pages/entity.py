# ruff: noqa: S608 - statements that are shown, not run
"""One entity: its metrics with their newest readings, the worst first."""

from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from anomaly_platform.console import sources
from anomaly_platform.console.rendering import page
from anomaly_platform.console.sparklines import sparkline
from anomaly_platform.console.viewers import Reading, serving_of
from anomaly_platform.console.windows import range_links, shown_span, steps_of
from anomaly_platform.queries.operation.entities import metric_summaries
from anomaly_platform.queries.operation.worst import worst_readings
from anomaly_platform.serving.lookups import known_metrics, known_stream
from anomaly_platform.serving.problems import not_found

router = APIRouter(prefix="/entity")

#: As of the ranking on the first page.
_USUAL: Final = "1 day"
_SPANS: Final = 96
_WORST: Final = 10


@router.get("")
async def show(request: Request, viewer: Reading, stream: str, entity: str) -> Response:
    """Show an entity's metrics, and its worst readings."""
    serving = serving_of(request)
    chosen = known_stream(serving, stream)
    if not chosen.has_series:
        raise not_found(f"entity of {stream!r}")
    async with serving.pool.connection() as connection:
        metrics = await known_metrics(connection, stream, entity, None, kind="entity")
        newest = max((one for one in metrics.values() if one is not None), default=None)
        shown = shown_span(request, newest, _USUAL)
        edges = steps_of(shown, _SPANS)
        found = await metric_summaries(connection, stream, entity, *shown, edges)
        worst = await worst_readings(connection, stream, entity, *shown, limit=_WORST)
    return page(
        request,
        "entity.html",
        viewer,
        stream=chosen,
        entity=entity,
        shown=shown,
        newest=newest,
        known=len(metrics),
        metrics=[(one, sparkline(one.spans, one.curve, len(edges))) for one in found],
        worst=worst,
        ranges=range_links("/console/entity", dict(request.query_params), shown),
        behind=[
            sources.asset(serving.settings, stream, "scored_events"),
            sources.statement(
                "SELECT metric, count(*), count(*) FILTER (WHERE is_anomaly), max(score) "
                f"FROM scored_metrics WHERE stream = '{stream}' AND entity = "
                f"'{entity.replace(chr(39), chr(39) * 2)}' GROUP BY 1 ORDER BY 4 DESC"
            ),
        ],
    )
