"""Which readings of a transaction are new, under the locks of their series.

What is known by its event id, or by series and time, is a repeat or a contradiction; what is older
than its series and unknown is late. Masks tell the many that are newer from the few that have to be
looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from uuid import UUID

import numpy as np

from anomaly_platform.ml.arrays import Ints
from anomaly_platform.realtime.answers import OTHER_READING, OTHER_VALUE, Answer
from anomaly_platform.realtime.series_state_cache import CachedSeries
from anomaly_platform.storage.postgres.transactions import Connection
from anomaly_platform.storage.tables import online
from anomaly_platform.storage.tables.online import StoredReading

if TYPE_CHECKING:
    from anomaly_platform.ingest.online.reading_columns import ReadingColumns
    from anomaly_platform.ml.features.metrics.series_state import SeriesState


class Duplicates:
    """Repeats, contradictions and late ones among readings.

    Parameters
    ----------
    stream : str
        Whose readings.
    readings : ReadingColumns
    places : ndarray
        (n,) where each reading's series is held.
    cached : CachedSeries
        The series, as their locked rows have them.

    Attributes
    ----------
    late
        (n,) whether each is new and not newer than its series.
    """

    def __init__(
        self, stream: str, readings: ReadingColumns, places: Ints, cached: CachedSeries
    ) -> None:
        self._stream = stream
        self._readings = readings
        self._places = places
        self._cached = cached
        self._known: dict[int, Answer] = {}
        #: A reading that repeats or contradicts an earlier one of this transaction, and why.
        self._leaders: dict[int, tuple[int, str]] = {}
        self.late = np.zeros(len(readings), dtype=np.bool_)

    def find(self, connection: Connection) -> Ints:
        """Return the new readings, in the order of their times.

        Parameters
        ----------
        connection
            In a transaction that has locked the series.
        """
        self._find_ids(connection)
        rows = self._open()
        readings, places = self._readings, self._places
        rows = rows[np.lexsort((readings.times[rows], places[rows]))]
        times, own = readings.times[rows], places[rows]
        first = np.ones(rows.size, dtype=np.bool_)
        first[1:] = (times[1:] != times[:-1]) | (own[1:] != own[:-1])
        leaders = rows[np.maximum.accumulate(np.where(first, np.arange(rows.size), 0))]
        old = times <= self._cached.newest(own)
        for row, leader in zip(rows[~old & ~first], leaders[~old & ~first], strict=True):
            self._follow(int(row), int(leader))
        if old.any():
            self._find_old(connection, rows[old], leaders[old])
        new = self._open()
        # In one order, so that two that store the same ids wait for each other.
        return new[np.argsort(readings.times[new], kind="stable")]

    def answers(self, stored: Mapping[int, StoredReading]) -> list[Answer]:
        """Return one answer per reading, given those that were stored."""
        return [self._answer(row, stored) for row in range(len(self._readings))]

    def _answer(self, row: int, stored: Mapping[int, StoredReading]) -> Answer:
        if row in self._known:
            return self._known[row]
        if row not in self._leaders:
            return Answer("stored", stored[row])
        leader, reason = self._leaders[row]
        said = self._answer(leader, stored)
        return _answer(said.reading, reason or said.reason)

    def _open(self) -> Ints:
        """Return the readings of which nothing has been found."""
        return np.delete(np.arange(len(self._readings)), [*self._known, *self._leaders])

    def _find_ids(self, connection: Connection) -> None:
        """Find readings whose event id is known, or given twice."""
        readings = self._readings
        if readings.event_ids is None:
            return
        given = {one for one in readings.event_ids if one is not None}
        known = online.by_given_id(connection, self._stream, list(given))
        first: dict[UUID, int] = {}
        for row, event_id in enumerate(readings.event_ids):
            if event_id is None:
                continue
            has_time = readings.has_time is None or readings.has_time[row]
            said = (*readings.keys[row], *self._content(row))
            time = readings.times[row]
            if event_id in known:
                stored = known[event_id]
                same = said == (stored.entity, stored.metric, stored.value, stored.metadata)
                same &= time == stored.event_time or not has_time
                self._known[row] = _answer(stored, "" if same else OTHER_READING)
            elif event_id in first:
                leader = first[event_id]
                same = said == (*readings.keys[leader], *self._content(leader))
                same &= time == readings.times[leader] or not has_time
                self._leaders[row] = leader, "" if same else OTHER_READING
            else:
                first[event_id] = row

    def _find_old(self, connection: Connection, rows: Ints, leaders: Ints) -> None:
        """Decide about readings that are not newer than what is known of their series."""
        readings = self._readings
        names = [(*readings.keys[row], readings.times.item(row)) for row in rows.tolist()]
        known = online.by_natural_key(connection, self._stream, names)
        states: dict[int, SeriesState] = {}
        for row, leader, name in zip(rows.tolist(), leaders.tolist(), names, strict=True):
            stored = known.get(name)
            if stored is not None:
                same = (stored.value, stored.metadata) == self._content(row)
                self._known[row] = _answer(stored, "" if same else OTHER_VALUE)
                continue
            place = self._places.item(row)
            if place not in states:
                states[place] = self._cached.state(place)
            value = states[place].value_at(name[2])
            if value is not None:
                same = value == readings.values.item(row)
                self._known[row] = _answer(None, "" if same else OTHER_VALUE)
            elif row == leader:
                self.late[row] = True
            else:
                self._follow(row, leader)

    def _follow(self, row: int, leader: int) -> None:
        same = self._content(row) == self._content(leader)
        self._leaders[row] = leader, "" if same else OTHER_VALUE

    def _content(self, row: int) -> tuple[float, str | None]:
        metadata = self._readings.metadata
        return self._readings.values.item(row), None if metadata is None else metadata[row]


def _answer(reading: StoredReading | None, reason: str) -> Answer:
    return Answer("conflict" if reason else "repeated", reading, reason)
