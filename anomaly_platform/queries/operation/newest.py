# ruff: noqa: S608 - statements are put together from constants of this module
"""How new each stream's newest reading is, and which series fell silent.

A series is silent when nothing came for ten of its usual intervals, counted to the newest reading
of its stream: imported history is judged as live data is. The usual interval is the median, over
the last 28 days on which it was read, of the mean pause between two readings of a day.
"""

import datetime as dt
from dataclasses import dataclass
from typing import Any, Final

from psycopg import AsyncConnection

from anomaly_platform.queries.rows import count, fetch_all

SILENT_AFTER_INTERVALS: Final = 10

_NEWEST: Final = """
SELECT stream, max(last_event) AS newest, sum(series)::bigint AS series FROM (
    SELECT stream, max(last_event) AS last_event, count(*) AS series FROM series
    WHERE rows > 0 GROUP BY stream
    UNION ALL
    SELECT stream, max(last_event), 0 FROM series_state JOIN series_heads USING (id)
    GROUP BY stream
    UNION ALL
    SELECT d.stream, (SELECT max(event_time) FROM scored_scans s
        WHERE s.stream = d.stream AND s.day = d.day), 0
    FROM (SELECT stream, max(day) AS day FROM scored_days GROUP BY stream) d
    WHERE NOT EXISTS (SELECT FROM series WHERE series.stream = d.stream)
) known GROUP BY stream
"""
#: Of a stream's series: when each was last read, and what usually lies between two readings.
_LAST: Final = """
WITH usual AS (
    SELECT d.series_id, percentile_cont(0.5) WITHIN GROUP (ORDER BY
        extract(epoch FROM d.last_event - d.first_event) / nullif(d.rows - 1, 0)) AS seconds
    FROM series_days d
    WHERE d.stream = %(stream)s AND d.day > (%(newest)s::timestamptz)::date - 28
    GROUP BY d.series_id
), last AS (
    SELECT s.entity, s.metric, greatest(s.last_event, h.last_event) AS last_event,
        coalesce(u.seconds, extract(epoch FROM s.last_event - s.first_event)
            / nullif(s.rows - 1, 0))::float8 AS usual_s
    FROM series s LEFT JOIN usual u USING (series_id)
    LEFT JOIN (series_state e JOIN series_heads h USING (id))
        ON e.stream = s.stream AND e.entity = s.entity AND e.metric = s.metric
    WHERE s.stream = %(stream)s AND s.rows > 0
)
"""
_IS_SILENT: Final = (
    f"usual_s > 0 AND last_event + {SILENT_AFTER_INTERVALS} * usual_s * interval '1 s' "
    "< %(newest)s::timestamptz"
)


@dataclass(frozen=True, slots=True)
class NewestReading:
    """How far a stream has come.

    Attributes
    ----------
    newest : datetime or None
        When its newest reading or scan was made.
    series : int
        How many series it has; 0 of scans.
    """

    stream: str
    newest: dt.datetime | None
    series: int


@dataclass(frozen=True, slots=True)
class SilentSeries:
    """A series from which nothing has come for long.

    Attributes
    ----------
    usual_s : float
        Seconds that usually lie between two readings.
    """

    entity: str
    metric: str
    last_event: dt.datetime
    usual_s: float


async def newest_readings(connection: AsyncConnection[Any]) -> dict[str, NewestReading]:
    """Return how far each stream has come, by its name; streams without data are not in it."""
    found = await fetch_all(connection, NewestReading, _NEWEST, {})
    return {one.stream: one for one in found}


async def silent_series(
    connection: AsyncConnection[Any], stream: str, newest: dt.datetime, *, limit: int
) -> tuple[list[SilentSeries], int]:
    """Return the series of a stream that fell silent, the last to do so first, and their number."""
    values = {"stream": stream, "newest": newest, "limit": limit}
    found = await fetch_all(
        connection,
        SilentSeries,
        f"{_LAST} SELECT entity, metric, last_event, usual_s FROM last WHERE {_IS_SILENT} "
        "ORDER BY last_event DESC, entity, metric LIMIT %(limit)s",
        values,
    )
    if len(found) < limit:
        return found, len(found)
    return found, await count(
        connection, f"{_LAST} SELECT count(*) FROM last WHERE {_IS_SILENT}", values
    )
