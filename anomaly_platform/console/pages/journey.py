# ruff: noqa: S608 - statements that are shown, not run
"""The journey of a code: its scans in time and over places, and what was to be expected."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from anomaly_platform.console import sources
from anomaly_platform.console.maps import HEIGHT, WIDTH, map_of
from anomaly_platform.console.rendering import link, page
from anomaly_platform.console.viewers import Reading, serving_of
from anomaly_platform.console.windows import RANGES
from anomaly_platform.queries.operation.journeys import (
    JourneyScan,
    Step,
    codes_with,
    companions_of,
    expected_next,
    journey_of,
)
from anomaly_platform.queries.operation.newest import newest_readings
from anomaly_platform.queries.operation.worst import worst_codes
from anomaly_platform.serving.lookups import known_stream
from anomaly_platform.serving.problems import not_found
from anomaly_platform.serving.state import ServingState
from anomaly_platform.streams import Stream, scan_streams

router = APIRouter(prefix="/journey")

_SCANS: Final = 200
_WORST: Final = 20
_COMPANIONS: Final = 12
_FOUND: Final = 20


@router.get("")
async def show(
    request: Request, viewer: Reading, stream: str | None = None, code: str = ""
) -> Response:
    """Show a code's journey, the codes with a text in them, or those with the worst scans."""
    serving = serving_of(request)
    streams = list(scan_streams(serving.platform.streams).values())
    if not streams:
        raise not_found("stream of scans")
    chosen = known_stream(serving, stream or streams[0].name)
    if chosen.has_series:
        raise not_found(f"journey in {chosen.name!r}, which has series")
    code = code.strip()
    if not code:
        return await _list(request, viewer, serving, streams, chosen)
    async with serving.pool.connection() as connection:
        scans = await journey_of(connection, chosen.name, code, limit=_SCANS)
        if not scans:
            return await _list(request, viewer, serving, streams, chosen, unknown=code)
        expected = await expected_next(
            connection,
            chosen.name,
            [Step(*pair) for pair in pairwise(scans)],
        )
        companions = await companions_of(connection, chosen.name, code, limit=_COMPANIONS)
    return page(
        request,
        "journey.html",
        viewer,
        streams=streams,
        chosen=chosen,
        code=code,
        scans=[
            (one, expected.get(n - 1), scans[n - 1] if n else None) for n, one in enumerate(scans)
        ],
        axis=_on_axis(scans),
        drawn=map_of(scans),
        size=(WIDTH, HEIGHT),
        companions=companions,
        back=link("/console/journey", stream=chosen.name, code=code),
        behind=[
            sources.asset(serving.settings, chosen.name, "scored_events"),
            *sources.models(serving.settings, (chosen.name, chosen.scored_by)),
            sources.statement(
                f"SELECT * FROM scored_scans WHERE stream = '{chosen.name}' "
                f"AND epc_code = '{code.replace(chr(39), chr(39) * 2)}' ORDER BY event_time"
            ),
        ],
    )


async def _list(
    request: Request,
    viewer: Reading,
    serving: ServingState,
    streams: Sequence[Stream],
    chosen: Stream,
    *,
    unknown: str = "",
) -> Response:
    async with serving.pool.connection() as connection:
        known = (await newest_readings(connection)).get(chosen.name)
        worst, found = [], []
        if known is not None and known.newest is not None:
            since = known.newest - RANGES["7 days"]
            worst = await worst_codes(connection, chosen.name, since, known.newest, limit=_WORST)
            if unknown:
                found = await codes_with(
                    connection, chosen.name, unknown, known.newest, limit=_FOUND
                )
    return page(
        request,
        "journeys.html",
        viewer,
        status=404 if unknown and not found else 200,
        code=unknown,
        found=found,
        most_found=_FOUND,
        streams=streams,
        chosen=chosen,
        worst=worst,
        back=link("/console/journey", stream=chosen.name),
    )


def _on_axis(scans: list[JourneyScan]) -> list[float]:
    """Return where each scan lies on an axis of time from 0 to 1."""
    first, last = scans[0].event_time, scans[-1].event_time
    length = (last - first).total_seconds() or 1.0
    return [(one.event_time - first).total_seconds() / length for one in scans]
