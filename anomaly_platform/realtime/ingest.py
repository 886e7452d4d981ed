"""Taking readings in: stored, scored, told and acknowledged in one transaction.

Belongs here: the order of things. Readings are first believed to be newer than all that is known of
their series; where they are not, or somebody else was faster, the states of the series are locked
in the order of their ids, and all is done again with what is known then. The transaction commits;
only then does the caller hear. Does not belong here: where readings come from, what becomes of them
in a transaction (``append_path``), nor the statements (``storage.tables.online``).
"""

import datetime as dt
import select
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import numpy as np
import psycopg
from psycopg import errors

from anomaly_platform.ingest.online.reading_columns import ReadingColumns
from anomaly_platform.ml.features.metrics.series_state import SeriesState
from anomaly_platform.notifications.outbox import Outbox
from anomaly_platform.realtime.added_rows import prepare_adding
from anomaly_platform.realtime.answers import Answer, StoredColumns
from anomaly_platform.realtime.append_path import Append, Judge
from anomaly_platform.realtime.series_state import SeriesStates, cached_state
from anomaly_platform.realtime.series_state_cache import UNREAD, CachedSeries, CachedState
from anomaly_platform.storage.postgres.binary_format import register
from anomaly_platform.storage.postgres.transactions import Connection, naming_lost
from anomaly_platform.storage.tables import online
from anomaly_platform.storage.tables.online import Key, Source
from anomaly_platform.streams import MetricStream

#: Series of a stream that are held in memory, at least; some twelve kilobytes each.
_MOST_STATES: Final = 16_384
_ATTEMPTS: Final = 3
_AGAIN: Final = (
    errors.UniqueViolation,
    errors.DeadlockDetected,
    errors.SerializationFailure,
    # Which psycopg forgets, all of them, whenever it rolls back.
    errors.InvalidSqlStatementName,
)


class OnlineIngest:
    """Takes readings in over a connection of its own. For one thread.

    Parameters
    ----------
    url : str
        Of the database.
    states : SeriesStates
        Where the past of series comes from.
    outbox : Outbox
        Where anomalies are told.
    """

    def __init__(self, url: str, states: SeriesStates, outbox: Outbox) -> None:
        self._url = url
        self._states = states
        self._outbox = outbox
        self._cached: dict[tuple[str, str], CachedSeries] = {}
        self._connection: Connection | None = None
        self._is_prepared = False

    def ingest(
        self,
        stream: MetricStream,
        readings: ReadingColumns,
        judge: Judge,
        *,
        source: Source,
        now: dt.datetime | None = None,
        meanwhile: Callable[[StoredColumns], None] = lambda _: None,
    ) -> StoredColumns | list[Answer]:
        """Store, score and tell of readings; return when they are committed.

        Readings of one series count in the order of their times; of two with the same time the
        first given counts.

        Parameters
        ----------
        stream : MetricStream
            Whose readings.
        readings : ReadingColumns
            Checked ones (``ingest.online.readings``), at least one.
        judge : Judge
            What scores.
        source : {'api', 'mqtt', 'ems'}
        now : datetime or None
            The present; the clock's by default. Older events than an hour never alert.
        meanwhile : callable
            Is handed what is to be stored while PostgreSQL works, only where every reading is
            believed to be new. It does not hold where answers are returned after all.

        Returns
        -------
        StoredColumns or list of Answer
            One per reading, in their order; columns, where every reading was newer than all that
            is known of its series.

        Raises
        ------
        psycopg.OperationalError
            When the database cannot be reached or gave up. Whether the readings are stored is
            then unknown; to send them again is harmless.
        """
        cached, moment = self._series_of(stream), now or dt.datetime.now(dt.UTC)
        cached.judged_by(judge.scorer.source)
        for attempt in range(_ATTEMPTS + 1):
            try:
                append = Append(stream, readings, judge, cached)
                if attempt == 0:
                    done = self._try(append, source, moment, meanwhile)
                else:
                    done = self._try_locked(append, source, moment)
            except _AGAIN:
                # Somebody stored one of the readings a moment ago: it is found the next time.
                cached.drop(readings.keys)
                self._is_prepared = False
            except BaseException:
                cached.drop(readings.keys)
                self._is_prepared = False
                raise
            else:
                if done:
                    return append.committed()
        raise psycopg.OperationalError("the states of the series keep changing; try again")

    def _try(
        self,
        append: Append,
        source: Source,
        now: dt.datetime,
        meanwhile: Callable[[StoredColumns], None],
    ) -> bool:
        """Take in readings that are newer than what is in memory; return False where they are not.

        Where somebody was faster nothing is changed.
        """
        append.find_series()
        if not append.is_newer():
            return False
        with self._connected() as connection:
            if not append.look_for_calls(connection):
                return False
            append.judge_all()
            append.store(connection, self._outbox, source, now, meanwhile)
        return True

    def _try_locked(self, append: Append, source: Source, now: dt.datetime) -> bool:
        """Take readings in under the locks of their series; return False where a state is gone."""
        stream, keys = append.stream, sorted(set(append.readings.keys))
        judge = append.judge
        self._ensure_states(stream, keys)
        # Models are read before anything is locked.
        append.judge.scorer.warm(keys)
        with self._connected() as connection, connection.transaction():
            if not self._lock(connection, stream, keys):
                return False
            append.find_series()
            if append.leave_out_known(connection):
                append.look_for_calls(connection)
                if untold := append.untold():
                    found = self._states.calls(
                        *(stream, judge.version, judge.scorer.source.alpha, untold),
                        judge.scorer.first_calls,
                    )
                    self._series_of(stream).begin_calls(found, judge.version)
                append.judge_all()
                append.store(connection, self._outbox, source, now)
        return True

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
                self._url,
                # Rows are found by id in the order in which they are named: so they are locked.
                options="-c timezone=UTC -c synchronous_commit=on "
                "-c enable_hashjoin=off -c enable_mergejoin=off",
                application_name="anomaly_ingest",
                connect_timeout=10,
                prepare_threshold=1,
                autocommit=True,
            )
            register(self._connection)
            self._is_prepared = False
        try:
            with naming_lost(self._connection):
                if not self._is_prepared:
                    prepare_adding(self._connection)
                    self._is_prepared = True
                yield self._connection
        except psycopg.OperationalError:
            # Of a server that went away nothing is left to use; a new one is opened when needed.
            if self._connection.broken:
                self.close()
            raise

    def _series_of(self, stream: MetricStream) -> CachedSeries:
        """Return the series of a stream that are in memory."""
        name = stream.name, stream.features.version
        if name not in self._cached:
            self._cached[name] = CachedSeries(stream.features, _MOST_STATES)
        return self._cached[name]

    def _ensure_states(self, stream: MetricStream, keys: Sequence[Key]) -> None:
        """Make states of series that have none, and learn their ids."""
        cached = self._series_of(stream)
        unknown = [key for key, place in zip(keys, cached.places(keys), strict=True) if place < 0]
        if not unknown:
            return
        empty = SeriesState.empty(stream.features)
        for key, found in self._states.ensure(stream, unknown).items():
            cached.put(key, CachedState(found, UNREAD, 0, empty))

    def _lock(self, connection: Connection, stream: MetricStream, keys: Sequence[Key]) -> bool:
        """Lock the states; return False where one is gone or of other features."""
        cached = self._series_of(stream)
        places = np.array(cached.places(keys), dtype=np.int64)
        if places.min() < 0:
            return False
        places = places[cached.ids[places].argsort()]
        ids = cached.ids[places].tolist()
        rows = online.lock_states(connection, ids, cached.revisions[places].tolist())
        version = stream.features.version
        foreign = [row.id for row in rows if row.feature_version != version]
        if len(rows) < len(ids) or foreign:
            cached.drop(keys)
            # They are made anew.
            connection.execute("DELETE FROM series_state WHERE id = ANY(%s)", (foreign,))
            return False
        for place, row in zip(places.tolist(), rows, strict=True):
            if row.state is None:
                cached.own[place] = np.nan if row.threshold is None else row.threshold
            else:
                cached.refresh(place, cached_state(stream.features, row))
        return True


def _hung_up(connection: Connection) -> bool:
    """Whether the server has said something unasked, as it does when it ends a connection."""
    if connection.closed:
        return True
    waiting = select.poll()
    waiting.register(connection.fileno(), select.POLLIN)
    return bool(waiting.poll(0))
