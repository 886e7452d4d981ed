"""What there is about one entity: its metrics, each with its newest readings."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection

from anomaly_platform.queries.rows import fetch_all


@dataclass(frozen=True, slots=True)
class MetricSummary:
    """A metric of an entity in a window.

    Attributes
    ----------
    latest : float or None
        Its newest value.
    curve : list of float or None
        Value of each of the spans of the window that has readings that lies farthest from the
        metric's mean, so that no peak is averaged away; in order.
    spans : list of int
        Which spans those are.
    """

    metric: str
    newest: dt.datetime
    readings: int
    flagged: int
    highest: float | None
    latest: float | None
    low: float | None
    high: float | None
    spans: list[int]
    curve: list[float | None]


async def metric_summaries(
    connection: AsyncConnection[Any],
    stream: str,
    entity: str,
    since: dt.datetime,
    until: dt.datetime,
    edges: Sequence[dt.datetime],
) -> list[MetricSummary]:
    """Return the metrics of an entity with readings in a window, the worst first.

    Parameters
    ----------
    edges : sequence of datetime
        Where the spans of the curves begin, ascending; the first is the window's beginning.
    """
    return await fetch_all(
        connection,
        MetricSummary,
        """
        WITH found AS (
            SELECT metric, event_time, value, score, is_anomaly,
                width_bucket(event_time, %(edges)s::timestamptz[]) AS span
            FROM scored_metrics WHERE stream = %(stream)s AND entity = %(entity)s
                AND event_time > %(since)s AND event_time <= %(until)s
        ), spans AS (
            SELECT metric, span, avg(value) AS mean, count(*) AS readings,
                count(*) FILTER (WHERE is_anomaly) AS flagged, max(score) AS highest,
                min(value) AS low, max(value) AS high, max(event_time) AS newest,
                (array_agg(value ORDER BY event_time DESC))[1] AS latest
            FROM found GROUP BY metric, span
        ), centred AS (
            SELECT *, avg(mean) OVER (PARTITION BY metric) AS centre FROM spans
        )
        SELECT metric, max(newest) AS newest, sum(readings)::bigint AS readings,
            sum(flagged)::bigint AS flagged, max(highest) AS highest,
            (array_agg(latest ORDER BY span DESC))[1] AS latest, min(low) AS low,
            max(high) AS high, array_agg(span ORDER BY span) AS spans,
            array_agg(
                CASE WHEN high - centre >= centre - low THEN high ELSE low END ORDER BY span
            ) AS curve
        FROM centred GROUP BY metric ORDER BY highest DESC NULLS LAST, flagged DESC, metric
        """,
        {
            "stream": stream,
            "entity": entity,
            "since": since,
            "until": until,
            "edges": list(edges),
        },
    )
