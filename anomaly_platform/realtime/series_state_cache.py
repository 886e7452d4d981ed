"""States of series in memory: a place each, in arrays that a whole request is judged from.

Belongs here: which series has which place, what is known of its row, and who makes room. What is
held is believed only as far as its row says so: readings are added under the revision that is
known, or under the row's lock (``append_path``). Does not belong here: reading and writing rows
(``storage.tables.online``), nor where a series' past comes from (``series_state``).
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from anomaly_platform.ingest.identity import digest_of_series
from anomaly_platform.ml.arrays import Bools, Floats, Ints
from anomaly_platform.storage.postgres.binary_format import text_cell
from anomaly_platform.storage.tables.online import Key

if TYPE_CHECKING:
    from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
    from anomaly_platform.ml.features.metrics.series_state import SeriesState
    from anomaly_platform.realtime.call_states import CallsFound

TAIL_ROWS: Final = 32
"""Readings after which a new snapshot of a state is written, of some series up to twice as many."""

UNREAD: Final = -1
"""Revision of a state whose row is known and has not been read."""

UNTOLD: Final = -1
"""Instead of a version, where nobody knows at which level a series calls."""

#: Lists of series of which the places are remembered, and how long they are at most.
_MOST_REMEMBERED: Final = 32
_LONGEST: Final = 2_000

_PER_SERIES: Final = (
    *("ids", "revisions", "tail_rows", "own", "_used", "digests"),
    *("calls", "_first_calls", "versions", "begins"),
)


@dataclass(frozen=True, slots=True)
class CachedState:
    """A series' state as a row has it at one revision.

    Attributes
    ----------
    id, revision
        Of the row.
    tail_rows
        Readings since the row's snapshot.
    state
        The past.
    threshold
        The series' own when the row was last locked, None where the stream's found.
    """

    id: int
    revision: int
    tail_rows: int
    state: SeriesState
    threshold: float | None = None


class CachedSeries:
    """The series of one stream that are in memory, the least recently used out first.

    Parameters
    ----------
    feature_set : MetricFeatureSet
        What is computed of them.
    most : int
        Series that are found.

    Attributes
    ----------
    ids, revisions, tail_rows, own
        (places,) what `CachedState` says of the series in each place; `own` is NaN where a series
        has no threshold of its own.
    calls, versions, begins
        (places, …) states of calls (`ml.scoring.calls`), the version that made them, and whether it
        has left none yet, so that each transaction begins with the first.
    digests
        (places, 2) what the ids of a series' readings are made of.
    entities, metrics
        (places,) names as a text array has them.
    """

    def __init__(self, feature_set: MetricFeatureSet, most: int) -> None:
        from anomaly_platform.ml.features.metrics.series_buffers import SeriesBuffers
        from anomaly_platform.ml.scoring.calls import CALL_SIZE

        self._feature_set = feature_set
        self._buffers = SeriesBuffers(feature_set)
        self._most = most
        room = self._buffers.room
        self.ids: Ints
        self.revisions: Ints
        self.tail_rows: Ints
        self.ids, self.revisions, self.tail_rows, self._used = np.zeros((4, room), dtype=np.int64)
        self.own: Floats = np.full(room, np.nan)
        self.digests: npt.NDArray[np.uint64] = np.zeros((room, 2), dtype=np.uint64)
        self.calls: Floats
        self._first_calls: Floats
        self.calls, self._first_calls = np.zeros((2, room, CALL_SIZE))
        self.begins: Bools = np.zeros(room, dtype=np.bool_)
        self.versions: Ints = np.full(room, UNTOLD, dtype=np.int64)
        self.keys: list[Key | None] = [None] * room
        self.entities: list[bytes] = [b""] * room
        self.metrics: list[bytes] = [b""] * room
        self._judge: Callable[[], object] = lambda: None
        self._free = list(range(room))
        self._places: dict[Key, int] = {}
        #: By its first series and how many there are: the series of readings, and their places.
        self._found: dict[tuple[Key, int], tuple[Sequence[Key], Ints, bool]] = {}
        self._clock = 0

    def places(self, keys: Iterable[Key]) -> list[int]:
        """Return the place of each series that has been read, −1 of the others."""
        found = self._places.get
        return [found(key, -1) for key in keys]

    def find(self, keys: Sequence[Key]) -> tuple[Ints, bool]:
        """Return the place of each reading's series, −1 of those that have not been read.

        And whether a series has several of the readings. Senders send readings of the same series
        again and again: that is remembered. The array is not to be changed.
        """
        request = keys[0], len(keys)
        same, places, several = self._found.get(request, ((), np.empty(0, dtype=np.int64), False))
        # The names are the same objects, so that this compares no text.
        if same == keys:
            return places, several
        found = self.places(keys)
        several = len(set(found)) < len(found)
        places = np.array(found, dtype=np.int64)
        if len(self._found) >= _MOST_REMEMBERED:
            self._found.clear()
        if len(keys) <= _LONGEST:
            self._found[request] = keys, places, several
        return places, several

    def put(self, key: Key, found: CachedState) -> None:
        """Hold a state that has been committed."""
        place = self._places.get(key)
        if place is None:
            self._found.clear()
            place = self._places[key] = self._free_place()
            self.keys[place] = key
            self.entities[place], self.metrics[place] = text_cell(key[0]), text_cell(key[1])
            self.digests[place] = digest_of_series(key)
        self.refresh(place, found)

    def refresh(self, place: int, found: CachedState) -> None:
        """Hold what has been committed of a series that is held."""
        self._clock += 1
        self._used[place] = self._clock
        self.ids[place], self.revisions[place] = found.id, found.revision
        self.tail_rows[place] = found.tail_rows
        self.own[place] = np.nan if found.threshold is None else found.threshold
        self._buffers.put(place, found.state)
        self.versions[place] = UNTOLD

    def judged_by(self, judge: object) -> None:
        """Forget states of calls where another judge has made them, also one of the same version.

        A version whose models were deleted in part judges anew.
        """
        if self._judge() is not judge:
            # A version that no longer serves is not held for the sake of telling it from others.
            self._judge = weakref.ref(judge)
            self.versions[:] = UNTOLD

    def begin_calls(self, found: CallsFound, version: int | None) -> None:
        """Hold the states of calls that a version is at; unsettled ones serve once."""
        for key, state in found.states.items():
            place = self._places[key]
            self.calls[place] = self._first_calls[place] = state
            self.versions[place] = UNTOLD if key in found.unsettled else version or 0
            self.begins[place] = found.begins

    def begin_calls_anew(self, places: Ints) -> None:
        """Begin with the first states of calls where a version has left none yet."""
        anew = places[self.begins[places]]
        self.calls[anew] = self._first_calls[anew]

    def drop(self, keys: Iterable[Key]) -> None:
        """Forget what may not be true."""
        self._found.clear()
        for key in keys:
            place = self._places.pop(key, None)
            if place is not None:
                self.keys[place] = None
                self._free.append(place)

    def newest(self, places: Ints) -> Ints:
        """Return the newest reading's time of each series, the least number where it has none."""
        return self._buffers.newest(places)

    def append(self, places: Ints, times: Ints, values: Floats) -> Floats:
        """Add readings to states, and return their rows; see `SeriesBuffers.take`.

        Whoever does not commit them drops the series.
        """
        self._clock += 1
        self._used[places] = self._clock
        return self._buffers.take(places, times, values)

    def insert(self, place: int, time: int, value: float) -> Floats:
        """Add a late reading to a state, and return its row; see `step_with_runs`.

        Whoever does not commit it drops the series.
        """
        from anomaly_platform.ml.features.metrics.series_buffers import step_with_runs

        row, after = step_with_runs(self._feature_set, self._buffers.state(place), time, value)
        self._buffers.put(place, after)
        return row

    def state(self, place: int) -> SeriesState:
        """Return a state as its row has it."""
        return self._buffers.state(place)

    def committed(self, places: Ints, tail_rows: Ints) -> None:
        """Take note that readings of these series were committed."""
        self.revisions[places] += 1
        self.tail_rows[places] = tail_rows

    def _free_place(self) -> int:
        if not self._free:
            if self._buffers.room < self._most:
                self._grow()
            else:
                oldest = int(self._used.argmin())
                key = self.keys[oldest]
                if key is not None:
                    self.drop([key])
        return self._free.pop()

    def _grow(self) -> None:
        from anomaly_platform.ml.features.metrics.series_buffers import doubled

        before = self._buffers.room
        self._buffers.grow()
        added = self._buffers.room - before
        for name in _PER_SERIES:
            array: npt.NDArray[np.generic] = getattr(self, name)
            setattr(self, name, doubled(array))
        self.keys += [None] * added
        self.entities += [b""] * added
        self.metrics += [b""] * added
        self._free += range(before, before + added)
