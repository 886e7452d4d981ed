"""Which series there are, when each was last read, and how many readings it has."""

import datetime as dt
from collections.abc import Sequence
from typing import Any, Final

from psycopg import AsyncConnection

from anomaly_platform.ml.drift.days import LAST_DAYS, DayChange, LastDays, told
from anomaly_platform.queries.rows import count
from anomaly_platform.streams import Stream

LastReadings = dict[str, dt.datetime | None]
"""Metrics, each with the time of its newest reading."""

#: Whole days, so never too few: a window that begins at noon counts its first morning, too.
_IN_WINDOW: Final = """
SELECT coalesce(max(rows), 0) FROM (
    SELECT sum(d.rows) AS rows FROM series AS s JOIN series_days AS d ON d.series_id = s.series_id
    WHERE s.stream = %(stream)s AND s.entity = %(entity)s
        AND (%(metric)s::text IS NULL OR s.metric = %(metric)s)
        AND d.day >= ((s.last_event - %(window)s) AT TIME ZONE 'UTC')::date
    GROUP BY s.series_id) AS per_series
"""


async def last_readings(connection: AsyncConnection[Any], stream: str, entity: str) -> LastReadings:
    """Return when each metric of an entity was last read; empty where the entity is unknown."""
    cursor = await connection.execute(
        "SELECT metric, max(last_event) FROM ("
        "SELECT metric, last_event FROM series "
        "WHERE stream = %(stream)s AND entity = %(entity)s AND rows > 0 UNION ALL "
        "SELECT metric, last_event FROM series_state JOIN series_heads USING (id) "
        "WHERE stream = %(stream)s AND entity = %(entity)s) known GROUP BY metric ORDER BY metric",
        {"stream": stream, "entity": entity},
    )
    return {str(metric): last for metric, last in await cursor.fetchall()}


async def changes_of(
    connection: AsyncConnection[Any], stream: Stream, entity: str, metric: str, day: dt.date
) -> LastDays | None:
    """Say what has changed on the last days up to `day` of a series, against its model."""
    cursor = await connection.execute(
        "SELECT change, coalesce(noise_ratio, 'NaN'), coalesce(swing_ratio, 'NaN') "
        "FROM series_drift WHERE stream = %s AND day > %s AND day <= %s AND entity = %s "
        "AND metric = %s AND bundle_version = (SELECT version FROM champions "
        "WHERE stream = series_drift.stream AND detector = %s) ORDER BY day",
        (stream.name, day - dt.timedelta(days=LAST_DAYS), day, entity, metric, stream.scored_by),
    )
    return told([DayChange(*row) for row in await cursor.fetchall()])


async def metrics_by_entity(
    connection: AsyncConnection[Any], stream: str, entities: Sequence[str] | None
) -> dict[str, set[str]]:
    """Return the metrics of each entity that a batch has seen, of some entities or of all."""
    cursor = await connection.execute(
        "SELECT entity, array_agg(metric) FROM series WHERE stream = %(stream)s AND rows > 0 "
        "AND (%(entities)s::text[] IS NULL OR entity = ANY(%(entities)s)) "
        "GROUP BY entity ORDER BY entity",
        {"stream": stream, "entities": None if entities is None else list(entities)},
    )
    return {str(entity): set(metrics) for entity, metrics in await cursor.fetchall()}


async def most_readings(
    connection: AsyncConnection[Any],
    stream: str,
    series: Sequence[tuple[str, str | None]],
    window: dt.timedelta,
    *,
    enough: int,
) -> int:
    """Return the readings of the series that has most of them, in the window before its newest one.

    Parameters
    ----------
    series : sequence of (str, str or None)
        Entity and metric of each; without a metric, the entity's metric with most readings counts.
    enough : int
        Counting ends with the first series that has so many.
    """
    most = 0
    for entity, metric in series:
        key = {"stream": stream, "entity": entity, "metric": metric, "window": window}
        most = max(most, await count(connection, _IN_WINDOW, key))
        if most >= enough:
            break
    return most
