"""Taking readings in: stored, scored, told and acknowledged in one transaction.

Belongs here: the order of things. The states of the series are locked in the order of their ids;
repeats and contradictions are found; the others get features, score and verdict; everything is
written; the transaction commits; only then does the caller hear. Does not belong here: where
readings come from, nor the statements (``online``).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal
from uuid import UUID

import numpy as np
import psycopg
from psycopg import errors

from anomaly_platform.resources import online
from anomaly_platform.resources.online import Key, Source, StoredReading
from anomaly_platform.resources.online_alerts import anomaly_alerts
from anomaly_platform.resources.online_encoding import register
from anomaly_platform.resources.online_states import (
    TAIL_ROWS,
    HeldState,
    StateCache,
    build_states,
    held_state,
    store_first_states,
    tail_bytes,
)
from anomaly_platform.resources.platform import DETECTOR, Platform
from anomaly_platform.resources.transactions import Connection
from anomaly_platform.streams import MetricStream

if TYPE_CHECKING:
    from anomaly_platform.ingest.online_readings import Reading
    from anomaly_platform.ml.features.kernels import Ints
    from anomaly_platform.ml.features.online import SeriesState
    from anomaly_platform.ml.online_scoring import Floats, OnlineScorer

Outcome = Literal["stored", "repeated", "conflict"]

OTHER_VALUE: Final = (
    "a reading of this device, metric and time is known with another value; the first one counts"
)
OTHER_READING: Final = "this event id belongs to another reading; every reading has its own"

_ATTEMPTS: Final = 3
_AGAIN: Final = (errors.UniqueViolation, errors.DeadlockDetected, errors.SerializationFailure)


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a reading.

    Attributes
    ----------
    outcome
        ``stored`` now, ``repeated`` when it was known with the same values, ``conflict`` when
        what is known contradicts it.
    reading
        The reading that is kept, with its verdict; None where only the lake has it.
    reason
        Of a conflict, for people.
    """

    outcome: Outcome
    reading: StoredReading | None
    reason: str = ""


@dataclass(frozen=True)
class Judge:
    """What scores: one version from a transaction's start to its end.

    Attributes
    ----------
    version
        Of the bundle; None where the statistical fallback alone serves.
    scorer
        Its models. Its features are those of the stream.
    threshold
        The stream's; series may have their own (``thresholds``).
    """

    version: int | None
    scorer: OnlineScorer
    threshold: float


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
            work = _Work(stream, readings, judge, source, now or dt.datetime.now(dt.UTC))
            try:
                self._ensure_states(stream, keys)
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
                for key, held in work.after.items():
                    self._cache.put(stream.name, key, held)
                return work.answers()
        raise psycopg.OperationalError("the states of the series keep changing; try again")

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
                options="-c timezone=UTC -c synchronous_commit=on",
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

    def _lock(self, connection: Connection, work: _Work, keys: Sequence[Key]) -> bool:
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
            work.before[key] = fresh
            if row.threshold is not None:
                work.thresholds[key] = row.threshold
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


class _Work:
    """One transaction's readings on their way."""

    def __init__(
        self,
        stream: MetricStream,
        readings: Sequence[Reading],
        judge: Judge,
        source: Source,
        now: dt.datetime,
    ) -> None:
        self.stream = stream
        self.before: dict[Key, HeldState] = {}
        self.after: dict[Key, HeldState] = {}
        self.thresholds: dict[Key, float] = {}
        self._readings = readings
        self._judge = judge
        self._source = source
        self._now = now
        self._answers: dict[int, Answer] = {}
        #: A reading that says the same as, or contradicts, an earlier one of this transaction.
        self._followers: dict[int, tuple[int, str]] = {}
        self._new: dict[Key, list[int]] = {}
        self._late: set[int] = set()
        self._stored: dict[int, StoredReading] = {}

    def answers(self) -> list[Answer]:
        """Return one answer per reading."""
        for place, (leader, reason) in self._followers.items():
            said = self._answers[leader]
            why = reason or said.reason
            self._answers[place] = Answer("conflict" if why else "repeated", said.reading, why)
        return [self._answers[place] for place in range(len(self._readings))]

    def decide(self, connection: Connection) -> None:
        """Find repeats and contradictions; what is left is new."""
        candidates = self._without_known_ids(connection)
        by_series: dict[Key, list[int]] = {}
        for place in candidates:
            one = self._readings[place]
            by_series.setdefault((one.entity, one.metric), []).append(place)
        old: list[tuple[Key, int]] = []
        for key, places in by_series.items():
            places.sort(key=lambda place: self._readings[place].time)
            times = self.before[key].state.times
            newest = int(times[-1]) if times.size else None
            leader = None
            for place in places:
                time = self._readings[place].time
                if newest is not None and time <= newest:
                    old.append((key, place))
                elif leader is not None and self._readings[leader].time == time:
                    self._follow(place, leader)
                else:
                    leader = place
                    self._new.setdefault(key, []).append(place)
        if old:
            self._decide_old(connection, old)

    def _without_known_ids(self, connection: Connection) -> list[int]:
        """Answer readings whose event id is known; return the places of the others."""
        given = {one.event_id for one in self._readings if one.event_id is not None}
        known = online.by_event_id(connection, self.stream.name, list(given)) if given else {}
        first: dict[UUID, int] = {}
        rest = []
        for place, one in enumerate(self._readings):
            if one.event_id is None:
                rest.append(place)
            elif one.event_id in known:
                stored = known[one.event_id]
                same = _says_the_same(one, stored)
                self._answers[place] = Answer(
                    "repeated" if same else "conflict", stored, "" if same else OTHER_READING
                )
            elif one.event_id in first:
                leader = self._readings[first[one.event_id]]
                same = (one.entity, one.metric, one.value, one.metadata) == (
                    leader.entity,
                    leader.metric,
                    leader.value,
                    leader.metadata,
                ) and (one.time == leader.time or not one.has_time)
                self._followers[place] = (
                    first[one.event_id],
                    "" if same else OTHER_READING,
                )
            else:
                first[one.event_id] = place
                rest.append(place)
        return rest

    def _follow(self, place: int, leader: int) -> None:
        one, other = self._readings[place], self._readings[leader]
        same = (one.value, one.metadata) == (other.value, other.metadata)
        self._followers[place] = (leader, "" if same else OTHER_VALUE)

    def _decide_old(self, connection: Connection, old: Sequence[tuple[Key, int]]) -> None:
        """Decide about readings that are not newer than what is known of their series."""
        natural = [(*key, self._readings[place].time) for key, place in old]
        known = online.by_natural_key(connection, self.stream.name, natural)
        first: dict[tuple[str, str, int], int] = {}
        for (key, place), name in zip(old, natural, strict=True):
            one = self._readings[place]
            stored = known.get(name)
            if stored is not None:
                same = (stored.value, stored.metadata) == (one.value, one.metadata)
                self._answers[place] = Answer(
                    "repeated" if same else "conflict", stored, "" if same else OTHER_VALUE
                )
                continue
            state = self.before[key].state
            at = int(np.searchsorted(state.times, one.time))
            if at < state.times.size and state.times[at] == one.time:
                same = bool(state.values[at] == one.value)
                self._answers[place] = Answer(
                    "repeated" if same else "conflict", None, "" if same else OTHER_VALUE
                )
                continue
            if name in first:
                self._follow(place, first[name])
                continue
            first[name] = place
            self._late.add(place)
            # Late ones come before the others of their series, which are newer.
            places = self._new.setdefault(key, [])
            places.insert(sum(other in self._late for other in places), place)

    def judge_new(self) -> None:
        """Compute features, state and verdict of every new reading."""
        order, features = self._features()
        if not order:
            return
        readings = [self._readings[place] for place in order]
        keys = [(one.entity, one.metric) for one in readings]
        times = np.array([one.time for one in readings], dtype=np.int64)
        judge = self._judge
        thresholds = np.array([self.thresholds.get(key, judge.threshold) for key in keys])
        said = judge.scorer.judge(keys, times, features, thresholds)
        ids = _event_ids(readings)
        scores, p_values = said.score.tolist(), said.p_value.tolist()
        decided, flagged = said.decided.tolist(), said.is_anomaly.tolist()
        for n, place in enumerate(order):
            one = readings[n]
            known = scores[n] == scores[n]
            stored = StoredReading(
                ids[n],
                one.entity,
                one.metric,
                one.time,
                one.value,
                one.metadata,
                scores[n] if known else None,
                p_values[n] if known else None,
                flagged[n] if decided[n] else None,
                float(thresholds[n]),
                said.status[n],
                place in self._late,
                judge.version,
            )
            self._stored[place] = stored
            self._answers[place] = Answer("stored", stored)

    def _features(self) -> tuple[list[int], Floats]:
        """Return the new readings' places and (features, readings); leave the states in `after`."""
        from anomaly_platform.ml.features.kernels import run_appended
        from anomaly_platform.ml.features.online import SeriesState, step

        feature_set = self.stream.features
        late: list[int] = []
        columns: list[Floats] = []
        order: list[int] = []
        parts: list[tuple[Key, SeriesState, int]] = []
        for key, places in self._new.items():
            state = self.before[key].state
            on_time = [place for place in places if place not in self._late]
            for place in places:
                if place in self._late:
                    one = self._readings[place]
                    column, state = step(feature_set, state, one.time, one.value)
                    columns.append(column[:, None])
                    late.append(place)
            if on_time:
                parts.append((key, state, len(on_time)))
                order += on_time
            else:
                self._keep(key, state)
        if order:
            # One array for all: a call of NumPy per series costs more than what it does.
            time = np.array([self._readings[place].time for place in order], dtype=np.int64)
            value = np.array([self._readings[place].value for place in order])
            all_times: list[Ints] = []
            all_values: list[Floats] = []
            offsets, wanted, at = [0], [], 0
            for _, state, number in parts:
                all_times += (state.times, time[at : at + number])
                all_values += (state.values, value[at : at + number])
                wanted.append(offsets[-1] + state.times.size)
                offsets.append(wanted[-1] + number)
                at += number
            times, values = np.concatenate(all_times), np.concatenate(all_values)
            for n, (key, _, _) in enumerate(parts):
                rows = slice(offsets[n], offsets[n + 1])
                self._keep(key, SeriesState.of(feature_set, times[rows], values[rows]))
            columns.append(
                run_appended(
                    feature_set,
                    times,
                    values,
                    np.array(offsets, dtype=np.int64),
                    np.array(wanted, dtype=np.int64),
                )
            )
        if not columns:
            return [], np.empty((0, 0))
        return late + order, columns[0] if len(columns) == 1 else np.concatenate(columns, axis=1)

    def _keep(self, key: Key, state: SeriesState) -> None:
        """Note the state of a series after its new readings."""
        held = self.before[key]
        rows = held.tail_rows + len(self._new[key])
        self.after[key] = HeldState(
            held.id, held.revision + 1, 0 if rows > TAIL_ROWS else rows, state
        )

    def write(self, connection: Connection, platform: Platform) -> None:
        """Write readings, states, detections and alerts."""
        if not self._stored:
            return
        name = self.stream.name
        # In one order, so that two that store the same ids wait for each other.
        stored = sorted(self._stored.values(), key=lambda one: one.event_time)
        online.insert_readings(connection, name, self._source, stored)
        flagged = [one for one in stored if one.is_anomaly]
        with connection.pipeline():
            self._write_states(connection)
            if flagged:
                online.insert_detections(connection, name, DETECTOR, flagged)
                for alert in anomaly_alerts(self.stream, flagged, self._now):
                    platform.outbox.raise_alert(connection, alert)

    def _write_states(self, connection: Connection) -> None:
        appended: tuple[list[int], list[bytes], list[int]] = ([], [], [])
        whole: tuple[list[int], list[bytes], list[int]] = ([], [], [])
        for key, places in self._new.items():
            held = self.after[key]
            into = appended if held.tail_rows else whole
            into[0].append(held.id)
            into[2].append(int(held.state.times[-1]))
            if held.tail_rows:
                readings = [self._readings[place] for place in places]
                into[1].append(
                    tail_bytes([one.time for one in readings], [one.value for one in readings])
                )
            else:
                into[1].append(held.state.to_bytes())
        if appended[0]:
            online.append_states(connection, *appended)
        if whole[0]:
            online.replace_states(connection, *whole)


def _says_the_same(one: Reading, stored: StoredReading) -> bool:
    return (one.entity, one.metric, one.value, one.metadata) == (
        stored.entity,
        stored.metric,
        stored.value,
        stored.metadata,
    ) and (one.time == stored.event_time or not one.has_time)


def _event_ids(readings: Sequence[Reading]) -> list[UUID]:
    """Return each reading's id, derived from its natural key where none was given."""
    from anomaly_platform.ingest.identity import derived_ids

    without = [one for one in readings if one.event_id is None]
    derived = iter(
        derived_ids([(one.entity, one.metric) for one in without], [one.time for one in without])
    )
    return [next(derived) if one.event_id is None else one.event_id for one in readings]
