"""Taking readings in: stored, scored, told and acknowledged in one transaction.

Belongs here: the order of things. The states of the series are locked in the order of their ids;
repeats and contradictions are found; the others get features, score and verdict; everything is
written; the transaction commits; only then does the caller hear. Readings that are newer than all
that is known of their series, which nearly all are, are judged before anything is locked. Does not
belong here: where readings come from, how newer ones are stored (``online_newer``), what becomes of
each of the others (``online_work``), nor the statements (``online``).
"""

from __future__ import annotations

import datetime as dt
import select
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import psycopg
from psycopg import errors

from anomaly_platform.ingest.online.reading_columns import ReadingColumns
from anomaly_platform.platform import Platform
from anomaly_platform.realtime.append_path import NewerReadings
from anomaly_platform.realtime.readings_at_work import Answer, Judge, Work, answers_of
from anomaly_platform.realtime.series_state import build_states, held_state, store_first_states
from anomaly_platform.realtime.series_state_cache import UNREAD, HeldState, StateCache
from anomaly_platform.realtime.stored_columns import StoredColumns
from anomaly_platform.storage.postgres.binary_format import register
from anomaly_platform.storage.postgres.transactions import Connection
from anomaly_platform.storage.tables import online
from anomaly_platform.storage.tables.online import Key, Source
from anomaly_platform.streams import MetricStream

if TYPE_CHECKING:
    from anomaly_platform.ingest.online.readings import Reading
    from anomaly_platform.ml.features.metrics.series_state import SeriesState

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

    def __init__(self, platform: Platform, *, cached_states: int = 16_384) -> None:
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
        taken = self.ingest_columns(
            stream, ReadingColumns.of(readings), judge, source=source, now=now
        )
        return taken if isinstance(taken, list) else answers_of(taken)

    def ingest_columns(
        self,
        stream: MetricStream,
        readings: ReadingColumns,
        judge: Judge,
        *,
        source: Source,
        now: dt.datetime | None = None,
    ) -> StoredColumns | list[Answer]:
        """Do what :meth:`ingest` does, for readings by column.

        Returns
        -------
        StoredColumns or list of Answer
            Columns, where every reading was newer than all that is known of its series.
        """
        moment = now or dt.datetime.now(dt.UTC)
        stored = self._take_newer(stream, readings, judge, source, moment)
        if stored is not None:
            return stored
        return self._take_any(stream, readings.readings(), judge, source, moment)

    def _take_newer(
        self,
        stream: MetricStream,
        readings: ReadingColumns,
        judge: Judge,
        source: Source,
        now: dt.datetime,
    ) -> StoredColumns | None:
        """Take in readings that are all newer than what is known; return None where they are not.

        Where somebody was faster nothing is changed.
        """
        held = self._cache.of(stream)
        newer = NewerReadings(stream, readings, judge, held)
        if not newer.find():
            return None
        try:
            newer.judge_all()
            with self._connected() as connection:
                newer.store(connection, self._platform, source, now)
        except _AGAIN:
            held.drop(readings.keys)
            return None
        except BaseException:
            held.drop(readings.keys)
            raise
        return newer.stored

    def _take_any(
        self,
        stream: MetricStream,
        readings: Sequence[Reading],
        judge: Judge,
        source: Source,
        now: dt.datetime,
    ) -> list[Answer]:
        """Take readings in under the locks of their states."""
        keys = sorted({(one.entity, one.metric) for one in readings})
        held = self._cache.of(stream)
        for attempt in range(_ATTEMPTS):
            work = Work(stream, readings, judge, source, now)
            try:
                self._ensure_states(stream, keys)
                # Models are read before anything is locked.
                judge.scorer.warm(keys)
                with self._connected() as connection, connection.transaction():
                    if not self._lock(connection, work, keys):
                        continue
                    work.decide(connection)
                    work.judge_new()
                    work.write(connection, self._platform)
            except _AGAIN:
                # Somebody stored one of the readings a moment ago: it is found the next time.
                held.drop(keys)
                if attempt == _ATTEMPTS - 1:
                    raise
            except BaseException:
                held.drop(keys)
                raise
            else:
                for key, state in work.after.items():
                    held.put(key, state)
                return work.answers()
        raise psycopg.OperationalError("the states of the series keep changing; try again")

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        if self._connection is not None and _hung_up(self._connection):
            self.close()
        if self._connection is None:
            self._connection = psycopg.connect(
                self._platform.urls.application,
                # Rows are found by id in the order in which they are named: so they are locked.
                options="-c timezone=UTC -c synchronous_commit=on "
                "-c enable_hashjoin=off -c enable_mergejoin=off",
                application_name="anomaly_ingest",
                connect_timeout=10,
                prepare_threshold=1,
                autocommit=True,
            )
            register(self._connection)
        try:
            yield self._connection
        except psycopg.OperationalError:
            # Of a server that went away nothing is left to use; a new one is opened when needed.
            if self._connection.broken:
                self.close()
            raise

    def _ensure_states(self, stream: MetricStream, keys: Sequence[Key]) -> None:
        """Make states of series that have none, from what the lake knows, and learn their ids."""
        held = self._cache.of(stream)
        unknown = [key for key, place in zip(keys, held.places(keys), strict=True) if place < 0]
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
                held.put(key, HeldState(found[key], UNREAD, 0, empty))

    def _lock(self, connection: Connection, work: Work, keys: Sequence[Key]) -> bool:
        """Lock the states; return False where one is gone or of other features."""
        stream = work.stream
        cache = self._cache.of(stream)
        by_id = {}
        for key in keys:
            held = cache.get(key)
            if held is None:
                return False
            by_id[held.id] = (key, held)
        ids = sorted(by_id)
        rows = online.lock_states(connection, ids, [by_id[one][1].revision for one in ids])
        version = stream.features.version
        foreign = [row for row in rows if row.feature_version != version]
        if len(rows) < len(ids) or foreign:
            cache.drop(keys)
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
    from anomaly_platform.ml.features.metrics.series_state import SeriesState

    return SeriesState.empty(stream.features)


def _hung_up(connection: Connection) -> bool:
    """Whether the server has said something unasked, as it does when it ends a connection."""
    if connection.closed:
        return True
    waiting = select.poll()
    waiting.register(connection.fileno(), select.POLLIN)
    return bool(waiting.poll(0))


__all__ = ["Answer", "Judge", "OnlineIngest"]
