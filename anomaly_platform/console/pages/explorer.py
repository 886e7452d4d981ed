# ruff: noqa: S608 - statements that are shown, not run
"""Entities over time, coloured by score, and the rows behind each cell."""

import datetime as dt
from collections.abc import Sequence
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from anomaly_platform.console import sources
from anomaly_platform.console.rendering import iso, link, page
from anomaly_platform.console.viewers import Reading, serving_of
from anomaly_platform.console.windows import range_links, shown_span, steps_of
from anomaly_platform.queries.operation.newest import newest_readings
from anomaly_platform.queries.operation.swimlanes import (
    Window,
    flagged_rows,
    lane_cells,
    ranked_lanes,
)
from anomaly_platform.serving.lookups import known_stream
from anomaly_platform.serving.problems import ApiProblem

router = APIRouter(prefix="/explorer")

_USUAL: Final = "7 days"
_LANES: Final = 40
_MOST_CELLS: Final = 60
_ROWS: Final = 500
_TICKS: Final = 8
_LONGEST_NAME: Final = 500
_MOST_PAGES: Final = 1_000_000


@router.get("")
async def show(
    request: Request,
    viewer: Reading,
    stream: str | None = None,
    search: str = "",
    number: int = 1,
) -> Response:
    """Show the lanes of a stream, the worst first."""
    serving = serving_of(request)
    streams = serving.platform.streams
    async with serving.pool.connection() as connection:
        newest = await newest_readings(connection)
    # What has readings, before what nobody has sent anything for.
    usual = next((one.name for one in streams if one.has_series and one.name in newest), None)
    chosen = known_stream(serving, stream or usual or streams[0].name)
    known = newest.get(chosen.name)
    shown = shown_span(request, None if known is None else known.newest, _USUAL)
    edges = steps_of(shown, _MOST_CELLS)
    step = edges[1] - edges[0] if len(edges) > 1 else shown.length
    window = Window(chosen.name, chosen.has_series, edges[0], edges[-1] + step)
    if len(search) > _LONGEST_NAME:
        raise ApiProblem(422, "search: a part of a name")
    number = min(max(1, number), _MOST_PAGES)
    async with serving.pool.connection() as connection:
        lanes = await ranked_lanes(
            connection, window, search=search, limit=_LANES, offset=(number - 1) * _LANES
        )
        cells = await lane_cells(connection, window, [one.lane for one in lanes], edges)
    return page(
        request,
        "explorer.html",
        viewer,
        streams=streams,
        chosen=chosen,
        search=search,
        shown=shown,
        window=window,
        edges=edges,
        step=step,
        lanes=lanes,
        ticks=_ticks(edges),
        shade=_shade,
        lane_count=lanes[0].lanes if lanes else 0,
        cells=cells,
        number=number,
        lanes_a_page=_LANES,
        ranges=range_links("/console/explorer", dict(request.query_params), shown),
        behind=[
            sources.asset(serving.settings, chosen.name, "scored_events"),
            sources.statement(
                f"SELECT {'entity' if chosen.has_series else 'place'}, "
                "count(*) FILTER (WHERE is_anomaly) FROM "
                f"{'scored_metrics' if chosen.has_series else 'scored_scans'} "
                f"WHERE stream = '{chosen.name}' AND event_time >= '{iso(window.since)}' "
                f"AND event_time < '{iso(window.until)}' GROUP BY 1 ORDER BY 2 DESC"
            ),
        ],
    )


@router.get("/rows")
async def rows(
    request: Request,
    viewer: Reading,
    stream: str,
    lane: str = "",
) -> Response:
    """List the flagged rows behind a cell."""
    serving = serving_of(request)
    chosen = known_stream(serving, stream)
    shown = shown_span(request, None, _USUAL)
    window = Window(chosen.name, chosen.has_series, *shown)
    async with serving.pool.connection() as connection:
        found, total = await flagged_rows(connection, window, lane, limit=_ROWS)
    return page(
        request,
        "rows.html",
        viewer,
        chosen=chosen,
        lane=lane,
        shown=shown,
        rows=found,
        total=total,
        explorer=link("/console/explorer", stream=stream),
    )


def _shade(score: float | None) -> int:
    """Return which of ten shades stands for a score."""
    return 0 if score is None else min(9, int(score * 10))


def _ticks(edges: Sequence[dt.datetime]) -> list[str]:
    """Return what stands above each span: the date where a day begins, or times where none does."""
    days = [n for n, edge in enumerate(edges) if edge.hour == edge.minute == 0]
    number = len(days) if len(days) > 2 else 0
    apart = max(1, -(-(number or len(edges)) // _TICKS))
    named = set(days[::apart] if number else range(0, len(edges), apart))
    form = "%d %b" if number else "%H:%M"
    return [edge.strftime(form) if n in named else "" for n, edge in enumerate(edges)]
