"""The journey of a code: its scans in order, what was to be expected, and who travelled with it.

What was to be expected is what other codes did after the same kind of scan at the same place, in
the 28 days until then: where most of them were scanned next, and after how long.
"""

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from psycopg import AsyncConnection

from anomaly_platform.queries.rows import fetch_all

#: Scans at a place that are followed to the next one, to know what is usual.
_FOLLOWED: Final = 300
#: Scans that are looked through for a part of a code: a second's work at most.
_LOOKED_AT: Final = 200_000
#: Codes scanned at one place within so many minutes of each other are taken for companions.
_TOGETHER: Final = dt.timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class JourneyScan:
    """A scan of a code, with its verdict.

    Attributes
    ----------
    score : float
        0 to 1.
    rules : list of str
        The rules that hold it for an anomaly.
    """

    event_time: dt.datetime
    place: str | None
    place_name: str | None
    step: str | None
    event_type: str | None
    latitude: float | None
    longitude: float | None
    product: str | None
    score: float
    is_anomaly: bool
    severity: str
    explanation: str | None
    rules: list[str]
    is_right: bool | None
    label_id: uuid.UUID | None


@dataclass(frozen=True, slots=True)
class Step:
    """From one scan of a code to its next one."""

    start: JourneyScan
    end: JourneyScan


@dataclass(frozen=True, slots=True)
class Expected:
    """Where codes usually go after such a scan.

    Attributes
    ----------
    number : int
        Which of the asked steps it is about, from 0 on.
    place, share, seconds
        Where most of them were scanned next, which share of them, and after how long (median).
    own_share : float
        The share that went where this code went.
    own_seconds : float or None
        How long those took (median); None where there are none.
    codes : int
        How many codes were followed.
    """

    number: int
    place: str
    share: float
    seconds: float
    own_share: float
    own_seconds: float | None
    codes: int


@dataclass(frozen=True, slots=True)
class FoundCode:
    """A code that was searched for by a part of it.

    Attributes
    ----------
    scans : int
        Of those that were looked through.
    """

    code: str
    scans: int
    last_place: str | None
    last_time: dt.datetime


@dataclass(frozen=True, slots=True)
class Companion:
    """Another code that was scanned where and when this one was.

    Attributes
    ----------
    together : int
        Scans that both share.
    last_place, last_time
        Where it was scanned last.
    """

    code: str
    together: int
    flagged: int
    last_place: str | None
    last_time: dt.datetime


async def journey_of(
    connection: AsyncConnection[Any], stream: str, code: str, *, limit: int
) -> list[JourneyScan]:
    """Return the newest scans of a code in the order of time."""
    found = await fetch_all(
        connection,
        JourneyScan,
        """
        SELECT s.event_time, s.place, s.place_name, s.step, s.event_type, s.latitude, s.longitude,
            s.product_name AS product, s.final_confidence / 100 AS score, s.is_anomaly,
            s.severity, s.explanation, array_remove(ARRAY[
                CASE WHEN epc_fake_score >= 50 THEN 'fake code' END,
                CASE WHEN epc_dup_score >= 50 THEN 'duplicate scan' END,
                CASE WHEN loc_err_score >= 50 THEN 'wrong place' END,
                CASE WHEN evt_order_err_score >= 50 THEN 'wrong order' END,
                CASE WHEN jump_score >= 50 THEN 'impossible jump' END], NULL) AS rules,
            l.is_anomaly AS is_right, l.id AS label_id
        FROM scored_scans s LEFT JOIN LATERAL (
            SELECT id, is_anomaly FROM feedback_labels l WHERE l.stream = %(stream)s
                AND l.entity = s.epc_code AND l.metric = 'scan' AND l.event_time = s.event_time
            ORDER BY created_at DESC, id DESC LIMIT 1) l ON true
        WHERE s.stream = %(stream)s AND s.epc_code = %(code)s
        ORDER BY s.event_time DESC, s.event_id LIMIT %(limit)s
        """,
        {"stream": stream, "code": code, "limit": limit},
    )
    return found[::-1]


async def codes_with(
    connection: AsyncConnection[Any], stream: str, part: str, newest: dt.datetime, *, limit: int
) -> list[FoundCode]:
    """Return the codes with a text in them that were scanned last, the newest first.

    Only the newest scans of the last 28 days are looked through.
    """
    return await fetch_all(
        connection,
        FoundCode,
        """
        SELECT code, max(event_time) AS last_time, count(*) AS scans,
            (array_agg(place ORDER BY event_time DESC))[1] AS last_place
        FROM (SELECT epc_code AS code, event_time, coalesce(place_name, place) AS place
            FROM scored_scans WHERE stream = %(stream)s AND event_time <= %(newest)s
                AND event_time > %(newest)s - interval '28 days'
            ORDER BY event_time DESC LIMIT %(looked_at)s) newest
        WHERE strpos(lower(code), lower(%(part)s)) > 0
        GROUP BY code ORDER BY last_time DESC, code LIMIT %(limit)s
        """,
        {
            "stream": stream,
            "part": part,
            "newest": newest,
            "looked_at": _LOOKED_AT,
            "limit": limit,
        },
    )


async def expected_next(
    connection: AsyncConnection[Any], stream: str, steps: Sequence[Step]
) -> dict[int, Expected]:
    """Return where codes usually went at the time, by number of the step.

    Others are followed that had the same place, business step and kind of event before.
    """
    starts, ends = [one.start for one in steps], [one.end for one in steps]
    found = await fetch_all(
        connection,
        Expected,
        """
        SELECT m.number::int - 1 AS number, usual.* FROM unnest(%(places)s::text[],
            %(steps)s::text[], %(kinds)s::text[], %(times)s::timestamptz[], %(goals)s::text[])
            WITH ORDINALITY m(place, step, kind, at, goal, number)
        CROSS JOIN LATERAL (
            SELECT (array_agg(name ORDER BY codes DESC, place))[1] AS place,
                max(codes)::float8 / sum(codes)::float8 AS share,
                (array_agg(seconds ORDER BY codes DESC, place))[1] AS seconds,
                coalesce(sum(codes) FILTER (WHERE place = m.goal), 0)::float8
                    / sum(codes)::float8 AS own_share,
                max(seconds) FILTER (WHERE place = m.goal) AS own_seconds,
                sum(codes)::bigint AS codes
            FROM (
                SELECT n.place, max(coalesce(n.place_name, n.place)) AS name, count(*) AS codes,
                    percentile_cont(0.5) WITHIN GROUP (ORDER BY
                        extract(epoch FROM n.event_time - p.event_time))::float8 AS seconds
                FROM (SELECT epc_code, event_time FROM scored_scans
                    WHERE stream = %(stream)s AND place = m.place
                        AND step IS NOT DISTINCT FROM m.step
                        AND event_type IS NOT DISTINCT FROM m.kind
                        AND event_time < m.at AND event_time > m.at - interval '28 days'
                    ORDER BY event_time DESC LIMIT %(followed)s) p
                CROSS JOIN LATERAL (SELECT place, place_name, event_time FROM scored_scans s
                    WHERE s.stream = %(stream)s AND s.epc_code = p.epc_code
                        AND s.event_time > p.event_time AND s.event_time < m.at
                    ORDER BY s.event_time LIMIT 1) n
                WHERE n.place IS NOT NULL GROUP BY n.place
            ) each_place HAVING sum(codes) > 0
        ) usual
        """,
        {
            "stream": stream,
            "places": [one.place for one in starts],
            "steps": [one.step for one in starts],
            "kinds": [one.event_type for one in starts],
            "times": [one.event_time for one in ends],
            "goals": [one.place for one in ends],
            "followed": _FOLLOWED,
        },
    )
    return {one.number: one for one in found}


async def companions_of(
    connection: AsyncConnection[Any], stream: str, code: str, *, limit: int
) -> list[Companion]:
    """Return the codes that shared most scans of a code, by place and time."""
    return await fetch_all(
        connection,
        Companion,
        """
        WITH mine AS (
            SELECT place, event_time FROM scored_scans
            WHERE stream = %(stream)s AND epc_code = %(code)s AND place IS NOT NULL
            ORDER BY event_time DESC LIMIT 50
        ), others AS (
            SELECT s.epc_code AS code, count(DISTINCT m.event_time) AS together
            FROM mine m JOIN scored_scans s ON s.stream = %(stream)s AND s.place = m.place
                AND s.event_time BETWEEN m.event_time - %(near)s AND m.event_time + %(near)s
            WHERE s.epc_code <> %(code)s GROUP BY s.epc_code
            ORDER BY together DESC, s.epc_code LIMIT %(limit)s
        )
        SELECT o.code, o.together, f.flagged, last.place AS last_place,
            last.event_time AS last_time
        FROM others o
        CROSS JOIN LATERAL (SELECT count(*) FILTER (WHERE is_anomaly) AS flagged
            FROM scored_scans s WHERE s.stream = %(stream)s AND s.epc_code = o.code) f
        CROSS JOIN LATERAL (SELECT coalesce(place_name, place) AS place, event_time
            FROM scored_scans s WHERE s.stream = %(stream)s AND s.epc_code = o.code
            ORDER BY event_time DESC LIMIT 1) last
        ORDER BY o.together DESC, o.code
        """,
        {"stream": stream, "code": code, "near": _TOGETHER, "limit": limit},
    )
