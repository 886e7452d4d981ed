# ruff: noqa: S608 - statements are put together from constants of this module
"""Entities over time, as lanes of cells; of scans the places.

A cell counts the flagged rows of a lane in a span of time, its first moment included and its last
one not. The rows behind a cell are found by the same condition, so that the number and the list are
equal.
"""

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from psycopg import AsyncConnection

from anomaly_platform.queries.operation.worst import LABELLED
from anomaly_platform.queries.rows import count, fetch_all
from anomaly_platform.queries.scored_readings import WHY

#: Of streams with series, and of scans: the table, what a lane is, how unusual a row is, and what
#: people call the lane where that is something else.
_TABLES: Final = {
    True: ("scored_metrics", "entity", "score", "NULL::text"),
    False: ("scored_scans", "coalesce(place, '')", "final_confidence / 100", "place_name"),
}
_IN_WINDOW: Final = "stream = %(stream)s AND event_time >= %(since)s AND event_time < %(until)s"
_FOUND: Final = (
    "(%(search)s::text IS NULL OR "
    "strpos(lower(concat_ws(' ', {lane}, {name})), lower(%(search)s)) > 0)"
)
_RANKED: Final = f"""
SELECT lane, name, highest, flagged, rows, count(*) OVER () AS lanes FROM (
    SELECT {{lane}} AS lane, max({{name}}) AS name, max({{score}}) AS highest, count(*) AS rows,
        count(*) FILTER (WHERE is_anomaly) AS flagged
    FROM {{table}} WHERE {_IN_WINDOW} AND {_FOUND} GROUP BY 1) AS ranked
ORDER BY highest DESC NULLS LAST, flagged DESC, lane COLLATE "C"
LIMIT %(limit)s OFFSET %(offset)s
"""
_CELLS: Final = f"""
SELECT {{lane}} AS lane, width_bucket(event_time, %(edges)s::timestamptz[]) - 1 AS cell,
    max({{score}}) AS highest, count(*) AS rows, count(*) FILTER (WHERE is_anomaly) AS flagged
FROM {{table}} WHERE {_IN_WINDOW} AND {{lane}} = ANY(%(lanes)s) GROUP BY 1, 2
"""
_OF_LANE: Final = f"{_IN_WINDOW} AND {{lane}} = %(lane)s AND is_anomaly"


@dataclass(frozen=True, slots=True)
class Window:
    """A span of time of a stream: from `since` on, and before `until`."""

    stream: str
    has_series: bool
    since: dt.datetime
    until: dt.datetime

    @property
    def values(self) -> dict[str, Any]:
        """What statements are told of it."""
        return {"stream": self.stream, "since": self.since, "until": self.until}

    def filled(self, statement: str) -> bytes:
        """Return a statement about this stream's table."""
        table, lane, score, name = _TABLES[self.has_series]
        return statement.format(table=table, lane=lane, score=score, name=name).encode()


@dataclass(frozen=True, slots=True)
class Lane:
    """An entity or place in a window.

    Attributes
    ----------
    lane : str
        Its entity or the id of its place; a place that is not known has an empty one.
    name : str or None
        What people call the place.
    highest : float or None
        The highest score of its rows.
    lanes : int
        How many lanes there are in all.
    """

    lane: str
    name: str | None
    highest: float | None
    flagged: int
    rows: int
    lanes: int


@dataclass(frozen=True, slots=True)
class Cell:
    """What a lane had in one of the spans: rows, how many were flagged, and the highest score."""

    lane: str
    cell: int
    highest: float | None
    rows: int
    flagged: int


@dataclass(frozen=True, slots=True)
class FlaggedRow:
    """A flagged row behind a cell.

    Attributes
    ----------
    entity, metric : str
        Of a scan its code, and ``scan``.
    why : str or None
        In words.
    place_name : str or None
        What people call the place of a scan.
    is_right, label_id
        What a person has said of it, if anybody has.
    """

    entity: str
    metric: str
    event_time: dt.datetime
    value: float | None
    score: float | None
    why: str | None
    place_name: str | None
    is_right: bool | None
    label_id: uuid.UUID | None


async def ranked_lanes(
    connection: AsyncConnection[Any],
    window: Window,
    *,
    search: str | None,
    limit: int,
    offset: int = 0,
) -> list[Lane]:
    """Return the lanes with rows in a window, the one with the highest score first.

    Parameters
    ----------
    search : str or None
        Only lanes with this text in their name.
    """
    more = {"search": search or None, "limit": limit, "offset": offset}
    return await fetch_all(connection, Lane, window.filled(_RANKED), {**window.values, **more})


async def lane_cells(
    connection: AsyncConnection[Any],
    window: Window,
    lanes: Sequence[str],
    edges: Sequence[dt.datetime],
) -> Mapping[tuple[str, int], Cell]:
    """Return the cells of some lanes that have rows, by lane and number of the span.

    Parameters
    ----------
    edges : sequence of datetime
        Where each span begins, ascending; the first is the window's beginning.
    """
    more = {"lanes": list(lanes), "edges": list(edges)}
    found = await fetch_all(connection, Cell, window.filled(_CELLS), {**window.values, **more})
    return {(one.lane, one.cell): one for one in found}


async def flagged_rows(
    connection: AsyncConnection[Any], window: Window, lane: str, *, limit: int
) -> tuple[list[FlaggedRow], int]:
    """Return a lane's flagged rows in a window, the newest first, and how many there are."""
    shown = (
        f"entity, metric, event_time, value, score, {WHY} AS why, NULL::text AS place_name"
        if window.has_series
        else "epc_code AS entity, 'scan' AS metric, event_time, NULL::float8 AS value, "
        "final_confidence / 100 AS score, explanation AS why, place_name"
    )
    values = {**window.values, "lane": lane, "limit": limit}
    found = await fetch_all(
        connection,
        FlaggedRow,
        window.filled(
            f"SELECT w.*, l.is_anomaly AS is_right, l.id AS label_id FROM (SELECT {shown} "
            f"FROM {{table}} WHERE {_OF_LANE} ORDER BY event_time DESC, 1, 2 LIMIT %(limit)s) w "
            f"{LABELLED} ORDER BY w.event_time DESC, 1, 2"
        ),
        values,
    )
    number = await count(
        connection, window.filled(f"SELECT count(*) FROM {{table}} WHERE {_OF_LANE}"), values
    )
    return found, number
