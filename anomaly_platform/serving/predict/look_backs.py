"""The look-backs of series in memory, for predicting without asking the database every time.

Belongs here: holding them, and noticing within a second that a series has new readings, whichever
worker took them. Announcing every reading (NOTIFY) would make commits of readings wait for each
other; so an entry is believed for a second, and one cheap question before its end settles whether
it still holds. Predicting reads look-backs and never changes them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from cachetools import LRUCache

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from anomaly_platform.ml.arrays import Floats
    from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
    from anomaly_platform.ml.features.metrics.series_buffers import SeriesBuffers
    from anomaly_platform.ml.features.metrics.series_state import SeriesState
    from anomaly_platform.serving.champions.served import ServedMetrics

FRESH_S: Final = 1.0
"""Seconds for which an entry is used without asking whether there is anything newer."""

#: Age from which that is asked in the background, so that predictions in quick succession never
#: wait for the answer.
_ASKED_S: Final = 0.75

_MOST_HELD: Final = 4_096

Key = tuple[str, str, str, str]
"""Stream, entity, metric and versions of the features and in service."""
Revision = tuple[Any, ...]


@dataclass(slots=True)
class LookBack:
    """What a next reading of a series is compared with.

    Attributes
    ----------
    state
        The series' newest readings.
    calls
        At which level the version in service calls on it (`ml.scoring.calls`); None where nobody
        knows the series.
    revision
        What the tables said when it was read; None where nobody knows the series.
    checked_at
        When that was last known to hold, by the monotonic clock.
    first_event, last_event
        Microseconds since 1970 of the oldest and the newest reading, None where there is none.
    """

    state: SeriesState
    calls: Floats | None
    revision: Revision | None
    checked_at: float
    first_event: int | None = field(init=False)
    last_event: int | None = field(init=False)
    _buffers: SeriesBuffers | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        times = self.state.times
        self.first_event = int(times[0]) if times.size else None
        self.last_event = int(times[-1]) if times.size else None

    def copy(self) -> LookBack:
        """Return the same look-back for another thread."""
        return LookBack(self.state, self.calls, self.revision, self.checked_at)

    def features(
        self, feature_set: MetricFeatureSet, when: int, value: float
    ) -> npt.NDArray[np.float64]:
        """Return features and run columns of a reading, as ``step_with_runs`` gives them.

        Not for two threads at the same time (`SeriesBuffers`).
        """
        last = self.last_event
        if last is not None and when <= last:
            from anomaly_platform.ml.features.metrics.series_buffers import step_with_runs

            return step_with_runs(feature_set, self.state, when, value)[0][:, None]
        if self._buffers is None:
            from anomaly_platform.ml.features.metrics.series_buffers import SeriesBuffers

            self._buffers = SeriesBuffers(feature_set, 1)
            self._buffers.put(0, self.state)
        return self._buffers.next_row(0, when, value)


Revise = Callable[["ServedMetrics", str, str], Awaitable[Revision | None]]
"""From version, entity and metric to what the tables say of the series' newest readings."""
Read = Callable[["ServedMetrics", str, str], tuple["SeriesState", "Floats"]]
"""Reads a series' look-back and its state of calls, in a thread."""


class LookBacks:
    """Look-backs by series, least recently used out first (some ten kilobytes each).

    Parameters
    ----------
    revise, read
        Where look-backs come from.
    most_held
        Entries at most.
    """

    def __init__(self, revise: Revise, read: Read, *, most_held: int = _MOST_HELD) -> None:
        self._revise = revise
        self._read = read
        self._held: LRUCache[Key, LookBack] = LRUCache(most_held)
        self._reading: dict[Key, asyncio.Task[LookBack]] = {}

    def __len__(self) -> int:
        return len(self._held)

    def fresh(self, served: ServedMetrics, entity: str, metric: str) -> LookBack | None:
        """Return an entry that needs no question, None where :meth:`get` has to be awaited."""
        key = _key(served, entity, metric)
        found = self._held.get(key)
        if found is None:
            return None
        age = time.monotonic() - found.checked_at
        if age > FRESH_S:
            return None
        if age > _ASKED_S:
            self._ask(key, served)
        return found

    async def get(self, served: ServedMetrics, entity: str, metric: str) -> LookBack:
        """Return a series' look-back; its `revision` is None where nobody knows the series."""
        return await asyncio.shield(self._ask(_key(served, entity, metric), served))

    def forget(self, served: ServedMetrics, series: Collection[tuple[str, str]]) -> None:
        """Ask anew when these are next wanted: this worker has just stored readings of them."""
        stream, _, _, versions = _key(served, "", "")
        if len(self._held) + len(self._reading) < len(series):
            names = set(series)
            series = {key[1:3] for key in (*self._held, *self._reading)} & names
        for entity, metric in series:
            key = stream, entity, metric, versions
            # Who asks now must not be told what was asked before.
            self._reading.pop(key, None)
            held = self._held.get(key)
            if held is not None:
                held.checked_at = float("-inf")

    def _ask(self, key: Key, served: ServedMetrics) -> asyncio.Task[LookBack]:
        """Return the task that asks for a look-back: many who ask at once wait for one answer."""
        task = self._reading.get(key)
        if task is None:
            task = self._reading[key] = asyncio.create_task(self._renewed(key, served))
            task.add_done_callback(partial(self._asked, key))
        return task

    def _asked(self, key: Key, done: asyncio.Task[LookBack]) -> None:
        if self._reading.get(key) is done:
            del self._reading[key]
        if not done.cancelled():
            # Marks the error as seen: where nobody waited for the answer, the next one asks again.
            done.exception()

    async def _renewed(self, key: Key, served: ServedMetrics) -> LookBack:
        from anomaly_platform.ml.features.metrics.series_state import SeriesState

        asked_at = time.monotonic()
        _, entity, metric, _ = key
        revision = await self._revise(served, entity, metric)
        held = self._held.get(key)
        if held is not None and held.revision == revision:
            if self._is_asking(key):
                held.checked_at = asked_at
            return held
        if revision is None:
            # Names that nobody knows are not remembered: there is no end of them.
            return LookBack(SeriesState.empty(served.feature_set), None, None, asked_at)
        state, calls = await asyncio.to_thread(self._read, served, entity, metric)
        found = LookBack(state, calls, revision, asked_at)
        if self._is_asking(key):
            self._held[key] = found
        return found

    def _is_asking(self, key: Key) -> bool:
        """Return whether no readings were stored since the task that runs began to ask."""
        return self._reading.get(key) is asyncio.current_task()


def _key(served: ServedMetrics, entity: str, metric: str) -> Key:
    return served.stream.name, entity, metric, f"{served.feature_set.version}/{served.version}"
