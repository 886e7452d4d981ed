"""The quarantine: rows that were refused, each under its file and row number with a reason."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

import polars as pl
from psycopg import sql

from anomaly_platform.storage.postgres.copying import PgType, incoming
from anomaly_platform.storage.postgres.transactions import Connection, TableAccess, lock

_TYPES: Final[Mapping[str, PgType]] = {
    "stream": "text",
    "digest": "text",
    "row_number": "int8",
    "column_name": "text",
    "stage": "text",
    "day": "date",
    "source": "text",
    "field": "text",
    "reason": "text",
    "raw": "text",
}


class Quarantine(TableAccess):
    """Reads and writes the table ``quarantine``."""

    def replace_day(self, stream: str, stage: str, day: dt.date, rejects: pl.DataFrame) -> int:
        """Make these rows the refusals of one stage on one day, in one transaction.

        Parameters
        ----------
        stream, stage : str
            Whose refusals.
        day : date
            Event date (UTC) of the rows.
        rejects : polars.DataFrame
            ``digest``, ``row_number``, ``column``, ``field``, ``reason``, ``raw`` and, if there
            is one, ``source``.

        Returns
        -------
        int
            Rows refused.
        """
        with self._transactions.begin() as connection:
            lock(connection, "quarantine", stream, stage, day.isoformat())
            connection.execute(
                "DELETE FROM quarantine WHERE stream = %s AND stage = %s AND day = %s",
                (stream, stage, day),
            )
            insert_rejects(connection, rejects, stream=stream, stage=stage, day=day)
        return rejects.height

    def reasons(self, stream: str, *, day: dt.date | None = None) -> dict[str, int]:
        """Return how many rows each reason has, the most frequent first."""
        rows = self._transactions.tuples(
            "SELECT reason, count(*) FROM quarantine WHERE stream = %(stream)s "
            "AND (%(day)s::date IS NULL OR day = %(day)s) GROUP BY reason "
            "ORDER BY count(*) DESC, reason",
            {"stream": stream, "day": day},
        )
        return {str(reason): int(count) for reason, count in rows}

    def of_files(self, stream: str, digests: Collection[str]) -> dict[str, Refusals]:
        """Return what was refused of files, by their digests; nothing where nothing was."""
        rows = self._transactions.tuples(
            "SELECT DISTINCT ON (digest) digest, sum(count(*)) OVER (PARTITION BY digest), "
            "reason, count(*) FROM quarantine WHERE stream = %s AND digest = ANY(%s) "
            "GROUP BY digest, reason ORDER BY digest, count(*) DESC, reason",
            (stream, list(digests)),
        )
        return {digest: Refusals(int(total), *most) for digest, total, *most in rows}


@dataclass(frozen=True, slots=True)
class Refusals:
    """What was refused of a file: how many rows, and the commonest reason with its count."""

    rows: int
    reason: str
    of_reason: int


def insert_rejects(
    connection: Connection,
    rejects: pl.DataFrame,
    *,
    stream: str,
    stage: str,
    day: dt.date | None,
) -> None:
    """Add rows to the quarantine within the caller's transaction.

    A row that is there already, under another day or stage, moves to this one.
    """
    if rejects.is_empty():
        return
    if "source" not in rejects.columns:
        rejects = rejects.with_columns(source=pl.lit(None, pl.String))
    rows = rejects.with_columns(
        stream=pl.lit(stream),
        column_name=pl.col("column").fill_null(""),
        stage=pl.lit(stage),
        day=pl.lit(day, pl.Date),
    ).unique(("digest", "row_number", "column_name"), keep="first", maintain_order=True)
    columns = sql.SQL(", ").join(map(sql.Identifier, _TYPES))
    with incoming(connection, rows, _TYPES):
        connection.execute(
            sql.SQL(
                "INSERT INTO quarantine ({columns}) SELECT {columns} FROM incoming "
                "ON CONFLICT (stream, digest, row_number, column_name) DO UPDATE SET "
                "stage = excluded.stage, day = excluded.day, source = excluded.source, "
                "field = excluded.field, reason = excluded.reason, raw = excluded.raw, "
                "quarantined_at = excluded.quarantined_at"
            ).format(columns=columns)
        )


def insert_online_rejects(
    connection: Connection, rejects: pl.DataFrame, stream: str, *, source: str
) -> None:
    """Add what was sent and cannot be used, by its digest; what is there already stays.

    Rows have number 0: they are not among the rows of any file (``Account``).
    """
    known = connection.execute(
        "SELECT digest FROM quarantine WHERE stream = %s AND digest = ANY(%s)",
        (stream, rejects["digest"].to_list()),
    ).fetchall()
    fresh = rejects.filter(~pl.col("digest").is_in([row[0] for row in known])).with_columns(
        row_number=pl.lit(0, pl.Int64), source=pl.lit(source)
    )
    insert_rejects(connection, fresh, stream=stream, stage="online", day=None)
