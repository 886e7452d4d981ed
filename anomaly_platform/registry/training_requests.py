"""Queue of training requests of people, programs and sensors, with their outcomes.

Belongs here: the rows of ``training_requests``, from asking to outcome. Does not belong here: when
something deserves a training (``streams.retraining``), nor how waiting requests become a run
(``sensors.retraining``).
"""

import datetime as dt
import uuid
from dataclasses import dataclass
from typing import Any, Literal, LiteralString
from uuid import UUID

from anomaly_platform.storage.postgres.transactions import (
    Connection,
    TableAccess,
    columns_of,
    fetch_all,
    lock,
)

Cause = Literal["request", "volume", "drift", "age", "quality", "labels"]


@dataclass(frozen=True, slots=True)
class TrainingRequest:
    """One training that was asked for.

    Attributes
    ----------
    entity, metric : str or None
        Which series; without a metric every one of the entity, without an entity the whole stream.
    window_days : int or None
        Length of the history to train on; ``None`` is the stream's policy.
    cause : str
        ``request``, ``volume``, ``drift``, ``age``, ``quality`` or ``labels``.
    status : str
        ``waiting``, ``running``, ``done``, ``failed`` or ``cancelled``.
    event_watermark : datetime or None
        The newest event of the stream when it was asked for, where a sensor asked.
    attempts : int
        Runs that have failed so far.
    not_before : datetime
        When it may be taken up.
    batch : UUID or None
        Shared by the requests that one run serves.
    run_id : str or None
        Dagster's run.
    detector, version
        The bundle that came of it.
    outcome : str or None
        In words: promoted or rejected and why, or the error.
    """

    id: UUID
    stream: str
    entity: str | None
    metric: str | None
    window_days: int | None
    cause: str
    reason: str
    requested_by: str
    status: str
    event_watermark: dt.datetime | None
    attempts: int
    not_before: dt.datetime
    batch: UUID | None
    run_id: str | None
    detector: str | None
    version: int | None
    outcome: str | None
    created_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None

    @property
    def subject(self) -> str:
        """What is to be trained, in words."""
        if self.entity is None:
            return self.stream
        return f"{self.stream} {self.entity}" + (f" {self.metric}" if self.metric else "")


class TrainingRequests(TableAccess):
    """Reads and writes ``training_requests``."""

    def ask(
        self,
        stream: str,
        *,
        entity: str | None = None,
        metric: str | None = None,
        window_days: int | None = None,
        cause: Cause,
        reason: str,
        requested_by: str,
        event_watermark: dt.datetime | None = None,
        connection: Connection | None = None,
    ) -> UUID:
        """Ask for a training.

        A cause other than ``request`` is asked for once: while such a request waits, asking again
        returns the waiting one.

        Parameters
        ----------
        stream : str
        entity, metric : str or None
            Which series; without a metric every one of the entity, without an entity the stream.
        window_days : int or None
            Length of the history to train on, 1 to 3650; ``None`` is the stream's policy.
        cause : str
        reason : str
            In words, for people.
        requested_by : str
            Who asks: a person, an API key's name, a sensor.
        event_watermark : datetime or None
            The newest event of the stream, by which a sensor knows later that it asked already.
        connection : Connection or None
            A transaction to take part in.

        Raises
        ------
        ValueError
            When a metric comes without an entity, or the window is out of range.
        """
        if metric is not None and entity is None:
            raise ValueError(
                f"metric {metric!r} without an entity: name the device or asset as well"
            )
        if window_days is not None and not 1 <= window_days <= 3650:
            raise ValueError(f"window_days {window_days}: choose 1 to 3650 days")
        values = {
            "stream": stream,
            "entity": entity,
            "metric": metric,
            "window_days": window_days,
            "cause": cause,
            "reason": reason,
            "requested_by": requested_by,
            "event_watermark": event_watermark,
        }
        with self._transactions.within(connection) as own:
            waiting = None if cause == "request" else _waiting(own, values)
            return waiting or _insert(own, values)

    def get(self, request: UUID) -> TrainingRequest | None:
        """Return one request, if there is such a one."""
        return self._transactions.row(TrainingRequest, _one_by_one("id = %s"), (request,))

    def waiting(self, stream: str) -> list[TrainingRequest]:
        """Return the stream's requests that wait for a run, the oldest first."""
        return self._of(stream, "waiting")

    def running(self, stream: str) -> list[TrainingRequest]:
        """Return the stream's requests that a run has taken up, the oldest first."""
        return self._of(stream, "running")

    def claim(self, stream: str, now: dt.datetime | None = None) -> list[TrainingRequest]:
        """Take up the requests that one run can serve; they are running from then on.

        One run trains on one length of history: the oldest request that is due decides which, and
        those that want another wait for the next run. Nothing is taken up while any request of
        the stream is running.

        Parameters
        ----------
        stream : str
        now : datetime or None
            Requests whose `not_before` lies later stay; by default the database's clock.

        Returns
        -------
        list of TrainingRequest
            Of one new batch, the oldest first; empty when nothing is due.
        """
        with self._transactions.begin() as connection:
            lock(connection, "training_requests", stream)
            batch = uuid.uuid4()
            connection.execute(
                """
                WITH due AS (
                    SELECT id, window_days, created_at FROM training_requests
                    WHERE stream = %(stream)s AND status = 'waiting'
                    AND not_before <= coalesce(%(now)s::timestamptz, now())
                    AND NOT EXISTS (SELECT FROM training_requests
                                    WHERE stream = %(stream)s AND status = 'running')
                ), first AS (SELECT window_days FROM due ORDER BY created_at, id LIMIT 1)
                UPDATE training_requests t
                SET status = 'running', batch = %(batch)s,
                    started_at = coalesce(%(now)s::timestamptz, now()), run_id = NULL
                FROM due, first
                WHERE t.id = due.id AND due.window_days IS NOT DISTINCT FROM first.window_days
                """,
                {"stream": stream, "now": now, "batch": batch},
            )
            mine = _one_by_one("batch = %s AND status = 'running'")
            return fetch_all(connection, TrainingRequest, mine, (batch,))

    def note_run(self, batch: UUID, run_id: str) -> None:
        """Record which run serves a batch."""
        self._transactions.execute(
            "UPDATE training_requests SET run_id = %s "
            "WHERE batch = %s AND run_id IS DISTINCT FROM %s",
            (run_id, batch, run_id),
        )

    def finish(
        self,
        batch: UUID,
        *,
        status: Literal["done", "failed", "cancelled"],
        outcome: str,
        detector: str | None = None,
        version: int | None = None,
    ) -> int:
        """End every running request of a batch; return how many. Ending it again changes nothing.

        Parameters
        ----------
        batch : UUID
        status : str
        outcome : str
            What became of it, in words.
        detector, version
            The bundle that came of it.
        """
        return self._transactions.execute(
            "UPDATE training_requests SET status = %s, outcome = %s, detector = %s, version = %s, "
            "finished_at = now() WHERE batch = %s AND status = 'running'",
            (status, outcome, detector, version, batch),
        )

    def put_back(self, batch: UUID, *, outcome: str, not_before: dt.datetime) -> int:
        """Let a batch whose run failed wait for another try; return how many requests wait again.

        A request whose like has been asked for meanwhile is merged into that one.

        Parameters
        ----------
        batch : UUID
        outcome : str
            The error, in words.
        not_before : datetime
            When the next try may begin.
        """
        with self._transactions.begin() as connection:
            connection.execute(
                """
                UPDATE training_requests t SET status = 'cancelled', finished_at = now(),
                    outcome = %(outcome)s || '; asked for again meanwhile'
                WHERE t.batch = %(batch)s AND t.status = 'running' AND t.cause <> 'request'
                AND EXISTS (
                    SELECT FROM training_requests w WHERE w.stream = t.stream
                    AND w.cause = t.cause AND w.entity IS NOT DISTINCT FROM t.entity
                    AND w.metric IS NOT DISTINCT FROM t.metric AND w.status = 'waiting')
                """,
                {"batch": batch, "outcome": outcome},
            )
            return connection.execute(
                "UPDATE training_requests SET status = 'waiting', batch = NULL, "
                "attempts = attempts + 1, outcome = %s, not_before = %s "
                "WHERE batch = %s AND status = 'running'",
                (outcome, not_before, batch),
            ).rowcount

    def cancel(self, request: UUID, outcome: str) -> bool:
        """Withdraw a request that still waits; return whether it did."""
        changed = self._transactions.execute(
            "UPDATE training_requests SET status = 'cancelled', outcome = %s, "
            "finished_at = now() WHERE id = %s AND status = 'waiting'",
            (outcome, request),
        )
        return changed > 0

    def _of(self, stream: str, status: str) -> list[TrainingRequest]:
        statement = _one_by_one("stream = %s AND status = %s")
        return self._transactions.rows(TrainingRequest, statement, (stream, status))


def _waiting(connection: Connection, values: dict[str, Any]) -> UUID | None:
    """Return the request of the same cause for the same series that waits, if there is one."""
    lock(connection, "training_requests", values["stream"])
    row = connection.execute(
        "SELECT id FROM training_requests WHERE stream = %(stream)s AND cause = %(cause)s "
        "AND entity IS NOT DISTINCT FROM %(entity)s AND metric IS NOT DISTINCT FROM %(metric)s "
        "AND status = 'waiting'",
        values,
    ).fetchone()
    return None if row is None else row[0]


def _insert(connection: Connection, values: dict[str, Any]) -> UUID:
    ((made,),) = connection.execute(
        "INSERT INTO training_requests "
        "(stream, entity, metric, window_days, cause, reason, requested_by, event_watermark) "
        "VALUES (%(stream)s, %(entity)s, %(metric)s, %(window_days)s, %(cause)s, %(reason)s, "
        "%(requested_by)s, %(event_watermark)s) RETURNING id",
        values,
    ).fetchall()
    return UUID(str(made))


def _one_by_one(condition: LiteralString) -> str:
    """Return the query of the requests that meet a condition, in the order they were made."""
    columns = columns_of(TrainingRequest)
    return f"SELECT {columns} FROM training_requests WHERE {condition} ORDER BY created_at, id"  # noqa: S608
