"""What is silent, and which series are stuck.

Silent is what an alert of that kind was raised about and what was not heard since, also where
somebody has resolved the alert. Stuck: the reason of a reading says that its value stays for longer
than ever; no other value came since.
"""

import datetime as dt
from dataclasses import dataclass
from typing import Any, Final

from psycopg import AsyncConnection

from anomaly_platform.incidents.stream_silence import name_of
from anomaly_platform.incidents.triage import RESOLVED
from anomaly_platform.ml.scoring.reasons import STUCK_REASONS
from anomaly_platform.queries.rows import fetch_all


@dataclass(frozen=True, slots=True)
class Silence:
    """A stream, an entity or a series that is not heard.

    Attributes
    ----------
    entity, metric : str or None
        None of a stream or of many entities, of an entity as a whole.
    last_event : datetime
        When it was heard last.
    reason : str
        Since when, and what is usual; entities where it is about many.
    resolved_by : str or None
        Who resolved its alert while it was silent.
    """

    fingerprint: str
    stream: str
    title: str
    entity: str | None
    metric: str | None
    last_event: dt.datetime
    reason: str
    resolved_by: str | None

    @property
    def is_of_stream(self) -> bool:
        """Whether nothing comes of the whole stream."""
        return self.fingerprint == name_of(self.stream)


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


_SILENT: Final = """
SELECT a.fingerprint, a.stream, a.title, known.entity, known.metric, known.last_event,
    coalesce(a.details ->> 'reason', (SELECT string_agg(name, ', ')
        FROM jsonb_array_elements_text(a.details -> 'for_example') name), '') AS reason,
    CASE WHEN a.state <> 'open' THEN by_hand.actor END AS resolved_by
FROM alerts a CROSS JOIN LATERAL (SELECT a.details ->> 'entity' AS entity,
    a.details ->> 'metric' AS metric,
    CAST(a.details ->> 'last_event' AS timestamptz) AS last_event) known
LEFT JOIN LATERAL (SELECT actor FROM audit_log WHERE subject = 'alert ' || a.fingerprint
    AND action = %(resolved)s AND at >= a.opened_at ORDER BY at DESC LIMIT 1) by_hand ON true
WHERE a.kind = 'silent' AND (a.state = 'open' OR by_hand.actor IS NOT NULL AND NOT EXISTS (
    SELECT FROM series s LEFT JOIN series_state t USING (stream, entity, metric)
        LEFT JOIN series_heads h USING (id)
    WHERE known.entity IS NOT NULL AND s.stream = a.stream AND s.entity = known.entity
        AND s.metric = coalesce(known.metric, s.metric)
        AND greatest(s.last_event, h.last_event) > known.last_event
) AND NOT (known.entity IS NULL AND (EXISTS (
    SELECT FROM ingest_ledger l WHERE l.stream = a.stream AND l.status = 'ingested'
        AND l.ingest_date >= (known.last_event AT TIME ZONE 'UTC')::date
        AND l.ingested_at > known.last_event
) OR EXISTS (SELECT FROM online_readings o WHERE o.stream = a.stream AND o.batch_id IS NULL
    AND o.received_at > known.last_event))))
ORDER BY known.entity IS NOT NULL, a.stream, a.fingerprint
"""


async def what_is_silent(connection: AsyncConnection[Any]) -> list[Silence]:
    """Return what is silent, whole streams first."""
    return await fetch_all(connection, Silence, _SILENT, {"resolved": RESOLVED})


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
