# ruff: noqa: S608 - statements are put together from constants of this module
"""Scored readings of one device or asset, the batch's and those given in real time.

Belongs here: the statements over ``scored_<stream>`` and ``online_readings``. Where both have a
reading the batch's verdict is shown, which knows what came late. A window of hours ends at the
newest reading, not at the present, so that imported history can be asked for as well as live data.
"""

import datetime as dt
import uuid
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from psycopg import AsyncConnection

from anomaly_platform.queries.rows import fetch_all, fetch_one
from anomaly_platform.queries.series import LastReadings
from anomaly_platform.storage.postgres.transactions import Connection
from anomaly_platform.storage.tables.ml_models import FALLBACK, HAS_MODEL

_COLUMNS: Final = (
    "event_id, entity, metric, event_time, value, score, is_anomaly, threshold, status, p_value"
)
SCORED_ROWS: Final = f"""
    SELECT {_COLUMNS}, entity_score, entity_is_anomaly, causes::text AS causes, reason,
        expected_low, expected_high, deviation, direction, lasting, lasted_s, explanation, detector,
        bundle_version, false AS provisional
    FROM scored_metrics
    WHERE stream = %(stream)s AND entity = %(entity)s
        AND (%(metric)s::text IS NULL OR metric = %(metric)s)
        AND event_time > %(since)s AND event_time <= %(until)s
    UNION ALL
    SELECT {_COLUMNS}, NULL, NULL, NULL, told ->> 'reason',
        (told ->> 'expected_low')::float8, (told ->> 'expected_high')::float8,
        (told ->> 'deviation')::float8, told ->> 'direction', (told ->> 'lasting')::boolean,
        (told ->> 'lasted_s')::float8, told -> 'explanation',
        'isolation_forest', bundle_version, provisional
    FROM online_readings o LEFT JOIN LATERAL (
        SELECT metadata AS told FROM anomaly_detections d WHERE o.is_anomaly
            AND d.stream = o.stream AND d.device_id = o.entity AND d."timestamp" = o.event_time
            AND d.event_id = o.event_id LIMIT 1) said ON true
    WHERE stream = %(stream)s AND entity = %(entity)s
        AND (%(metric)s::text IS NULL OR metric = %(metric)s)
        AND event_time > %(since)s AND event_time <= %(until)s
        AND NOT EXISTS (
            SELECT FROM scored_metrics s WHERE s.stream = o.stream AND s.entity = o.entity
            AND s.metric = o.metric AND s.event_time = o.event_time)
"""
#: Why a row is flagged, in words; of some kinds of models the metrics behind it are all there is.
WHY: Final = """
    coalesce(reason, 'because of ' || (SELECT string_agg(cause, ', ' ORDER BY place)
        FROM jsonb_array_elements_text(causes::jsonb) WITH ORDINALITY named (cause, place)))
"""


@dataclass(frozen=True, slots=True)
class ScoredRow:
    """One reading with its verdict; names as in ``scored_metrics``."""

    event_id: Any
    entity: str
    metric: str
    event_time: dt.datetime
    value: float | None
    score: float | None
    is_anomaly: bool | None
    threshold: float
    status: str
    p_value: float | None
    entity_score: float | None
    entity_is_anomaly: bool | None
    causes: str | None
    reason: str | None
    expected_low: float | None
    expected_high: float | None
    deviation: float | None
    direction: str | None
    lasting: bool | None
    lasted_s: float | None
    explanation: dict[str, Any] | None
    detector: str
    bundle_version: int | None
    provisional: bool


@dataclass(frozen=True, slots=True)
class WindowSummary:
    """Figures of the readings in a window.

    Attributes
    ----------
    undecided
        Readings with a value that nobody can judge.
    entity_score, entity_is_anomaly
        Of the entity as a whole, over all its metrics; None where that is not known.
    """

    readings: int
    anomalies: int
    undecided: int
    entity_score: float | None
    entity_is_anomaly: bool | None
    highest_score: float | None


@dataclass(frozen=True, slots=True)
class ReadingFilter:
    """Which readings are read: of one entity, from after `since` to `until`, inclusive.

    Attributes
    ----------
    metric
        None means any.
    """

    stream: str
    entity: str
    metric: str | None
    since: dt.datetime
    until: dt.datetime


def last_hours(metrics: LastReadings, hours: float) -> tuple[dt.datetime, dt.datetime]:
    """Return begin and end of the last hours before the newest reading of some metrics."""
    newest = max((last for last in metrics.values() if last is not None), default=None)
    until = newest or dt.datetime.now(dt.UTC)
    return until - dt.timedelta(hours=hours), until


async def read_page(
    connection: AsyncConnection[Any],
    chosen: ReadingFilter,
    *,
    after: tuple[dt.datetime, str] | None,
    limit: int,
) -> list[ScoredRow]:
    """Return readings, the newest first and by metric, at most `limit` after a sort key."""
    time, name = after or (None, None)
    found = await fetch_all(
        connection,
        ScoredRow,
        f"SELECT * FROM ({SCORED_ROWS}) found WHERE %(time)s::timestamptz IS NULL "
        "OR event_time < %(time)s OR (event_time = %(time)s AND metric > %(name)s COLLATE "
        '"C") ORDER BY event_time DESC, metric COLLATE "C" LIMIT %(limit)s',
        {**asdict(chosen), "time": time, "name": name, "limit": limit},
    )
    return await _with_detectors(connection, chosen, found)


async def read_flagged(
    connection: AsyncConnection[Any],
    chosen: ReadingFilter,
    *,
    threshold: float | None,
    limit: int,
) -> tuple[list[ScoredRow], WindowSummary]:
    """Return the most unusual flagged readings, and figures of all readings of the window.

    Parameters
    ----------
    threshold
        Judges every score anew; None takes the verdicts as given.
    """
    flagged = "is_anomaly" if threshold is None else "score >= %(threshold)s"
    key = {**asdict(chosen), "threshold": threshold, "limit": limit}
    summary = await fetch_one(
        connection,
        WindowSummary,
        f"SELECT count(*) AS readings, count(*) FILTER (WHERE {flagged}) AS anomalies, "
        "count(*) FILTER (WHERE is_anomaly IS NULL AND value IS NOT NULL) AS undecided, "
        "max(entity_score) AS entity_score, bool_or(entity_is_anomaly) AS entity_is_anomaly, "
        "max(score) AS highest_score "
        f"FROM ({SCORED_ROWS}) found",
        key,
    )
    if summary is None:
        raise AssertionError("an aggregate without GROUP BY returned no row")
    found = await fetch_all(
        connection,
        ScoredRow,
        f"SELECT * FROM ({SCORED_ROWS}) found WHERE {flagged} "
        'ORDER BY score DESC, event_time DESC, metric COLLATE "C" LIMIT %(limit)s',
        key,
    )
    return await _with_detectors(connection, chosen, found), summary


async def _with_detectors(
    connection: AsyncConnection[Any], chosen: ReadingFilter, rows: list[ScoredRow]
) -> list[ScoredRow]:
    """Return rows with ``statistical`` as the detector of those that no model had a say in."""
    doubtful = {(row.metric, row.bundle_version) for row in rows if row.status != "trained"}
    if not doubtful:
        return rows
    metrics, versions = zip(*doubtful, strict=True)
    cursor = await connection.execute(
        "SELECT metric_name, bundle_version FROM ml_models JOIN unnest(%s::text[], %s::int[]) "
        "k(metric, version) ON metric_name = metric AND bundle_version = version "
        f"WHERE stream = %s AND device_id = %s AND {HAS_MODEL}",
        (list(metrics), list(versions), chosen.stream, chosen.entity),
    )
    without = doubtful.difference(await cursor.fetchall())
    return [
        replace(row, detector=FALLBACK)
        if row.status != "trained" and (row.metric, row.bundle_version) in without
        else row
        for row in rows
    ]


async def known_times(
    connection: AsyncConnection[Any], chosen: ReadingFilter
) -> set[tuple[str, int]]:
    """Return metric and time, in microseconds since 1970, of the readings that there are."""
    cursor = await connection.execute(
        "SELECT metric, (extract(epoch FROM event_time) * 1000000)::bigint "
        f"FROM ({SCORED_ROWS}) found",
        asdict(chosen),
    )
    return {(str(metric), int(time)) for metric, time in await cursor.fetchall()}


async def read_values(
    connection: AsyncConnection[Any],
    chosen: ReadingFilter,
    *,
    limit: int,
) -> list[tuple[str, dt.datetime, float | None]]:
    """Return metric, time and value of readings by metric and time, the newest `limit` of all."""
    cursor = await connection.execute(
        "SELECT metric, event_time, value FROM ("
        f"SELECT * FROM ({SCORED_ROWS}) found ORDER BY event_time DESC LIMIT %(limit)s) newest "
        'ORDER BY metric COLLATE "C", event_time',
        {**asdict(chosen), "limit": limit},
    )
    return [(str(name), time, value) for name, time, value in await cursor.fetchall()]


def find_reading(
    connection: Connection, stream: str, entity: str, metric: str, time: dt.datetime
) -> tuple[uuid.UUID | None] | None:
    """Return the id of a reading, scored or not yet, in a tuple; None where there is none."""
    at = (
        "stream = %(stream)s AND entity = %(entity)s AND metric = %(metric)s "
        "AND event_time = %(time)s"
    )
    return connection.execute(
        f"SELECT event_id FROM scored_metrics WHERE {at} UNION ALL "
        f"SELECT event_id FROM online_readings WHERE {at} LIMIT 1",
        {"stream": stream, "entity": entity, "metric": metric, "time": time},
    ).fetchone()
