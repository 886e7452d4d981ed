"""One file: whether it has been taken in, and its rows with what became of them."""

import asyncio
import logging
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from anomaly_platform.console import sources
from anomaly_platform.console.rendering import page
from anomaly_platform.console.viewers import Reading, serving_of
from anomaly_platform.queries.operation.file_rows import Fate, RawRow, fates_of
from anomaly_platform.queries.operation.files import taken_files
from anomaly_platform.serving.lookups import known_stream
from anomaly_platform.serving.problems import not_found
from anomaly_platform.serving.state import ServingState
from anomaly_platform.storage.lake.row_groups import LakeError

router = APIRouter(prefix="/data/file")
_log = logging.getLogger(__name__)

_LOOKED_AT: Final = 2_000
_LISTED: Final = 200
#: Of streams with series, and of scans: what is shown of a row as it was read.
_COLUMNS: Final = {
    True: ("row_number", "column", "entity", "metric", "event_time", "value_text"),
    False: ("row_number", "column", "epc_code_text", "event_time", "location_id_text"),
}


@router.get("")
async def show(
    request: Request, viewer: Reading, stream: str, source: str, number: int = 1
) -> Response:
    """Show a file that waits, or a page of the first rows of the newest one of that name."""
    serving = serving_of(request)
    chosen = known_stream(serving, stream)
    waiting = await asyncio.to_thread(serving.platform.landing.waiting, chosen.name)
    waits = source in {one.name for one in waiting}
    async with serving.pool.connection() as connection:
        found = await taken_files(connection, chosen.name, source=source, limit=1)
    if not found and not waits:
        raise not_found(f"file {source!r} in {chosen.title}")
    taken = found[0] if found and not waits else None
    found_rows: list[tuple[RawRow, Fate]] = []
    gone = ""
    if taken is not None and taken.raw_path:
        path = taken.raw_path
        try:
            rows = await asyncio.to_thread(_rows, serving, path, has_series=chosen.has_series)
        except LakeError as error:
            _log.warning("the rows of a file cannot be shown: %s", error)
            rows, gone = [], path
        async with serving.pool.connection() as connection:
            fates = await fates_of(
                connection, chosen.name, taken.digest, rows, has_series=chosen.has_series
            )
        found_rows = list(zip(rows, fates, strict=True))
    # What asks for a look comes first.
    found_rows.sort(key=lambda one: not (one[1].is_anomaly or one[1].refused))
    number = min(max(1, number), max(1, -(-len(found_rows) // _LISTED)))
    before = (number - 1) * _LISTED
    return page(
        request,
        "data_file.html",
        viewer,
        chosen=chosen,
        source=source,
        taken=taken,
        earlier=taken if taken is not None and taken.times_seen > 1 else None,
        gone=gone,
        looked_at=len(found_rows),
        scored=sum(fate.is_scored for _, fate in found_rows),
        refused=sum(fate.refused is not None for _, fate in found_rows),
        waiting=sum(not (fate.is_scored or fate.refused) for _, fate in found_rows),
        flagged=sum(fate.is_anomaly for _, fate in found_rows),
        rows=found_rows[before : before + _LISTED],
        number=number,
        before=before,
        behind=[
            sources.asset(serving.settings, chosen.name, "raw_events"),
            sources.asset(serving.settings, chosen.name, "scored_events"),
        ],
    )


def _rows(serving: ServingState, path: str, *, has_series: bool) -> list[RawRow]:
    """Return the first rows that could be read, in the order of the file that was sent."""
    columns = _COLUMNS[has_series]
    first = serving.platform.lake.read(
        path, columns=columns, between={"row_number": (0, _LOOKED_AT)}
    )
    shown = first.select(columns).sort("row_number", maintain_order=True).head(_LOOKED_AT).rows()
    if has_series:
        return [RawRow(*one) for one in shown]
    return [RawRow(n, column, code, "scan", *rest) for n, column, code, *rest in shown]
