"""Taking readings in: stored, scored, told and acknowledged in one transaction.

Belongs here: the order of things. The states of the series are locked in the order of their ids;
repeats and contradictions are found; the others get features, score and verdict; everything is
written; the transaction commits; only then does the caller hear. Readings that are newer than all
that is known of their series, which nearly all are, are judged before anything is locked. Does not
belong here: where readings come from, what becomes of each (``online_work``), nor the statements
(``online``).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import psycopg
from psycopg import errors

from anomaly_platform.resources import online
from anomaly_platform.resources.online import Key, Source
from anomaly_platform.resources.online_encoding import register
from anomaly_platform.resources.online_states import (
    HeldState,
    StateCache,
    build_states,
    held_state,
    store_first_states,
)
from anomaly_platform.resources.online_work import Answer, Judge, OvertakenError, Work
from anomaly_platform.resources.platform import Platform
from anomaly_platform.resources.transactions import Connection
from anomaly_platform.streams import MetricStream

if TYPE_CHECKING:
    from anomaly_platform.ingest.online_readings import Reading
    from anomaly_platform.ml.features.online import SeriesState

_ATTEMPTS: Final = 3
_AGAIN: Final = (errors.UniqueViolation, errors.DeadlockDetected, errors.SerializationFailure)


class OnlineIngest:
    """Takes readings in over a connection of its own. For one thread.

    Parameters
    ----------
    platform : Platform
        Streams, tables, lake and outbox.
    cached_states : int
        Most series whose state is held in memory.
    """

    def __init__(self, platform: Platform, *, cached_states: int = 10_000) -> None:
        self._platform = platform
        self._cache = StateCache(cached_states)
        self._connection: Connection | None = None

    def ingest(
        self,
        stream: MetricStream,
        readings: Sequence[Reading],
        judge: Judge,
        *,
        source: Source,
        now: dt.datetime | None = None,
    ) -> list[Answer]:
        """Store, score and tell of readings; return when they are committed.

        Readings of one series count in the order of their times; of two with the same time the
        first given counts.

        Parameters
        ----------
        stream : MetricStream
            Whose readings.
        readings : sequence of Reading
            Checked ones (``ingest.online_readings``).
        judge : Judge
            What scores.
        source : {'api', 'mqtt', 'ems'}
        now : datetime or None
            The present; the clock's by default. Older events than an hour never alert.

        Returns
        -------
        list of Answer
            One per reading, in their order.

        Raises
        ------
        psycopg.OperationalError
            When the database cannot be reached or gave up. Whether the readings are stored is
            then unknown; to send them again is harmless.
        """
        if not readings:
            return []
        keys = sorted({(one.entity, one.metric) for one in readings})
        for attempt in range(_ATTEMPTS):
            work = Work(stream, readings, judge, source, now or dt.datetime.now(dt.UTC))
            try:
                self._ensure_states(stream, keys)
                if self._take_newer(work, keys):
                    return work.answers()
                work = Work(stream, readings, judge, source, work.now)
                # Models are read before anything is locked.
                judge.scorer.warm(keys)
                with self._transaction() as connection:
                    if not self._lock(connection, work, keys):
                        continue
                    work.decide(connection)
                    work.judge_new()
                    work.write(connection, self._platform)
            except _AGAIN:
                # Somebody stored one of the readings a moment ago: it is found the next time.
                self._cache.drop(stream.name, keys)
                if attempt == _ATTEMPTS - 1:
                    raise
            except BaseException:
                self._cache.drop(stream.name, keys)
                raise
            else:
                self._remember(work)
                return work.answers()
        raise psycopg.OperationalError("the states of the series keep changing; try again")

    def _take_newer(self, work: Work, keys: Sequence[Key]) -> bool:
        """Take in readings that are all newer than what is known; return False where they are not.

        Nothing is locked beforehand: the states in memory are believed, and the statement that adds
        the readings to them finds only rows that are still at the same revision. Where somebody was
        faster nothing is changed.
        """
        name = work.stream.name
        for key in keys:
            held = self._cache.get(name, key)
            if held is None or held.revision < 0:
                return False
            work.believe(key, held)
        if not work.decide_alone():
            return False
        work.judge_new()
        try:
            with self._transaction() as connection:
                work.add_to_states(connection)
                work.write_readings(connection, self._platform)
        except OvertakenError:
            self._cache.drop(name, keys)
            self._ensure_states(work.stream, keys)
            return False
        self._remember(work)
        return True

    def _remember(self, work: Work) -> None:
        for key, held in work.after.items():
            self._cache.put(work.stream.name, key, held)

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(
                self._platform.urls.application,
                # Rows are found by id in the order in which they are named: so they are locked.
                options="-c timezone=UTC -c synchronous_commit=on "
                "-c enable_hashjoin=off -c enable_mergejoin=off",
                application_name="anomaly_ingest",
                connect_timeout=10,
                prepare_threshold=1,
            )
            register(self._connection)
        try:
            with self._connection.transaction():
                yield self._connection
        except psycopg.OperationalError:
            # Of a server that went away nothing is left to use; a new one is opened when needed.
            if self._connection.broken:
                self.close()
            raise

    def _ensure_states(self, stream: MetricStream, keys: Sequence[Key]) -> None:
        """Make states of series that have none, from what the lake knows, and learn their ids."""
        unknown = [key for key in keys if self._cache.get(stream.name, key) is None]
        if not unknown:
            return
        with self._platform.warehouse.transactions.begin() as connection:
            found = online.find_states(connection, stream.name, unknown)
        missing = [key for key in unknown if key not in found]
        if missing:
            store_first_states(
                self._platform, stream, build_states(self._platform, stream, missing)
            )
            with self._platform.warehouse.transactions.begin() as connection:
                found |= online.find_states(connection, stream.name, missing)
        empty = _empty(stream)
        for key in unknown:
            if key in found:
                self._cache.put(stream.name, key, HeldState(found[key], -1, 0, empty))

    def _lock(self, connection: Connection, work: Work, keys: Sequence[Key]) -> bool:
        """Lock the states; return False where one is gone or of other features."""
        stream = work.stream
        by_id = {}
        for key in keys:
            held = self._cache.get(stream.name, key)
            if held is None:
                return False
            by_id[held.id] = (key, held)
        ids = sorted(by_id)
        rows = online.lock_states(
            connection, ids, [by_id[one][1].revision for one in ids]
        ).fetchall()
        version = stream.features.version
        foreign = [row for row in rows if row.feature_version != version]
        if len(rows) < len(ids) or foreign:
            self._cache.drop(stream.name, keys)
            if foreign:
                self._renew(stream, [by_id[row.id][0] for row in foreign], connection)
            return False
        for row in rows:
            key, held = by_id[row.id]
            fresh = held if row.state is None else held_state(stream.features, row)
            work.believe(key, replace(fresh, threshold=row.threshold))
        return True

    def _renew(self, stream: MetricStream, keys: Sequence[Key], connection: Connection) -> None:
        """Have states of other features made anew."""
        connection.execute(
            "DELETE FROM series_state s USING unnest(%s::text[], %s::text[]) k(entity, metric) "
            "WHERE s.stream = %s AND s.entity = k.entity AND s.metric = k.metric",
            ([key[0] for key in keys], [key[1] for key in keys], stream.name),
        )


def _empty(stream: MetricStream) -> SeriesState:
    from anomaly_platform.ml.features.online import SeriesState

    return SeriesState.empty(stream.features)


__all__ = ["Answer", "Judge", "OnlineIngest"]
