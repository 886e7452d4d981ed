"""The readings of one series in a window, as arrays, and what is known about some of them."""

import datetime as dt
import uuid
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from psycopg import AsyncConnection

from anomaly_platform.queries.rows import fetch_all
from anomaly_platform.queries.scored_readings import SCORED_ROWS, WHY, ReadingFilter

Floats = npt.NDArray[np.float64]

#: Each column as one value, in no order: of many small ones, each takes the client longer than the
#: server, and the server's sort takes longer than all the rest.
_POINTS: Final = f"""
SELECT string_agg(timestamptz_send(event_time), ''::bytea),
    string_agg(float8send(coalesce(value, 'NaN')), ''::bytea),
    string_agg(float8send(coalesce(score, 'NaN')), ''::bytea),
    string_agg(float8send(threshold), ''::bytea),
    string_agg(boolsend(coalesce(is_anomaly, false)), ''::bytea)
FROM ({SCORED_ROWS}) found
"""  # noqa: S608 - constants
#: Microseconds since 2000, as PostgreSQL sends times; numbers have their first byte first.
_TYPES: Final = (">i8", ">f8", ">f8", ">f8", "?")
_YEAR_2000: Final = 946_684_800_000_000


#: The newest label `l` of a reading `f`.
_LABEL: Final = """
    LEFT JOIN LATERAL (SELECT id, is_anomaly, labelled_by FROM feedback_labels l
        WHERE l.stream = %(stream)s AND l.entity = %(entity)s AND l.metric = %(metric)s
            AND l.event_time = f.event_time
        ORDER BY created_at DESC, id DESC LIMIT 1) l ON true"""


@dataclass(frozen=True, slots=True)
class Points:
    """Readings in the order of time.

    Attributes
    ----------
    times : array
        Unix seconds.
    values, scores : array
        NaN where there is none.
    thresholds : array
        From which score on each was an anomaly.
    flagged : array of bool
    """

    times: Floats
    values: Floats
    scores: Floats
    thresholds: Floats
    flagged: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return int(self.times.size)

    def __getitem__(self, which: Any) -> "Points":
        return Points(
            self.times[which],
            self.values[which],
            self.scores[which],
            self.thresholds[which],
            self.flagged[which],
        )


@dataclass(frozen=True, slots=True)
class FlaggedPoint:
    """A flagged reading: why, in words and in numbers, and what a person has said of it."""

    event_time: dt.datetime
    value: float | None
    score: float | None
    threshold: float
    why: str | None
    expected_low: float | None
    expected_high: float | None
    explanation: dict[str, Any] | None
    is_right: bool | None
    label_id: uuid.UUID | None
    labelled_by: str | None


@dataclass(frozen=True, slots=True)
class Mark:
    """A flagged reading, and the newest label of it."""

    event_time: dt.datetime
    label_id: uuid.UUID | None


@dataclass(frozen=True, slots=True)
class Note:
    """Something that happened at a time, in words."""

    at: dt.datetime
    kind: str
    text: str


async def read_points(connection: AsyncConnection[Any], chosen: ReadingFilter) -> Points:
    """Return every reading of a series in a window."""
    async with connection.cursor(binary=True) as cursor:
        await cursor.execute(_POINTS.encode(), asdict(chosen))
        row = await cursor.fetchone()
    sent = row or (None,) * len(_TYPES)
    columns = [np.frombuffer(one or b"", kind) for one, kind in zip(sent, _TYPES, strict=True)]
    order = np.argsort(columns[0], kind="stable")
    times, values, scores, thresholds, flagged = (one[order] for one in columns)
    values, scores, thresholds = (one.astype(np.float64) for one in (values, scores, thresholds))
    seconds = (times.astype(np.int64) + _YEAR_2000) / 1e6
    return Points(seconds, values, scores, thresholds, flagged.astype(np.bool_))


async def flagged_points(
    connection: AsyncConnection[Any], chosen: ReadingFilter, *, limit: int
) -> list[FlaggedPoint]:
    """Return the flagged readings of a series in a window, the newest first."""
    return await fetch_all(
        connection,
        FlaggedPoint,
        f"""
        SELECT f.event_time, f.value, f.score, f.threshold, {WHY} AS why,
            f.expected_low, f.expected_high, f.explanation,
            l.is_anomaly AS is_right, l.id AS label_id, l.labelled_by
        FROM (SELECT * FROM ({SCORED_ROWS}) found WHERE is_anomaly
            ORDER BY event_time DESC LIMIT %(limit)s) f
        {_LABEL}
        ORDER BY f.event_time DESC
        """,  # noqa: S608 - constants
        {**asdict(chosen), "limit": limit},
    )


async def flagged_marks(
    connection: AsyncConnection[Any], chosen: ReadingFilter, *, limit: int
) -> list[Mark]:
    """Return which flagged readings of a series in a window are marked, the newest first."""
    return await fetch_all(
        connection,
        Mark,
        f"""
        SELECT f.event_time, l.id AS label_id
        FROM (SELECT event_time FROM ({SCORED_ROWS}) found WHERE is_anomaly
            ORDER BY event_time DESC LIMIT %(limit)s) f
        {_LABEL}
        ORDER BY f.event_time DESC
        """,  # noqa: S608 - constants
        {**asdict(chosen), "limit": limit},
    )


async def notes_in(connection: AsyncConnection[Any], chosen: ReadingFilter) -> list[Note]:
    """Return where other models began to score, and what people have said, by time."""
    return await fetch_all(
        connection,
        Note,
        """
        SELECT day::timestamp AT TIME ZONE 'UTC' AS at, 'model' AS kind,
            format('version %%s scores from here on', bundle_version) AS text
        FROM (SELECT day, bundle_version, lag(bundle_version) OVER (ORDER BY day) AS before
            FROM scored_days WHERE stream = %(stream)s
            AND day >= (%(since)s::timestamptz)::date - 1
            AND day <= (%(until)s::timestamptz)::date) days
        WHERE bundle_version IS DISTINCT FROM before AND before IS NOT NULL
        UNION ALL
        SELECT event_time, 'label', CASE WHEN is_anomaly THEN 'right' ELSE 'false alarm' END
            || ', says ' || labelled_by || coalesce(': ' || comment, '')
        FROM current_labels WHERE stream = %(stream)s AND entity = %(entity)s
            AND metric = %(metric)s AND event_time > %(since)s AND event_time <= %(until)s
        ORDER BY 1
        """,
        asdict(chosen),
    )
