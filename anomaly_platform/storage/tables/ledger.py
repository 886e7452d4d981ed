"""Ledger of ingested files: one entry per content, with the event days that it touched.

Belongs here: the commit of an ingested or refused file, and finding the raw files of a day. What
follows from it for the days is decided in ``streams.staleness``.
"""

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from anomaly_platform.ingest.reject_spool import RejectSpool
from anomaly_platform.storage.postgres.transactions import (
    Connection,
    TableAccess,
    columns_of,
    fetch_all,
    fetch_one,
    lock,
)
from anomaly_platform.storage.tables.quarantine import insert_rejects


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One file that was taken in or refused.

    Attributes
    ----------
    seq : int
        Its place in the order of commits; watermarks are values of it.
    digest : str
        Of content and column mapping.
    times_seen, last_seen_at
        How often the same content came, and when last.
    status : str
        ``ingested`` or ``rejected``; with `reason` in the latter case.
    """

    stream: str
    digest: str
    seq: int
    source: str
    status: str
    reason: str | None
    rows_in: int
    rows_quarantined: int
    raw_path: str | None
    ingest_date: dt.date
    mapping: dict[str, Any]
    ingested_at: dt.datetime
    times_seen: int
    last_seen_at: dt.datetime


@dataclass(frozen=True, slots=True)
class RawFile:
    """A raw file in the lake and how many of its rows have one event date."""

    digest: str
    source: str
    path: str
    seq: int
    rows: int


class Ledger(TableAccess):
    """Reads and writes ``ingest_ledger`` and ``raw_days``."""

    def find(self, stream: str, digest: str) -> LedgerEntry | None:
        """Return the entry of a content, if it was ever seen."""
        with self._transactions.begin() as connection:
            return _find(connection, stream, digest)

    def record_ingest(
        self,
        stream: str,
        digest: str,
        *,
        source: str,
        raw_path: str,
        rows_in: int,
        days: Mapping[dt.date, int],
        rejects: pl.DataFrame | RejectSpool | None = None,
        mapping: Mapping[str, Any] | None = None,
        connection: Connection | None = None,
    ) -> tuple[LedgerEntry, bool]:
        """Commit a file: its ledger entry, its event days and the rows that were refused.

        Parameters
        ----------
        stream, digest : str
            What was ingested; the same content a second time changes nothing.
        source : str
            Name of the file, for people.
        raw_path : str
            Its raw rows in the lake, written before this call.
        rows_in : int
            Data rows that were read.
        days : mapping of date to int
            Raw rows per event date (UTC).
        rejects : polars.DataFrame or RejectSpool, optional
            Rows without a usable event time: ``row_number``, ``column``, ``field``, ``reason``,
            ``raw``.
        mapping : mapping, optional
            The column mapping, for people.
        connection : Connection, optional
            Of the transaction to take part in; one of its own by default.

        Returns
        -------
        tuple of LedgerEntry and bool
            The entry, and whether this call made it.
        """
        with self._transactions.within(connection) as within:
            entry, is_new = _enter(
                within,
                {
                    "stream": stream,
                    "digest": digest,
                    "source": _storable(source),
                    "status": "ingested",
                    "raw_path": raw_path,
                    "rows_in": rows_in,
                    "rows_quarantined": 0 if rejects is None else rejects.height,
                },
                mapping,
                rejects,
            )
            if is_new:
                within.cursor().executemany(
                    "INSERT INTO raw_days (stream, day, digest, seq, rows) "
                    "VALUES (%s, %s, %s, %s, %s)",
                    [(stream, day, digest, entry.seq, rows) for day, rows in days.items() if rows],
                )
        return entry, is_new

    def record_rejected(
        self,
        stream: str,
        digest: str,
        *,
        source: str,
        reason: str,
        mapping: Mapping[str, Any] | None = None,
    ) -> tuple[LedgerEntry, bool]:
        """Commit that a whole file was refused, in the ledger and in quarantine (row 0).

        Returns
        -------
        tuple of LedgerEntry and bool
            The entry, and whether this call made it. A content that was ingested stays so.
        """
        source, reason = _storable(source), _storable(reason)
        whole = {"row_number": 0, "column": "", "field": "file", "reason": reason, "raw": None}
        values = {"source": source, "status": "rejected", "reason": reason}
        with self._transactions.begin() as connection:
            values |= {"stream": stream, "digest": digest}
            entry, is_new = _enter(connection, values, mapping, pl.DataFrame([whole]))
            if not is_new:
                _seen_again(connection, stream, digest)
        return entry, is_new

    def record_repeat(self, stream: str, digest: str) -> None:
        """Record that a content that is in came once more; nothing else changes."""
        with self._transactions.begin() as connection:
            _seen_again(connection, stream, digest)

    def seen_since(self, stream: str, since: dt.datetime) -> list[LedgerEntry]:
        """Return the contents that came since a time, for the first time or once more."""
        return self._transactions.rows(
            LedgerEntry,
            _SELECT + " WHERE stream = %s AND last_seen_at >= %s ORDER BY source, seq",
            (stream, since),
        )

    def rejected_since(self, stream: str, since: dt.datetime) -> list[LedgerEntry]:
        """Return the files that were rejected since a time, and not mended afterwards.

        A file is mended when one of the same name was taken in.
        """
        return [
            entry
            for entry in self.seen_since(stream, since)
            if entry.status == "rejected"
            and not self._transactions.value(
                "SELECT EXISTS (SELECT FROM ingest_ledger WHERE stream = %s AND source = %s "
                "AND status = 'ingested' AND last_seen_at > %s)",
                (stream, entry.source, entry.last_seen_at),
            )
        ]

    def entries(self, stream: str) -> list[LedgerEntry]:
        """Return a stream's entries, in order of commit."""
        return self._transactions.rows(
            LedgerEntry, _SELECT + " WHERE stream = %s ORDER BY seq", (stream,)
        )

    def raw_files(self, stream: str, day: dt.date) -> list[RawFile]:
        """Return the raw files with rows of an event date, in the order they were ingested."""
        return self._transactions.rows(
            RawFile,
            "SELECT d.digest, l.source, l.raw_path AS path, d.seq, d.rows FROM raw_days d "
            "JOIN ingest_ledger l USING (stream, digest) "
            "WHERE d.stream = %s AND d.day = %s ORDER BY d.seq",
            (stream, day),
        )

    def watermark(self, stream: str, day: dt.date) -> int:
        """Return the highest `seq` among the raw rows of a day.

        Returns
        -------
        int
            0 where there are none. Ask for it *before* reading the input it stands for: a file
            that is committed in between then makes the result stale, never falsely fresh.
        """
        newest = "SELECT coalesce(max(seq), 0) FROM raw_days WHERE stream = %s AND day = %s"
        return int(self._transactions.value(newest, (stream, day)))


def sources(connection: Connection, digest_length: int) -> dict[tuple[str, str], str]:
    """Return the name of every file that came, by stream and the beginning of its digest."""
    rows = connection.execute(
        "SELECT stream, left(digest, %s), source FROM ingest_ledger", (digest_length,)
    ).fetchall()
    return {(stream, digest): source for stream, digest, source in rows}


_SELECT = f"SELECT {columns_of(LedgerEntry)} FROM ingest_ledger"  # noqa: S608 - constants


def _find(connection: Connection, stream: str, digest: str) -> LedgerEntry | None:
    one = f"{_SELECT} WHERE stream = %s AND digest = %s"
    return fetch_one(connection, LedgerEntry, one, (stream, digest))


def _seen_again(connection: Connection, stream: str, digest: str) -> None:
    connection.execute(
        "UPDATE ingest_ledger SET times_seen = times_seen + 1, "
        "last_seen_at = clock_timestamp() WHERE stream = %s AND digest = %s",
        (stream, digest),
    )


def _enter(
    connection: Connection,
    values: Mapping[str, Any],
    mapping: Mapping[str, Any] | None,
    rejects: pl.DataFrame | RejectSpool | None,
) -> tuple[LedgerEntry, bool]:
    """Enter a file and what was refused of it; return its entry, and whether it is new."""
    stream, digest = values["stream"], values["digest"]
    # `seq` must grow in the order of commits: a lower one that commits after a higher one would
    # be taken for already scored. So only one commit of a stream is under way at a time.
    lock(connection, "ledger", stream)
    known = _find(connection, stream, digest)
    if known is not None:
        if known.status == "ingested" or values["status"] == "rejected":
            return known, False
        # A content that an earlier program could not read: its refusal is taken back.
        for table in ("quarantine", "ingest_ledger"):
            connection.execute(
                f"DELETE FROM {table} WHERE stream = %s AND digest = %s",  # noqa: S608
                (stream, digest),
            )
    (entry,) = fetch_all(
        connection,
        LedgerEntry,
        "INSERT INTO ingest_ledger (stream, digest, source, status, reason, rows_in, "  # noqa: S608
        "rows_quarantined, raw_path, ingest_date, mapping) VALUES (%(stream)s, %(digest)s, "
        "%(source)s, %(status)s, %(reason)s, %(rows_in)s, %(rows_quarantined)s, %(raw_path)s, "
        f"(now() AT TIME ZONE 'UTC')::date, %(mapping)s) RETURNING {columns_of(LedgerEntry)}",
        {
            "reason": None,
            "raw_path": None,
            "rows_in": 0,
            "rows_quarantined": 0,
            **values,
            "mapping": json.dumps(mapping or {}).replace("\\u0000", "\\u2400"),
        },
    )
    for part in [rejects] if isinstance(rejects, pl.DataFrame) else rejects or ():
        own = part.with_columns(digest=pl.lit(digest), source=pl.lit(values["source"]))
        insert_rejects(connection, own, stream=stream, stage="raw", day=None)
    return entry, True


def _storable(text: str) -> str:
    """Return a text that PostgreSQL can hold: without NUL, and UTF-8 whatever a file name was."""
    return text.replace("\x00", "\u2400").encode("utf-8", "replace").decode("utf-8")
