# ruff: noqa: S608 - statements that are shown, not run
"""The first page: does it work, what is wrong now, what fell silent or stuck, and what serves."""

import asyncio
import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from anomaly_platform.console import sources
from anomaly_platform.console.kept import Kept
from anomaly_platform.console.pages.alerts import triaged
from anomaly_platform.console.pages.models import before_of
from anomaly_platform.console.rendering import page
from anomaly_platform.console.viewers import Reading, serving_of
from anomaly_platform.queries.operation.in_service import ServingModel, serving_models
from anomaly_platform.queries.operation.newest import NewestReading, newest_readings
from anomaly_platform.queries.operation.quiet import (
    StuckSeries,
    stuck_series,
    what_is_silent,
)
from anomaly_platform.queries.operation.refused import refusals_since
from anomaly_platform.queries.operation.worst import (
    WorstCode,
    WorstEntity,
    worst_codes,
    worst_entities,
)
from anomaly_platform.serving.state import ServingState
from anomaly_platform.streams import Stream

router = APIRouter()

_WORST: Final = 8
_QUIET: Final = 12
_REASONS: Final = 10
#: Seconds for which the costly questions are not asked again.
_QUIET_S: Final = 60.0
_FILES_S: Final = 15.0
_WINDOW: Final = dt.timedelta(days=1)
#: A stream from which nothing has come for so long has its age shown as a warning.
_OLD: Final = dt.timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Worst:
    """The worst of one stream, in the day before its newest reading."""

    stream: Stream
    since: dt.datetime
    until: dt.datetime
    entities: Sequence[WorstEntity | WorstCode]


@router.get("")
async def show(request: Request, viewer: Reading) -> Response:
    """Show how everything is doing."""
    serving = serving_of(request)
    kept: Kept = request.app.state.kept
    now = dt.datetime.now(dt.UTC)
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    health = await serving.health.health()
    waiting = await kept.get("files", _FILES_S, lambda: asyncio.to_thread(_waiting, serving))
    async with serving.pool.connection() as connection:
        newest = await newest_readings(connection)
        refused = await refusals_since(connection, today, limit=_REASONS)
        models = await serving_models(connection)
        silent = await what_is_silent(connection)
    worst = [
        one
        for stream in serving.platform.streams
        if (one := await _worst(serving, stream, newest.get(stream.name))) is not None
    ]
    # Where there is one version alone, none can have served before.
    before = {
        one.name: await asyncio.to_thread(before_of, serving, one)
        if any(m.stream == one.name and m.versions > 1 for m in models)
        else None
        for one in serving.platform.streams
    }
    stuck = await kept.get("stuck", _QUIET_S, lambda: _stuck(serving, newest))
    alerts = await triaged(serving, only_open=True)
    return page(
        request,
        "overview.html",
        viewer,
        health=health,
        streams=serving.platform.streams,
        newest=newest,
        is_old=lambda moment: moment is not None and now - moment > _OLD,
        waiting=waiting,
        refused=refused,
        alerts=[one for one in alerts if one.alert.kind != "silent"][:_WORST],
        worst=worst,
        silent=silent[:_QUIET],
        dead={one.stream: one for one in silent if one.is_of_stream},
        nothing_for=_nothing_for(newest, now),
        age=lambda moment: (now - moment).total_seconds() // 60 * 60,
        stuck=stuck,
        before=before,
        models=_by_stream(serving, models),
        behind=_behind(serving),
    )


def _nothing_for(newest: Mapping[str, NewestReading], now: dt.datetime) -> float | None:
    """Return for how many seconds there is no new reading of any stream; None while there is."""
    known = [one.newest for one in newest.values() if one.newest is not None]
    if not known or now - max(known) <= _OLD:
        return None
    return (now - max(known)).total_seconds() // 60 * 60


def _waiting(serving: ServingState) -> dict[str, int]:
    landing = serving.platform.landing
    return {one.name: len(landing.waiting(one.name)) for one in serving.platform.streams}


async def _worst(
    serving: ServingState, stream: Stream, newest: NewestReading | None
) -> Worst | None:
    if newest is None or newest.newest is None:
        return None
    since, until = newest.newest - _WINDOW, newest.newest
    ask = worst_entities if stream.has_series else worst_codes
    async with serving.pool.connection() as connection:
        found = await ask(connection, stream.name, since, until, limit=_WORST)
    return Worst(stream, since, until, found)


async def _stuck(
    serving: ServingState, newest: dict[str, NewestReading]
) -> list[tuple[Stream, StuckSeries]]:
    found = []
    for stream in serving.platform.streams:
        known = newest.get(stream.name)
        if stream.has_series and known is not None and known.newest is not None:
            since = known.newest - _WINDOW
            async with serving.pool.connection() as connection:
                stuck = await stuck_series(connection, stream.name, since, limit=_QUIET)
            found += [(stream, one) for one in stuck]
    return found


def _by_stream(
    serving: ServingState, models: list[ServingModel]
) -> list[tuple[Stream, ServingModel | None, list[ServingModel]]]:
    """Return each stream with the version that scores it, and the others that serve with it."""
    return [
        (
            stream,
            next((m for m in of_stream if m.detector == stream.scored_by), None),
            [m for m in of_stream if m.detector != stream.scored_by],
        )
        for stream in serving.platform.streams
        for of_stream in [[m for m in models if m.stream == stream.name]]
    ]


def _behind(serving: ServingState) -> dict[str, list[sources.Source]]:
    settings = serving.settings
    streams = serving.platform.streams
    tables = {True: "scored_metrics", False: "scored_scans"}
    return {
        "works": [
            *(sources.asset(settings, one.name, "raw_events") for one in streams),
            sources.statement(
                "SELECT stream, reason, count(*) FROM quarantine "
                "WHERE quarantined_at >= current_date GROUP BY 1, 2 ORDER BY 3 DESC"
            ),
            sources.statement(
                "SELECT stream, max(last_event), count(*) FROM series WHERE rows > 0 GROUP BY 1"
            ),
        ],
        "wrong": [
            *(sources.asset(settings, one.name, "scored_events") for one in streams),
            *(
                sources.statement(
                    f"SELECT * FROM {tables[one.has_series]} WHERE stream = '{one.name}' "
                    "AND is_anomaly ORDER BY event_time DESC LIMIT 50"
                )
                for one in streams
            ),
        ],
        "quiet": [
            *(sources.asset(settings, one.name, "validated_events") for one in streams),
            sources.statement("SELECT * FROM alerts WHERE kind = 'silent' ORDER BY opened_at"),
            sources.statement(
                "SELECT stream, entity, metric, event_time, reason FROM scored_metrics "
                "WHERE is_anomaly AND reason IS NOT NULL ORDER BY event_time DESC LIMIT 50"
            ),
        ],
        "models": [
            *(sources.asset(settings, one.name, "champion") for one in streams),
            *sources.models(settings, *((one.name, one.scored_by) for one in streams)),
            sources.statement("SELECT * FROM champions"),
            sources.statement("SELECT * FROM champion_history ORDER BY id DESC"),
        ],
    }
