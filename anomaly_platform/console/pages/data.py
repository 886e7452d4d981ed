# ruff: noqa: S608 - statements that are shown, not run
"""Data: files and rows in and out, quarantine with reasons, and putting files in."""

import asyncio
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from anomaly_platform.assets.first_look import Readable, first_look
from anomaly_platform.console import sources
from anomaly_platform.console.kept import Kept
from anomaly_platform.console.rendering import back_to, link, page
from anomaly_platform.console.uploads import Uploads
from anomaly_platform.console.viewers import Reading, UploaderPress, WriterPress, serving_of
from anomaly_platform.ingest.files.sources import UnreadableFile
from anomaly_platform.ingest.layout.mapping import ColumnMapping, content_digest
from anomaly_platform.queries.operation.files import refused_rows, taken_files
from anomaly_platform.serving.lookups import known_stream
from anomaly_platform.serving.problems import ApiProblem
from anomaly_platform.serving.state import ServingState
from anomaly_platform.storage.tables.ledger import LedgerEntry
from anomaly_platform.streams import Stream

router = APIRouter(prefix="/data")

_FILES: Final = 50
_ROWS: Final = 100
#: Counting every row of a stream takes seconds where there are many.
_ACCOUNT_S: Final = 60.0


@router.get("")
async def show(
    request: Request,
    viewer: Reading,
    stream: str | None = None,
    source: str | None = None,
    reason: str | None = None,
) -> Response:
    """Show what came in, what was refused and why."""
    serving = serving_of(request)
    chosen = known_stream(serving, stream or serving.platform.streams[0].name)
    kept: Kept = request.app.state.kept
    account = await kept.get(
        ("account", chosen.name),
        _ACCOUNT_S,
        lambda: asyncio.to_thread(serving.platform.account_of, chosen),
    )
    waiting = await asyncio.to_thread(serving.platform.landing.waiting, chosen.name)
    reasons = await asyncio.to_thread(serving.platform.warehouse.quarantine.reasons, chosen.name)
    async with serving.pool.connection() as connection:
        files = await taken_files(connection, chosen.name, limit=_FILES)
        rows, total = await refused_rows(
            connection, chosen.name, source=source or None, reason=reason or None, limit=_ROWS
        )
    return page(
        request,
        "data.html",
        viewer,
        streams=serving.platform.streams,
        chosen=chosen,
        account=account,
        waiting=waiting,
        files=files,
        reasons=list(reasons.items())[:_FILES],
        rows=rows,
        total=total,
        source=source or "",
        reason=reason or "",
        behind=[
            sources.asset(serving.settings, chosen.name, "raw_events"),
            sources.asset(serving.settings, chosen.name, "validated_events"),
            sources.statement(f"SELECT * FROM ingest_ledger WHERE stream = '{chosen.name}'"),
            sources.statement(f"SELECT * FROM quarantine WHERE stream = '{chosen.name}'"),
        ],
    )


@router.post("/look")
async def look(request: Request, press: UploaderPress, stream: str, name: str) -> Response:
    """Keep a file for an hour, and show how it would be read."""
    serving = serving_of(request)
    chosen = known_stream(serving, stream)
    uploads: Uploads = request.app.state.uploads
    whose = press.viewer.caller.key_id
    token, file = await uploads.keep(name, request.stream(), whose=whose)
    wrong, readable, earlier = "", None, None
    try:
        async with uploads.turn(whose):
            readable = await asyncio.to_thread(_look, serving, chosen, file)
            earlier = await asyncio.to_thread(_came_before, serving, chosen, readable)
    except UnreadableFile as error:
        wrong = str(error)
        uploads.forget(token, whose)
    form = serving.platform.kind(chosen).rows
    return page(
        request,
        "look.html",
        press.viewer,
        chosen=chosen,
        name=file.name,
        size=0 if wrong else file.stat().st_size,
        wrong=wrong,
        kept=token,
        readable=readable,
        earlier=earlier,
        names_and_rows=None if readable is None else readable.preview.first_rows(form),
    )


@router.post("/take")
async def take(request: Request, press: WriterPress) -> Response:
    """Put a file into landing that somebody has looked at."""
    serving = serving_of(request)
    chosen = known_stream(serving, press.text("stream"))
    uploads: Uploads = request.app.state.uploads
    token, whose = press.text("kept"), press.viewer.caller.key_id
    file = uploads.find(token, whose)
    async with uploads.turn(whose):
        earlier = await asyncio.to_thread(_take, serving, chosen, file)
    uploads.forget(token, whose)
    # A repeat is entered under the name under which its content came first.
    name = file.name if earlier is None else earlier.source
    return back_to(
        request,
        link("/console/data/file", stream=chosen.name, source=name),
        f"{file.name} is in landing.",
    )


def _look(serving: ServingState, stream: Stream, file: Path) -> Readable:
    return first_look(serving.platform, stream, file, ColumnMapping())


def _came_before(serving: ServingState, stream: Stream, found: Readable) -> LedgerEntry | None:
    """Return the file in which a content was taken in before, None where it is new."""
    platform = serving.platform
    entity = platform.kind(stream).rows.reader.layout(found.file, found.context).entity_from_name
    digest = content_digest(found.file, found.mapping, stream.name, entity=entity)
    known = platform.warehouse.ledger.find(stream.name, digest)
    return known if known is not None and known.status == "ingested" else None


def _take(serving: ServingState, stream: Stream, file: Path) -> LedgerEntry | None:
    """Put a file into landing; return the file in which its content came before."""
    landing = serving.platform.landing
    if file.name in {one.name for one in landing.waiting(stream.name)}:
        raise ApiProblem(409, f"a file {file.name} waits in landing already; rename this one")
    try:
        found = _look(serving, stream, file)
    except UnreadableFile as error:
        raise ApiProblem(422, str(error)) from None
    text = None if found.mapping == ColumnMapping() else found.mapping.to_json()
    earlier = _came_before(serving, stream, found)
    landing.put(stream.name, file, text)
    return earlier
