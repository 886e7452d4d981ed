"""Which entities and codes are worst: those with the highest score in a window, flagged.

Entities are ranked by score until incidents say more.
"""

import datetime as dt
import uuid
from dataclasses import dataclass
from typing import Any, Final

from psycopg import AsyncConnection

from anomaly_platform.queries.rows import fetch_all
from anomaly_platform.queries.scored_readings import WHY

#: The newest label `l` of each worst row `w`.
LABELLED: Final = """
    LEFT JOIN LATERAL (
        SELECT id, is_anomaly FROM feedback_labels l
        WHERE l.stream = %(stream)s AND l.entity = w.entity AND l.metric = w.metric
            AND l.event_time = w.event_time ORDER BY created_at DESC, id DESC LIMIT 1
    ) l ON true
"""


@dataclass(frozen=True, slots=True)
class WorstEntity:
    """An entity with flagged readings, and the worst of them.

    Attributes
    ----------
    flagged : int
        Its flagged readings in the window.
    metric, event_time, value, score, why, explanation
        Of the flagged reading with the highest score; the newest where several have it.
    is_right : bool or None
        What a person has said of that reading; None where nobody has.
    label_id : UUID or None
        Of what was said.
    """

    entity: str
    flagged: int
    metric: str
    event_time: dt.datetime
    value: float | None
    score: float
    why: str | None
    explanation: dict[str, Any] | None
    is_right: bool | None
    label_id: uuid.UUID | None


@dataclass(frozen=True, slots=True)
class WorstCode:
    """A code of a tag with flagged scans, and the worst of them; as :class:`WorstEntity`."""

    entity: str
    flagged: int
    event_time: dt.datetime
    place: str | None
    product: str | None
    score: float
    explanation: str | None
    is_right: bool | None
    label_id: uuid.UUID | None


async def worst_entities(
    connection: AsyncConnection[Any],
    stream: str,
    since: dt.datetime,
    until: dt.datetime,
    *,
    limit: int,
) -> list[WorstEntity]:
    """Return the entities with the highest scores among flagged readings, the worst first."""
    flagged = """
        SELECT entity, metric, event_time, value, score, causes, reason, explanation,
            count(*) OVER (PARTITION BY entity) AS flagged,
            row_number() OVER (PARTITION BY entity ORDER BY score DESC, event_time DESC) AS n
        FROM scored_metrics WHERE stream = %(stream)s AND is_anomaly
            AND event_time > %(since)s AND event_time <= %(until)s
    """
    return await fetch_all(
        connection,
        WorstEntity,
        _worst_of(flagged, f"w.metric, w.event_time, w.value, w.score, {WHY} AS why, explanation"),
        {"stream": stream, "since": since, "until": until, "limit": limit},
    )


async def worst_codes(
    connection: AsyncConnection[Any],
    stream: str,
    since: dt.datetime,
    until: dt.datetime,
    *,
    limit: int,
) -> list[WorstCode]:
    """Return the codes with the highest confidence among flagged scans, the worst first."""
    flagged = """
        SELECT epc_code AS entity, 'scan' AS metric, event_time,
            coalesce(place_name, place) AS place, product_name AS product,
            final_confidence / 100 AS score, explanation,
            count(*) OVER (PARTITION BY epc_code) AS flagged,
            row_number() OVER (PARTITION BY epc_code
                ORDER BY final_confidence DESC, event_time DESC) AS n
        FROM scored_scans WHERE stream = %(stream)s AND is_anomaly
            AND event_time > %(since)s AND event_time <= %(until)s
    """
    return await fetch_all(
        connection,
        WorstCode,
        _worst_of(flagged, "w.event_time, w.place, w.product, w.score, w.explanation"),
        {"stream": stream, "since": since, "until": until, "limit": limit},
    )


def _worst_of(flagged: str, shown: str) -> str:
    """Return the question for the worst row of each entity.

    Parameters
    ----------
    flagged : str
        Query of the flagged rows, with `n` from 1 for the worst of an entity.
    shown : str
        What is shown of it as `w`, besides the entity and how many rows are flagged.
    """
    return f"""
        WITH flagged AS ({flagged}), worst AS (
            SELECT * FROM flagged WHERE n = 1
            ORDER BY score DESC, flagged DESC, entity LIMIT %(limit)s
        )
        SELECT w.entity, w.flagged, {shown}, l.is_anomaly AS is_right, l.id AS label_id
        FROM worst w {LABELLED}
        ORDER BY w.score DESC, w.flagged DESC, w.entity
    """  # noqa: S608 - constants of this module


async def worst_readings(
    connection: AsyncConnection[Any],
    stream: str,
    entity: str,
    since: dt.datetime,
    until: dt.datetime,
    *,
    limit: int,
) -> list[WorstEntity]:
    """Return an entity's flagged readings with the highest scores; `flagged` is 1 of each."""
    return await fetch_all(
        connection,
        WorstEntity,
        f"""
        SELECT w.entity, 1 AS flagged, w.metric, w.event_time, w.value, w.score,
            {WHY} AS why, explanation, l.is_anomaly AS is_right, l.id AS label_id
        FROM (SELECT * FROM scored_metrics WHERE stream = %(stream)s AND entity = %(entity)s
            AND is_anomaly AND event_time > %(since)s AND event_time <= %(until)s
            ORDER BY score DESC, event_time DESC LIMIT %(limit)s) w
        """  # noqa: S608
        + LABELLED
        + """
        ORDER BY w.score DESC, w.event_time DESC
        """,
        {"stream": stream, "entity": entity, "since": since, "until": until, "limit": limit},
    )
