"""The table ``tunings``: searches for better settings of a stream, and which of them are in use."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from anomaly_platform.storage.postgres.transactions import Connection, TableAccess, columns_of, lock
from anomaly_platform.storage.tables import audit


@dataclass(frozen=True, slots=True)
class TuningRecord:
    """A tuning, as the table has it."""

    id: int
    stream: str
    status: str
    started_at: datetime
    finished_at: datetime
    asked_by: str
    seed: int
    data: dict[str, Any]
    present: dict[str, Any]
    proposed: dict[str, Any] | None
    trials: list[dict[str, Any]]
    comparison: dict[str, Any] | None
    applied_at: datetime | None
    undone_at: datetime | None


class Tunings(TableAccess):
    """Reads and writes ``tunings``."""

    def enter(
        self,
        stream: str,
        status: str,
        started_at: datetime,
        asked_by: str,
        seed: int,
        *,
        data: Mapping[str, Any],
        present: Mapping[str, Any],
        proposed: Mapping[str, Any] | None,
        trials: Sequence[Mapping[str, Any]],
        comparison: Mapping[str, Any] | None,
    ) -> TuningRecord:
        """Enter a tuning that has ended; return it with its id."""
        told = (data, present, proposed, trials, comparison)
        found = self._transactions.row(
            TuningRecord,
            "INSERT INTO tunings (stream, status, started_at, asked_by, seed, data, present, "  # noqa: S608
            "proposed, trials, comparison) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s) "
            f"RETURNING {columns_of(TuningRecord)}",
            (
                *(stream, status, started_at, asked_by, seed),
                *(None if one is None else json.dumps(one) for one in told),
            ),
        )
        if found is None:
            raise AssertionError("a row was entered and is not there")
        return found

    def of(self, stream: str, number: int | None = None) -> TuningRecord | None:
        """Return a tuning of a stream, the newest one where no number is given."""
        return self._transactions.row(
            TuningRecord,
            f"SELECT {columns_of(TuningRecord)} FROM tunings WHERE stream = %(stream)s "  # noqa: S608
            "AND (%(number)s::bigint IS NULL OR id = %(number)s) ORDER BY id DESC LIMIT 1",
            {"stream": stream, "number": number},
        )

    def last_in_use(self, stream: str) -> TuningRecord | None:
        """Return the tuning that was taken back last, or is in use."""
        return self._transactions.row(
            TuningRecord,
            f"SELECT {columns_of(TuningRecord)} FROM tunings WHERE stream = %s "  # noqa: S608
            "AND applied_at IS NOT NULL ORDER BY undone_at DESC NULLS FIRST, id DESC LIMIT 1",
            (stream,),
        )

    def earlier_on_its_rows(self, record: TuningRecord) -> int:
        """Return how many tunings before this one were compared on some of the same rows."""
        begin = record.data["comparison"]["judged_from"]
        ((count,),) = self._transactions.tuples(
            "SELECT count(*) FROM tunings WHERE stream = %s AND id < %s AND comparison IS NOT NULL "
            "AND data->'comparison'->>'judged_until' >= %s",
            (record.stream, record.id, begin),
        )
        return int(count)

    def put_into_use(self, connection: Connection, record: TuningRecord, by: str) -> None:
        """Note that a tuning's settings are in use, within the caller's transaction."""
        self.take_back(connection, record.stream)
        connection.execute(
            "UPDATE tunings SET applied_at = now(), undone_at = NULL WHERE id = %s", (record.id,)
        )
        told = {"tuning": record.id, **(record.proposed or {})}
        audit.record(connection, by, "tuning.apply", record.stream, record.present, told)

    @contextmanager
    def alone(self, stream: str) -> Iterator[None]:
        """Let nobody else put a tuning of the stream into use, or take it back, meanwhile."""
        with self._transactions.begin() as connection:
            lock(connection, "tunings", stream)
            yield

    def take_back(self, connection: Connection, stream: str, by: str | None = None) -> bool:
        """Note that no tuning of the stream is in use; return whether one was.

        It is audited where somebody asked for it.
        """
        rows = connection.execute(
            "UPDATE tunings SET undone_at = now() WHERE stream = %s AND applied_at IS NOT NULL "
            "AND undone_at IS NULL RETURNING id, proposed",
            (stream,),
        ).fetchall()
        if by is not None:
            for number, proposed in rows:
                before = {"tuning": number, **(proposed or {})}
                audit.record(connection, by, "tuning.undo", stream, before, None)
        return bool(rows)
