"""Files that were taken in or refused, and rows in quarantine."""

import datetime as dt
from dataclasses import dataclass
from typing import Any, Final

from psycopg import AsyncConnection

from anomaly_platform.queries.rows import count, fetch_all

_REFUSED: Final = (
    "FROM quarantine WHERE stream = %(stream)s "
    "AND (%(source)s::text IS NULL OR source = %(source)s) "
    "AND (%(reason)s::text IS NULL OR reason = %(reason)s)"
)


@dataclass(frozen=True, slots=True)
class TakenFile:
    """A file that was taken in or refused.

    Attributes
    ----------
    status : str
        ``ingested`` or ``rejected``, with a `reason` in the latter case.
    refused : int
        Its rows in quarantine.
    first_day, last_day : date or None
        Of the days that its rows are about.
    raw_path : str or None
        Its rows in the lake.
    """

    source: str
    digest: str
    status: str
    reason: str | None
    rows_in: int
    refused: int
    ingested_at: dt.datetime
    times_seen: int
    last_seen_at: dt.datetime
    first_day: dt.date | None
    last_day: dt.date | None
    raw_path: str | None


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row in quarantine."""

    source: str | None
    row_number: int
    column_name: str
    stage: str
    field: str | None
    reason: str
    raw: str | None
    quarantined_at: dt.datetime


async def taken_files(
    connection: AsyncConnection[Any], stream: str, *, limit: int, source: str | None = None
) -> list[TakenFile]:
    """Return the files of a stream that came last, of any name or of one."""
    return await fetch_all(
        connection,
        TakenFile,
        """
        SELECT l.source, l.digest, l.status, l.reason, l.rows_in, l.ingested_at, l.times_seen,
            l.last_seen_at, l.raw_path,
            (SELECT count(*) FROM quarantine q WHERE q.stream = l.stream AND q.digest = l.digest
                AND q.row_number > 0) AS refused,
            (SELECT min(day) FROM raw_days d WHERE d.stream = l.stream AND d.digest = l.digest)
                AS first_day,
            (SELECT max(day) FROM raw_days d WHERE d.stream = l.stream AND d.digest = l.digest)
                AS last_day
        FROM (SELECT * FROM ingest_ledger WHERE stream = %(stream)s
                AND (%(source)s::text IS NULL OR source = %(source)s)
            ORDER BY last_seen_at DESC, seq DESC LIMIT %(limit)s) l
        ORDER BY l.last_seen_at DESC, l.seq DESC
        """,
        {"stream": stream, "limit": limit, "source": source},
    )


async def refused_rows(
    connection: AsyncConnection[Any],
    stream: str,
    *,
    source: str | None,
    reason: str | None,
    limit: int,
) -> tuple[list[RefusedRow], int]:
    """Return a stream's rows in quarantine, the newest first, and how many there are."""
    values = {"stream": stream, "source": source, "reason": reason, "limit": limit}
    found = await fetch_all(
        connection,
        RefusedRow,
        "SELECT source, row_number, column_name, stage, field, reason, raw, quarantined_at "
        f"{_REFUSED} ORDER BY quarantined_at DESC, digest, row_number, column_name "
        "LIMIT %(limit)s",
        values,
    )
    return found, await count(connection, f"SELECT count(*) {_REFUSED}", values)
