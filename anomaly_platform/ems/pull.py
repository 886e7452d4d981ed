"""Fetches metrics from the EMS into landing, each reading once.

Belongs here: how far was fetched, and what a fetch becomes. New readings and how far they reach
are committed together; only then a file named after the fetch is written, as often as it takes.
A crash anywhere neither loses a reading nor brings one twice. Readings are passed on as they came:
what is wrong with one, quarantine says.
"""

import datetime as dt
import json
import math
import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from anomaly_platform.storage.lake.landing import Landing
from anomaly_platform.storage.postgres.transactions import Connection, Transactions, lock
from anomaly_platform.streams.bindings import EMS_PULL

SOURCE: Final = "ems"

LONGEST_SPAN: Final = dt.timedelta(hours=6)
"""Span of one fetch, which bounds its memory."""

_NAMESPACE: Final = uuid.UUID("f2a9c2b4-4a3b-4a53-a1cf-0a7a37c9a0de")
_FIELDS: Final = {
    "asset_id": ("assetId", "asset_id"),
    "metric_name": ("metricName", "metric_name"),
    "value": ("value",),
    "timestamp": ("timestamp",),
}


@dataclass(frozen=True, slots=True)
class Span:
    """What to fetch next: from `since` on and before `until`."""

    since: dt.datetime
    until: dt.datetime


@dataclass(frozen=True, slots=True)
class Fetched:
    """A fetch that was committed.

    Attributes
    ----------
    number : int
        Its id, after which its file is named.
    rows : int
        Readings that were new.
    """

    number: int
    rows: int


@dataclass(frozen=True, slots=True)
class EmsPull:
    """Keeps how far the EMS was read.

    Parameters
    ----------
    transactions : Transactions
    landing : Landing
        Where files go.
    history, overlap : timedelta
        How far the first fetch reaches back, and how much each reads again.
    """

    transactions: Transactions
    landing: Landing
    history: dt.timedelta
    overlap: dt.timedelta

    def next_span(self, now: dt.datetime) -> Span:
        """Return what to fetch next; it ends before now where much is to be fetched."""
        with self.transactions.begin() as connection:
            upto = _upto(connection)
        since = now - self.history if upto is None else upto - self.overlap
        return Span(since, min(now, max(since, upto or since) + LONGEST_SPAN))

    def commit(self, span: Span, rows: Sequence[dict[str, Any]]) -> Fetched | None:
        """Keep what is new of a fetch together with how far it reaches.

        Returns
        -------
        Fetched or None
            None where somebody else has fetched the span meanwhile.
        """
        lines = {line["event_id"]: line for line in map(line_of, rows)}
        with self.transactions.begin() as connection:
            lock(connection, "pulls", SOURCE)
            upto = _upto(connection)
            if upto is not None and upto >= span.until:
                return None
            new = self._remember(connection, span, lines)
            content = "".join(json.dumps(lines[one]) + "\n" for one in lines if one in new)
            ((number,),) = connection.execute(
                "INSERT INTO pulls (source, upto, rows, content) VALUES (%s, %s, %s, %s) "
                "RETURNING id",
                (SOURCE, span.until, len(new), content.encode() if content else None),
            ).fetchall()
            # How far it reaches is in the newest; the older ones say nothing any more.
            connection.execute(
                "DELETE FROM pulls WHERE source = %s AND content IS NULL AND upto < %s",
                (SOURCE, span.until - dt.timedelta(days=30)),
            )
        return Fetched(int(number), len(new))

    def write_files(self) -> int:
        """Write every committed fetch that lies in no file yet; return how many."""
        numbers = self.transactions.tuples(
            "SELECT id FROM pulls WHERE source = %s AND content IS NOT NULL ORDER BY id",
            (SOURCE,),
        )
        for (number,) in numbers:
            self._write_file(int(number))
        return len(numbers)

    def _remember(
        self, connection: Connection, span: Span, lines: dict[str, dict[str, Any]]
    ) -> set[str]:
        """Return which readings are new; forget those that will not be read again."""
        connection.execute(
            "DELETE FROM pulled_readings WHERE source = %s AND event_time < %s",
            (SOURCE, span.since - dt.timedelta(days=1)),
        )
        found = connection.execute(
            "INSERT INTO pulled_readings (source, event_id, event_time) "
            "SELECT %s, id, moment FROM unnest(%s::uuid[], %s::timestamptz[]) AS t (id, moment) "
            "ON CONFLICT DO NOTHING RETURNING event_id",
            (SOURCE, list(lines), [_moment(line, span) for line in lines.values()]),
        ).fetchall()
        return {str(row[0]) for row in found}

    def _write_file(self, number: int) -> None:
        with self.transactions.begin() as connection:
            row = connection.execute(
                "SELECT content FROM pulls WHERE id = %s AND content IS NOT NULL "
                "FOR UPDATE SKIP LOCKED",
                (number,),
            ).fetchone()
            if row is None:
                return
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / f"ems-pull-{number:012d}.jsonl"
                path.write_bytes(row[0])
                # The same name and content at every try: written twice, it is ingested once.
                self.landing.put(EMS_PULL, path, None)
            connection.execute("UPDATE pulls SET content = NULL WHERE id = %s", (number,))


def _upto(connection: Connection) -> dt.datetime | None:
    row = connection.execute("SELECT max(upto) FROM pulls WHERE source = %s", (SOURCE,)).fetchone()
    return None if row is None else row[0]


def line_of(row: dict[str, Any]) -> dict[str, Any]:
    """Return a reading as landing takes it, with an id that is the same at every fetch."""
    line = {name: _first(row, names) for name, names in _FIELDS.items()}
    own = row.get("id")
    identity = f"id {own}" if own is not None else json.dumps(line, sort_keys=True, default=str)
    return {
        "event_id": str(uuid.uuid5(_NAMESPACE, identity)),
        **{name: _plain(value) for name, value in line.items()},
    }


def _first(row: dict[str, Any], names: tuple[str, ...]) -> Any:
    return next((row[name] for name in names if name in row), None)


def _plain(value: Any) -> Any:
    """Return what JSON can say; the rest as text, which quarantine will show."""
    if isinstance(value, dt.datetime):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    return str(value)


def _moment(line: dict[str, Any], span: Span) -> dt.datetime:
    """Return when a reading was taken; one that does not say counts to the span."""
    try:
        moment = dt.datetime.fromisoformat(str(line["timestamp"]))
    except ValueError:
        return span.until
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
