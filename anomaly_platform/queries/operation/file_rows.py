"""The rows of a file that was taken in, each with what became of it."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from psycopg import AsyncConnection

from anomaly_platform.queries.rows import fetch_all
from anomaly_platform.queries.scored_readings import WHY

#: Of streams with series, and of scans: the score of a row `r`, as columns of `s`.
_SCORED: Final = {
    True: f"""
        SELECT true AS is_scored, score, is_anomaly, {WHY} AS why FROM scored_metrics s
        WHERE s.stream = %(stream)s AND s.entity = r.entity AND s.metric = r.metric
            AND s.event_time = r.event_time""",  # noqa: S608 - a constant
    False: """
        SELECT true AS is_scored, final_confidence / 100 AS score, is_anomaly, explanation AS why
        FROM scored_scans s WHERE s.stream = %(stream)s AND s.epc_code = r.entity
            AND s.event_time = r.event_time
        ORDER BY (s.place = r.value) DESC NULLS LAST, score DESC NULLS LAST LIMIT 1""",
}
_FATES: Final = """
SELECT coalesce(s.is_scored, false) AS is_scored, s.score, coalesce(s.is_anomaly, false)
    AS is_anomaly, s.why, q.refused,
    -- Two scans of one code and time differ in place or step, and have a score each.
    CASE WHEN %(has_series)s AND s.is_scored THEN
        nullif(min(r.number) FILTER (WHERE q.refused IS NULL)
            OVER (PARTITION BY r.entity, r.metric, r.event_time), r.number) END AS repeats
FROM unnest(%(numbers)s::bigint[], %(columns)s::text[], %(entities)s::text[], %(metrics)s::text[],
    %(times)s::timestamptz[], %(values)s::text[])
    WITH ORDINALITY AS r (number, column_name, entity, metric, event_time, value, place)
LEFT JOIN LATERAL (SELECT reason AS refused FROM quarantine WHERE stream = %(stream)s
    AND digest = %(digest)s AND row_number = r.number AND column_name = coalesce(r.column_name, '')
    LIMIT 1) q ON true
-- Another row of the same series and time may be scored where this one is refused.
LEFT JOIN LATERAL ({scored}) s ON q.refused IS NULL
ORDER BY r.place
"""


class RawRow(NamedTuple):
    """A row as it was read: of a scan the entity is the code, and the metric is ``scan``."""

    number: int
    column: str
    entity: str | None
    metric: str | None
    event_time: dt.datetime | None
    value: str | None


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of a row.

    Attributes
    ----------
    is_scored : bool
        Whether it has been looked at; without a score where too little is known.
    refused : str or None
        Why it is in quarantine; then it has no score.
    repeats : int or None
        Number of the first of the rows that are about the same series and time, where this is
        another one; they have one score together. None of scans.
    """

    is_scored: bool
    score: float | None
    is_anomaly: bool
    why: str | None
    refused: str | None
    repeats: int | None


async def fates_of(
    connection: AsyncConnection[Any],
    stream: str,
    digest: str,
    rows: Sequence[RawRow],
    *,
    has_series: bool,
) -> list[Fate]:
    """Return what became of some rows of a file, in their order."""
    values = {
        "stream": stream,
        "digest": digest,
        "numbers": [one.number for one in rows],
        "columns": [one.column for one in rows],
        "entities": [one.entity for one in rows],
        "metrics": [one.metric for one in rows],
        "times": [one.event_time for one in rows],
        "values": [one.value for one in rows],
        "has_series": has_series,
    }
    statement = _FATES.format(scored=_SCORED[has_series]).encode()
    return await fetch_all(connection, Fate, statement, values)
