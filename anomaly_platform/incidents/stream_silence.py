"""Judges whether a stream as a whole has fallen silent: nothing of it arrives any more.

What counts is when something arrived, not of which time it tells: files that come once a day, and
late ones, are as usual as readings that come one by one. What is usual is read from the days on
which something arrived: the mean time between arrivals of a day, and the longest break between two
days. So a stream that is fed at night by one file, or rests over weekends, is not silent then, and
one whose files were put in once, such as a demonstration's, has no habit yet.
"""

import datetime as dt
from dataclasses import dataclass
from typing import Final

from anomaly_platform.ml.scoring.reasons import duration
from anomaly_platform.notifications.outbox import Alert, fingerprint
from anomaly_platform.storage.postgres.transactions import Connection, fetch_all

#: Times the usual time between arrivals, and times the longest break between days, that is silence;
#: never less than the last.
_USUAL, _BREAK, _LEAST = 10, 2, dt.timedelta(hours=1)
#: Days with arrivals from which on a habit is known, and the days that it is read from.
_DAYS, _WINDOW = 3, 28


@dataclass(frozen=True, slots=True)
class Arrivals:
    """How a stream arrives.

    Attributes
    ----------
    newest : datetime
        When something arrived last.
    usual, pause : timedelta
        Mean time between arrivals of a day, longest break between two days.
    """

    newest: dt.datetime
    usual: dt.timedelta
    pause: dt.timedelta

    @property
    def due(self) -> dt.datetime:
        """From when on the stream is silent."""
        return self.newest + max(_USUAL * self.usual, _BREAK * self.pause, _LEAST)

    @property
    def reason(self) -> str:
        """Since when nothing arrives, beside what is usual."""
        usual = f"usual is every {_words(self.usual)}"
        if _BREAK * self.pause > _USUAL * self.usual:
            usual = f"the longest break before was {_words(self.pause)}"
        return f"nothing new since {self.newest:%Y-%m-%d %H:%M} UTC, {usual}"


_ARRIVALS: Final = """
    WITH taken AS (
        SELECT ingest_date AS day, count(*) AS files, min(ingested_at) AS first,
            max(ingested_at) AS last
        FROM ingest_ledger WHERE stream = %(stream)s AND status = 'ingested'
            AND ingest_date > (SELECT max(ingest_date) FROM ingest_ledger
                WHERE stream = %(stream)s AND status = 'ingested') - %(window)s
        GROUP BY ingest_date
    ), days AS (
        SELECT *, first - lag(last) OVER (ORDER BY day) AS pause FROM taken
    )
    SELECT greatest(max(last), (SELECT received_at FROM online_readings
            WHERE stream = %(stream)s AND batch_id IS NULL ORDER BY id DESC LIMIT 1)) AS newest,
        coalesce(sum(last - first) / nullif(sum(files) - count(*), 0), '0') AS usual,
        coalesce(max(pause), '0') AS pause
    FROM days HAVING count(*) >= %(days)s
"""


def arrivals_of(connection: Connection, stream: str) -> Arrivals | None:
    """Return how a stream arrives; None while too little is known of it.

    Arrivals are files and the batches of readings that came one by one; the readings that no batch
    has taken yet count with the newest of them.
    """
    values = {"stream": stream, "window": _WINDOW, "days": _DAYS}
    return next(iter(fetch_all(connection, Arrivals, _ARRIVALS, values)), None)


def back_since(connection: Connection, stream: str, now: dt.datetime) -> dt.datetime | None:
    """Return when a stream came back after it was silent last; None where it never was."""
    row = connection.execute(
        "SELECT coalesce((SELECT ingested_at FROM ingest_ledger l WHERE l.stream = a.stream "
        "AND ingest_date >= (silent_from AT TIME ZONE 'UTC')::date AND ingested_at > silent_from "
        "ORDER BY ingest_date, ingested_at LIMIT 1), %s) "
        "FROM alerts a, CAST(a.details ->> 'last_event' AS timestamptz) AS silent_from "
        "WHERE fingerprint = %s",
        (now, name_of(stream)),
    ).fetchone()
    return None if row is None else row[0]


def name_of(stream: str) -> str:
    """Return the fingerprint of a stream's own alert, which no entity's can be equal to."""
    return fingerprint("silent stream", stream)


def alert_of(stream: str, title: str, arrivals: Arrivals) -> Alert:
    """Return the alert that a whole stream is silent."""
    return Alert(
        kind="silent",
        fingerprint=name_of(stream),
        subject=stream,
        severity="critical",
        title=f"{title}: nothing new comes",
        stream=stream,
        details={"last_event": arrivals.newest.isoformat(), "reason": arrivals.reason},
        occurrence=arrivals.newest.isoformat(),
    )


def _words(span: dt.timedelta) -> str:
    return duration(span.total_seconds() * 1e6)
