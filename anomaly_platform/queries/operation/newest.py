"""How new each stream's newest reading is."""

import datetime as dt
from dataclasses import dataclass
from typing import Any, Final

from psycopg import AsyncConnection

from anomaly_platform.queries.rows import fetch_all

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


async def newest_readings(connection: AsyncConnection[Any]) -> dict[str, NewestReading]:
    """Return how far each stream has come, by its name; streams without data are not in it."""
    found = await fetch_all(connection, NewestReading, _NEWEST, {})
    return {one.stream: one for one in found}
