"""The record of scored days: from what, and by which bundle, each was made.

Belongs here: what every kind of stream does when it replaces a day. The rows themselves are in
``scored_metrics`` and ``scored_scans``.
"""

import datetime as dt
from dataclasses import dataclass
from typing import Protocol

from anomaly_platform.storage.postgres.transactions import (
    Connection,
    StaleInput,
    TableAccess,
    columns_of,
    fetch_all,
    lock,
)


@dataclass(frozen=True, slots=True)
class ScoredDay:
    """From what, and by which bundle, the stored scores of a day were made."""

    stream: str
    day: dt.date
    watermark: int
    detector: str
    bundle_version: int | None
    rows: int
    anomalies: int
    written_at: dt.datetime


class DayAlerts(Protocol):
    """Writes what people are told of a replaced day, in the transaction that replaces it."""

    def before(self, connection: Connection) -> None:
        """Look at the stored day, before its rows are replaced."""

    def after(self, connection: Connection) -> int:
        """Write the alerts of the new rows; return how many."""


class ScoredDays(TableAccess):
    """Reads ``scored_days``."""

    def scored_day(self, stream: str, day: dt.date) -> ScoredDay | None:
        """Return from what a day's scores were made, if it has any."""
        return next(iter(self.scored_days(stream, first=day, last=day)), None)

    def scored_days(
        self, stream: str, *, first: dt.date = dt.date.min, last: dt.date = dt.date.max
    ) -> list[ScoredDay]:
        """Return the scored days from the first to the last inclusive, in order."""
        return self._transactions.rows(
            ScoredDay,
            f"SELECT {columns_of(ScoredDay)} FROM scored_days "  # noqa: S608
            "WHERE stream = %s AND day BETWEEN %s AND %s ORDER BY day",
            (stream, first, last),
        )


def refuse_stale(
    connection: Connection,
    stream: str,
    day: dt.date,
    *,
    watermark: int,
    detector: str,
    bundle_version: int | None,
) -> None:
    """Lock a day, and refuse to replace it when what is stored has seen more.

    Raises
    ------
    StaleInput
        When what is stored took newer input into account, or the same input with the champion,
        while `bundle_version` is not the champion.
    """
    lock(connection, "scored", stream, day.isoformat())
    row = connection.execute(
        "SELECT s.watermark, s.bundle_version, c.version FROM scored_days s "
        "LEFT JOIN champions c ON c.stream = s.stream AND c.detector = %s "
        "WHERE s.stream = %s AND s.day = %s",
        (detector, stream, day),
    ).fetchone()
    if row is None:
        return
    stored, stored_version, champion = row
    if stored > watermark:
        raise StaleInput(
            f"{stream} {day}: scores of newer input ({stored}) than {watermark} are stored"
        )
    by_champion = champion is not None and stored_version == champion
    if stored == watermark and by_champion and bundle_version != champion:
        raise StaleInput(
            f"{stream} {day}: scores by the champion, {detector} {champion}, are stored; "
            f"version {bundle_version} is not the champion"
        )


def record_day(
    connection: Connection,
    stream: str,
    day: dt.date,
    *,
    watermark: int,
    detector: str,
    bundle_version: int | None,
    rows: int,
    anomalies: int,
) -> ScoredDay:
    """Enter what a day was made from, within the transaction that replaces its rows."""
    (stored,) = fetch_all(
        connection,
        ScoredDay,
        "INSERT INTO scored_days (stream, day, watermark, detector, bundle_version, "  # noqa: S608
        "rows, anomalies, written_at) VALUES (%s, %s, %s, %s, %s, %s, %s, clock_timestamp()) "
        "ON CONFLICT (stream, day) DO UPDATE SET watermark = excluded.watermark, "
        "detector = excluded.detector, bundle_version = excluded.bundle_version, "
        "rows = excluded.rows, anomalies = excluded.anomalies, written_at = excluded.written_at "
        f"RETURNING {columns_of(ScoredDay)}",
        (stream, day, watermark, detector, bundle_version, rows, anomalies),
    )
    return stored
