"""Outbox of pending MLflow updates: rows written with what they mirror, worked off later.

Belongs here: the table ``registry_mirror``. Does not belong here: MLflow itself, which
``model_registry`` talks to.
"""

import datetime as dt
from dataclasses import dataclass
from typing import Final, Literal

from anomaly_platform.storage.postgres.transactions import Connection, TableAccess, columns_of

Action = Literal["version", "alias", "status"]

_FIRST_WAIT_S: Final = 15
_LONGEST_WAIT_S: Final = 900
_LONGEST_ERROR: Final = 500


@dataclass(frozen=True, slots=True)
class PendingUpdate:
    """One version of which MLflow has to be told.

    Attributes
    ----------
    action : str
        ``version``: it was trained; ``alias``: it serves or does not any more; ``status``: it was
        rejected, failed or deleted.
    """

    id: int
    stream: str
    detector: str
    version: int
    action: Action
    attempts: int


def enqueue(connection: Connection, key: tuple[str, str, int], action: Action) -> None:
    """Note within the caller's transaction that a version has changed."""
    connection.execute(
        "INSERT INTO registry_mirror (stream, detector, version, action) VALUES (%s, %s, %s, %s)",
        (*key, action),
    )


class PendingUpdates(TableAccess):
    """Reads ``registry_mirror`` and marks what is done."""

    def waiting(self) -> int:
        """Return how many rows wait, due or not."""
        waiting = "SELECT count(*) FROM registry_mirror WHERE status = 'waiting'"
        return int(self._transactions.value(waiting))

    def due(self, limit: int = 200) -> list[PendingUpdate]:
        """Return the rows that are due, the oldest first."""
        return self._transactions.rows(
            PendingUpdate,
            f"SELECT {columns_of(PendingUpdate)} FROM registry_mirror "  # noqa: S608
            "WHERE status = 'waiting' AND next_try_at <= now() ORDER BY id LIMIT %s",
            (limit,),
        )

    def done(self, row: PendingUpdate, mlflow_run: str | None) -> None:
        """Record that MLflow knows."""
        self._transactions.execute(
            "UPDATE registry_mirror SET status = 'done', last_error = NULL, mlflow_run = %s "
            "WHERE id = %s",
            (mlflow_run, row.id),
        )

    def delay(self, rows: list[PendingUpdate], error: str) -> dt.timedelta:
        """Record that MLflow could not be told; return how long these rows wait now."""
        attempts = max((row.attempts for row in rows), default=0) + 1
        wait = dt.timedelta(
            seconds=min(_FIRST_WAIT_S * (1 << min(attempts - 1, 16)), _LONGEST_WAIT_S)
        )
        self._transactions.execute(
            "UPDATE registry_mirror SET attempts = attempts + 1, last_error = %s, "
            "next_try_at = now() + %s WHERE id = ANY(%s)",
            (error[:_LONGEST_ERROR], wait, [row.id for row in rows]),
        )
        return wait
