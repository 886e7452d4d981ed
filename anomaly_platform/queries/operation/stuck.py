"""Which series are stuck.

The reason of a reading says that its value stays for longer than ever; no other value came since.
"""

import datetime as dt
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection

from anomaly_platform.ml.scoring.reasons import STUCK_REASONS
from anomaly_platform.queries.rows import fetch_all


@dataclass(frozen=True, slots=True)
class StuckSeries:
    """A series whose value does not move.

    Attributes
    ----------
    until : datetime
        The newest reading that says so.
    reason : str
        For how long, and for how long at most before.
    """

    entity: str
    metric: str
    until: dt.datetime
    reason: str


async def stuck_series(
    connection: AsyncConnection[Any],
    stream: str,
    since: dt.datetime,
    *,
    limit: int,
) -> list[StuckSeries]:
    """Return the series of a stream that have been stuck at some time since, and still are."""
    return await fetch_all(
        connection,
        StuckSeries,
        """
        SELECT DISTINCT ON (entity, metric) entity, metric, event_time AS until, reason
        FROM scored_metrics f WHERE stream = %(stream)s AND is_anomaly
            AND event_time > %(since)s AND reason LIKE ANY (%(stuck)s)
            AND NOT EXISTS (SELECT FROM scored_metrics r WHERE r.stream = f.stream
                AND r.entity = f.entity AND r.metric = f.metric
                AND r.event_time > f.event_time AND r.value <> f.value)
        ORDER BY entity, metric, event_time DESC LIMIT %(limit)s
        """,
        {"stream": stream, "since": since, "stuck": list(STUCK_REASONS), "limit": limit},
    )
