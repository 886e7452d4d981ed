"""One transaction's readings on their way: which are new, what they are, and what is written.

Belongs here: deciding about repeats and contradictions, features and verdicts of the others, and
the rows that follow from them. Does not belong here: the order of things in a transaction
(``online_ingest``), nor the statements (``online``).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal
from uuid import UUID

import numpy as np

from anomaly_platform.platform import Platform
from anomaly_platform.realtime.alerts import tell
from anomaly_platform.realtime.series_state_cache import TAIL_ROWS, HeldState
from anomaly_platform.storage.postgres.transactions import Connection
from anomaly_platform.storage.tables import online
from anomaly_platform.storage.tables.online import Key, Source, StoredReading
from anomaly_platform.streams import MetricStream

if TYPE_CHECKING:
    from anomaly_platform.ingest.online.readings import Reading
    from anomaly_platform.ml.features.metrics.series_state import SeriesState
    from anomaly_platform.ml.scoring.online import Floats, OnlineScorer
    from anomaly_platform.realtime.stored_columns import StoredColumns

Outcome = Literal["stored", "repeated", "conflict"]

OTHER_VALUE: Final = (
    "a reading of this device, metric and time is known with another value; the first one counts"
)
OTHER_READING: Final = "this event id belongs to another reading; every reading has its own"


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


def answers_of(stored: StoredColumns) -> list[Answer]:
    """Return the answers that columns are."""
    return [Answer("stored", stored.at(place)) for place in range(len(stored.readings))]


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


class Work:
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
        self.now = now
        self._answers: dict[int, Answer] = {}
        #: A reading that says the same as, or contradicts, an earlier one of this transaction.
        self._followers: dict[int, tuple[int, str]] = {}
        self._new: dict[Key, list[int]] = {}
        self._late: set[int] = set()
        self._stored: dict[int, StoredReading] = {}

    def believe(self, key: Key, held: HeldState) -> None:
        """Take a series' state as what is known of it."""
        self.before[key] = held
        if held.threshold is not None:
            self.thresholds[key] = held.threshold

    def answers(self) -> list[Answer]:
        """Return one answer per reading."""
        for place, (leader, reason) in self._followers.items():
            said = self._answers[leader]
            why = reason or said.reason
            self._answers[place] = Answer("conflict" if why else "repeated", said.reading, why)
        return [self._answers[place] for place in range(len(self._readings))]

    def decide(self, connection: Connection) -> None:
        """Find repeats and contradictions; what is left is new."""
        old = self._newer(self._without_known_ids(connection))
        if old:
            self._decide_old(connection, old)

    def _newer(self, candidates: Iterable[int]) -> list[tuple[Key, int]]:
        """Sort out readings that are newer than their series; return the others."""
        by_series: dict[Key, list[int]] = {}
        for place in candidates:
            one = self._readings[place]
            by_series.setdefault((one.entity, one.metric), []).append(place)
        old: list[tuple[Key, int]] = []
        for key, places in by_series.items():
            if len(places) > 1:
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
        return old

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
        from anomaly_platform.ml.features.metrics.series_buffers import SeriesBuffers, step

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
            buffers = SeriesBuffers(feature_set, len(parts))
            for place, (_, state, _) in enumerate(parts):
                buffers.put(place, state)
            time = np.array([self._readings[place].time for place in order], dtype=np.int64)
            value = np.array([self._readings[place].value for place in order])
            counts = [number for _, _, number in parts]
            columns.append(buffers.append(np.repeat(np.arange(len(parts)), counts), time, value))
            for place, (key, _, _) in enumerate(parts):
                self._keep(key, buffers.state(place))
        if not columns:
            return [], np.empty((0, 0))
        return late + order, columns[0] if len(columns) == 1 else np.concatenate(columns, axis=1)

    def _keep(self, key: Key, state: SeriesState) -> None:
        """Note the state of a series after its new readings."""
        held = self.before[key]
        places = self._new[key]
        rows = held.tail_rows + len(places)
        # Late ones may belong before the snapshot's end.
        whole = rows > TAIL_ROWS or not self._late.isdisjoint(places)
        self.after[key] = HeldState(
            held.id, held.revision + 1, 0 if whole else rows, state, held.threshold
        )

    def write(self, connection: Connection, platform: Platform) -> None:
        """Write states that are locked, and readings, detections and alerts."""
        if self._stored:
            self._change_states(connection)
            # In one order, so that two that store the same ids wait for each other.
            stored = sorted(self._stored.values(), key=lambda one: one.event_time)
            online.insert_readings(connection, self.stream.name, self._source, stored)
            flagged = [one for one in stored if one.is_anomaly]
            tell(connection, platform, self.stream, flagged, self.now)

    def _change_states(self, connection: Connection) -> None:
        """Write into the rows of the series how far they have come."""
        by_id = sorted(self._new, key=lambda key: self.before[key].id)
        whole = [key for key in by_id if not self.after[key].tail_rows]
        online.move_heads(connection, *self._ends(by_id))
        if whole:
            states = [self.after[key].state.to_bytes() for key in whole]
            online.write_snapshots(connection, *self._ends(whole), states)

    def _ends(self, keys: Sequence[Key]) -> tuple[list[int], list[int]]:
        """Return the rows of series, and the times of their newest readings."""
        return (
            [self.before[key].id for key in keys],
            [int(self.after[key].state.times[-1]) for key in keys],
        )


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
