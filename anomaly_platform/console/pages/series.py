# ruff: noqa: S608 - statements that are shown, not run
"""One series: its values in their expected range, scores, flagged points and why."""

import asyncio
import csv
import datetime as dt
import io
import math
from collections.abc import AsyncIterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from anomaly_platform.console import sources
from anomaly_platform.console.pages.marks import MOST_TOGETHER
from anomaly_platform.console.rendering import HEADERS, data, iso, link, page
from anomaly_platform.console.viewers import Reading, serving_of
from anomaly_platform.console.windows import Shown, range_links, shown_span
from anomaly_platform.ml.scoring.explaining.numbers import percentages
from anomaly_platform.queries.operation.drawing import (
    RANGE_WINDOW_S,
    expected_range,
    kept_points,
)
from anomaly_platform.queries.operation.points import (
    FlaggedPoint,
    Note,
    Points,
    flagged_marks,
    flagged_points,
    notes_in,
    read_points,
)
from anomaly_platform.queries.scored_readings import ReadingFilter, read_page
from anomaly_platform.queries.series import changes_of
from anomaly_platform.serving.lookups import known_metrics, known_stream
from anomaly_platform.serving.problems import ApiProblem, not_found
from anomaly_platform.serving.state import ServingState

router = APIRouter(prefix="/series")

_USUAL: Final = "7 days"
_LISTED: Final = 30
#: Reasons that are sent along; flagged points beyond them are drawn without.
_MOST_REASONS: Final = 5_000
#: Spans of time of which each is drawn with its extremes: about as many as a chart has pixels.
_SPANS: Final = 1_000
_RANGES: Final = 400
_ROWS_AT_ONCE: Final = 5_000
_DIGITS: Final = 7


@router.get("")
async def show(
    request: Request, viewer: Reading, stream: str, entity: str, metric: str
) -> Response:
    """Show the charts, and the flagged points as a list."""
    serving = serving_of(request)
    shown, chosen, newest = await _chosen(request, serving, stream, entity, metric)
    described = known_stream(serving, stream)
    async with serving.pool.connection() as connection:
        flagged = await flagged_points(connection, chosen, limit=_LISTED + 1)
        marks = await flagged_marks(connection, chosen, limit=2 * MOST_TOGETHER)
        changes = await changes_of(connection, described, entity, metric, shown.until.date())
        siblings = await known_metrics(connection, stream, entity, None, kind="entity")
    where = {"stream": stream, "entity": entity, "metric": metric}
    here = {**where, "since": shown.since, "until": shown.until}
    return page(
        request,
        "series.html",
        viewer,
        stream=described,
        entity=entity,
        metric=metric,
        shown=shown,
        newest=newest,
        changes=changes,
        flagged=flagged[:_LISTED],
        more=len(flagged) > _LISTED,
        # Beyond, they are not all known, and marked in parts.
        unmarked=sum(one.label_id is None for one in marks),
        marked=sum(one.label_id is not None for one in marks),
        together=range(2, MOST_TOGETHER + 1 if len(marks) < 2 * MOST_TOGETHER else 2),
        siblings=sorted(siblings),
        ranges=range_links("/console/series", dict(request.query_params), shown),
        points=link("/console/series/points", **here),
        table=link("/console/series/readings.csv", **here),
        back=link("/console/series", **here),
        behind=[
            sources.asset(serving.settings, stream, "scored_events"),
            *sources.models(serving.settings, (stream, described.scored_by)),
            sources.statement(
                f"SELECT event_time, value, score, is_anomaly, reason, causes FROM scored_metrics "
                f"WHERE stream = '{stream}' AND entity = '{_in_sql(entity)}' "
                f"AND metric = '{_in_sql(metric)}' AND event_time > '{iso(shown.since)}' "
                f"AND event_time <= '{iso(shown.until)}' ORDER BY event_time"
            ),
        ],
    )


@router.get("/points")
async def points(
    request: Request, _viewer: Reading, stream: str, entity: str, metric: str
) -> Response:
    """Return what the charts draw: few points that look like all of them."""
    serving = serving_of(request)
    shown, chosen, _ = await _chosen(request, serving, stream, entity, metric)
    before = ReadingFilter(
        stream, entity, metric, shown.since - dt.timedelta(seconds=RANGE_WINDOW_S), shown.until
    )
    found, (reasons, notes) = await asyncio.gather(
        _points(serving, before), _known_about(serving, chosen)
    )
    drawn = await asyncio.to_thread(_drawn, found, shown)
    place_of = {time: n for n, time in enumerate(drawn["times"])}
    _say_expected(drawn, place_of, reasons)
    return data(
        {
            **drawn,
            "reasons": {
                place_of[time]: _reason(one)
                for one in reasons
                if (time := one.event_time.timestamp()) in place_of
            },
            "notes": [[one.at.timestamp(), one.kind, one.text] for one in notes],
        }
    )


async def _points(serving: ServingState, chosen: ReadingFilter) -> Points:
    async with serving.pool.connection() as connection:
        return await read_points(connection, chosen)


async def _known_about(
    serving: ServingState, chosen: ReadingFilter
) -> tuple[list[FlaggedPoint], list[Note]]:
    async with serving.pool.connection() as connection:
        reasons = await flagged_points(connection, chosen, limit=_MOST_REASONS)
        return reasons, await notes_in(connection, chosen)


@router.get("/readings.csv")
async def readings(
    request: Request, _viewer: Reading, stream: str, entity: str, metric: str
) -> Response:
    """Return every reading of the window as CSV, the newest first."""
    serving = serving_of(request)
    _, chosen, _ = await _chosen(request, serving, stream, entity, metric)
    headers = {**HEADERS, "content-disposition": 'attachment; filename="readings.csv"'}
    return StreamingResponse(_csv(serving, chosen), media_type="text/csv", headers=headers)


async def _csv(serving: ServingState, chosen: ReadingFilter) -> AsyncIterator[str]:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(
        (
            *("time", "entity", "metric", "value", "score", "is_anomaly", "threshold"),
            *("causes", "reason"),
        )
    )
    after: tuple[dt.datetime, str] | None = None
    while True:
        async with serving.pool.connection() as connection:
            rows = await read_page(connection, chosen, after=after, limit=_ROWS_AT_ONCE)
        for row in rows:
            texts = [
                _not_a_formula(text or "")
                for text in (row.entity, row.metric, row.causes, row.reason)
            ]
            writer.writerow(
                (
                    *(iso(row.event_time), *texts[:2], row.value, row.score, row.is_anomaly),
                    *(row.threshold, *texts[2:]),
                )
            )
        yield out.getvalue()
        out.seek(0)
        out.truncate()
        if len(rows) < _ROWS_AT_ONCE:
            return
        after = (rows[-1].event_time, rows[-1].metric)


async def _chosen(
    request: Request, serving: ServingState, stream: str, entity: str, metric: str
) -> tuple[Shown, ReadingFilter, dt.datetime | None]:
    """Return the window that is shown, the readings in it, and when the newest one was made.

    Raises
    ------
    ApiProblem
        404, when there is no such series; 422, when the address names no window.
    """
    if not known_stream(serving, stream).has_series:
        raise not_found(f"series of {stream!r}, whose scans have journeys")
    if not entity or not metric:
        raise ApiProblem(422, "a series has an entity and a metric")
    async with serving.pool.connection() as connection:
        newest = await known_metrics(connection, stream, entity, metric, kind="entity")
    shown = shown_span(request, newest[metric], _USUAL)
    return shown, ReadingFilter(stream, entity, metric, *shown), newest[metric]


def _drawn(found: Points, shown: Shown) -> dict[str, Any]:
    inside = found[found.times > shown.since.timestamp()]
    kept = inside[kept_points(inside, _SPANS)]
    # The range moves slowly: few values are enough, drawn as lines between them.
    ends = np.linspace(shown.since.timestamp(), shown.until.timestamp(), _RANGES + 1)
    at = kept.times if len(kept) <= ends.size else ends
    expected = expected_range(found, at)
    return {
        "times": kept.times.tolist(),
        "values": _numbers(kept.values),
        "scores": _numbers(kept.scores),
        "thresholds": _numbers(kept.thresholds),
        "low": _numbers(_lines(kept.times, at, expected.low)),
        "high": _numbers(_lines(kept.times, at, expected.high)),
        "flagged": np.flatnonzero(kept.flagged).tolist(),
        "readings": len(inside),
        "anomalies": int(inside.flagged.sum()),
    }


def _say_expected(
    drawn: dict[str, Any], place_of: dict[float, int], flagged: list[FlaggedPoint]
) -> None:
    """Draw the model's own range where a reading has one; elsewhere the band stays as it is."""
    for one in flagged:
        place = place_of.get(one.event_time.timestamp())
        if place is None or one.expected_low is None or one.expected_high is None:
            continue
        drawn["low"][place], drawn["high"][place] = one.expected_low, one.expected_high


def _lines(
    times: npt.NDArray[np.float64], at: npt.NDArray[np.float64], values: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return values at some times on the lines between known ones; NaN beside an unknown one."""
    return np.interp(times, at, values) if at.size else np.full(times.size, np.nan)


def _numbers(values: npt.NDArray[np.float64]) -> list[float | None]:
    """Return numbers as JSON has them, to eight digits of the largest: nobody sees more."""
    known = np.isfinite(values)
    if not known.any():
        return [None] * values.size
    largest = float(np.abs(values[known]).max())
    digits = _DIGITS - (math.floor(math.log10(largest)) if largest > 0 else 0)
    # Beyond that, rounding overflows.
    rounded = values.round(digits) if abs(digits) < 290 else values
    if known.all():
        return rounded.tolist()  # type: ignore[no-any-return]
    return [one if finite else None for one, finite in zip(rounded.tolist(), known, strict=True)]


def _reason(point: FlaggedPoint) -> dict[str, Any]:
    said = None if point.is_right is None else ("right" if point.is_right else "a false alarm")
    parts = (point.explanation or {}).get("parts") or {}
    return {"why": point.why, "mark": said, "shares": percentages(parts)}


def _in_sql(text: str) -> str:
    return text.replace("'", "''")


def _not_a_formula(text: str) -> str:
    """Return a text that no spreadsheet runs."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
