# ruff: noqa: S608 - statements are put together from constants of this module
"""Which series are stuck: one value for longer than ever in the 28 days before.

A series that knew no other value in those days is constant, and no news. What a detector finds is
elsewhere; this needs no model.
"""

import datetime as dt
from dataclasses import dataclass
from typing import Any, Final

from psycopg import AsyncConnection

from anomaly_platform.queries.rows import fetch_all

#: A value that repeats less often may be chance.
_FEWEST: Final = 5
#: Series that are looked at closely at most; more at once is one trouble, not hundreds.
_MOST: Final = 200

#: Series whose last readings are alike: a look at the end of each in the index.
_CANDIDATES: Final = """
SELECT s.entity, s.metric FROM series s CROSS JOIN LATERAL (
    SELECT count(*) AS readings, min(value) AS low, max(value) AS high FROM (
        SELECT value FROM scored_metrics r
        WHERE r.stream = %(stream)s AND r.entity = s.entity AND r.metric = s.metric
        ORDER BY r.event_time DESC LIMIT %(fewest)s) AS ends) AS e
WHERE s.stream = %(stream)s AND s.rows >= %(fewest)s
    AND s.last_event > %(newest)s - interval '28 days'
    AND e.readings = %(fewest)s AND e.low = e.high
ORDER BY s.entity, s.metric LIMIT %(most)s
"""
_RUNS: Final = f"""
WITH candidates AS ({_CANDIDATES}), marked AS (
    SELECT r.entity, r.metric, r.event_time, r.value,
        (r.value IS DISTINCT FROM lag(r.value) OVER w)::int AS begins
    FROM candidates c JOIN scored_metrics r ON r.stream = %(stream)s
        AND r.entity = c.entity AND r.metric = c.metric
        AND r.event_time > %(newest)s - interval '28 days'
    WINDOW w AS (PARTITION BY r.entity, r.metric ORDER BY r.event_time)
), numbered AS (
    SELECT *, sum(begins) OVER (PARTITION BY entity, metric ORDER BY event_time) AS run
    FROM marked
), runs AS (
    SELECT entity, metric, run, min(value) AS value, min(event_time) AS since,
        max(event_time) AS until, count(*) AS readings
    FROM numbered GROUP BY entity, metric, run
), ranked AS (
    SELECT *, row_number() OVER w AS from_last,
        max(until - since) OVER (PARTITION BY entity, metric ORDER BY run
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS longest
    FROM runs WINDOW w AS (PARTITION BY entity, metric ORDER BY run DESC)
)
SELECT entity, metric, value, since, until, readings, longest FROM ranked
WHERE from_last = 1 AND value IS NOT NULL AND until - since > longest
ORDER BY until - since DESC, entity, metric LIMIT %(limit)s
"""


@dataclass(frozen=True, slots=True)
class StuckSeries:
    """A series whose value does not move.

    Attributes
    ----------
    since, until : datetime
        First and last reading with the value.
    longest : timedelta
        How long one value lasted at most in the 28 days before.
    """

    entity: str
    metric: str
    value: float
    since: dt.datetime
    until: dt.datetime
    readings: int
    longest: dt.timedelta


async def stuck_series(
    connection: AsyncConnection[Any], stream: str, newest: dt.datetime, *, limit: int
) -> list[StuckSeries]:
    """Return the series of a stream that are stuck, the one stuck for longest first."""
    return await fetch_all(
        connection,
        StuckSeries,
        _RUNS,
        {
            "stream": stream,
            "newest": newest,
            "fewest": _FEWEST,
            "most": _MOST,
            "limit": limit,
        },
    )
