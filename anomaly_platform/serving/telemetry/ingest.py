"""Taking readings in for a whole process: each goes to the writer that has its series.

Belongs here: which writer that is, and putting together what the writers say of one request. HTTP,
MQTT and the EMS all come this way, so that a reading means the same whichever way it came.

Most of what a reading costs is the work of PostgreSQL, whose connections work beside each other. A
writer holds the look-backs of its series in memory, so that a series always goes to the same one;
and an entity does, since alerts are about entities. Which one that is, the request decides that an
entity first comes with. New ones of a large request are shared out. A transaction costs about the
same for a few readings as for many: new ones of a small request go to the writer of most of its
known ones, of none to the first writer, as long as that writer's memory has room for their series
and it has less than thousands. Beyond, they go to the writer with the fewest series, or stay in
company while that writer has not most of all series.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import numpy as np

from anomaly_platform.ingest.online.reading_columns import ReadingColumns
from anomaly_platform.platform import Platform
from anomaly_platform.realtime.answers import Answer, StoredColumns
from anomaly_platform.realtime.ingest import OnlineIngest
from anomaly_platform.registry.promotion import CHAMPIONS_CHANNEL
from anomaly_platform.serving.champions.models import ModelStore
from anomaly_platform.serving.champions.served import LANES
from anomaly_platform.serving.problems import ApiProblem
from anomaly_platform.serving.telemetry.lane import Lane, Reply, Tell
from anomaly_platform.storage.postgres.announcements import Announcements
from anomaly_platform.storage.tables.online import Key, Source
from anomaly_platform.streams import MetricStream

if TYPE_CHECKING:
    from anomaly_platform.ingest.online.readings import Reading
    from anomaly_platform.ml.arrays import Ints

MOST_WAITING: Final = 100_000
"""Readings that may wait; beyond, senders are asked to come back."""

WORTH_SHARING: Final = 400
"""Readings of one request from which on several writers share them."""

ONE_WRITERS: Final = 4_000
"""Series of small requests that one writer has at most before another one gets any."""

MOST_OF_ALL: Final = 0.6
"""Part of all series up to which a writer with many of them is given more for company's sake."""

#: Series of which the writer is remembered; forgotten, they may get another one.
_MOST_SERIES: Final = 200_000

#: Requests of which it is remembered who shares them, and readings of each: senders send the same
#: series again and again.
_MOST_REMEMBERED: Final = 32
_MOST_READINGS: Final = 2_000


Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Telling(Generic[Row, Reply]):
    """Makes of readings that all were stored what is to be said of them.

    Attributes
    ----------
    rows
        What is said of each; in a writer's thread, while PostgreSQL works.
    joined
        All of it, of what is said of each, and of how many are anomalies.
    """

    rows: Tell[list[Row]]
    joined: Callable[[list[Row], int], Reply]

    def whole(self, stored: StoredColumns) -> Reply:
        """Return all that is said of readings that one writer had."""
        return self.joined(self.rows(stored), _anomalies(stored))


_ANSWERS: Final = Telling(StoredColumns.answers, lambda answers, _: answers)


@dataclass(frozen=True, slots=True)
class _Share:
    """What one of several writers stored of a request, and what is said of each reading."""

    stored: StoredColumns
    rows: list[Any]


class Ingestion:
    """One process's way for readings into the tables.

    Parameters
    ----------
    ingest : callable
        Returns a new way into the tables, for one writer.
    models : ModelStore
        What judges; read anew with every transaction.
    """

    def __init__(self, ingest: Callable[[], OnlineIngest], models: ModelStore) -> None:
        self._lanes = [Lane(number, ingest(), models) for number in range(min(LANES, _cores()))]
        self._rows_waiting = 0
        self._models = models
        self._known: set[Key] = set()
        self._lane_of: dict[str, int] = {}
        #: Series that each writer has.
        self._series = [0] * len(self._lanes)
        #: By its first series and how many there are: the series of a request, and who has which.
        self._shared: dict[tuple[Key, int], tuple[Sequence[Key], list[tuple[Lane, Ints]]]] = {}

    def start(self) -> None:
        """Start the writers."""
        for lane in self._lanes:
            lane.start()

    async def stop(self) -> None:
        """Write what is waiting, then end the writers."""
        await asyncio.gather(*(lane.stop() for lane in self._lanes))

    async def ingest(
        self, stream: MetricStream, readings: Sequence[Reading], *, source: Source
    ) -> list[Answer]:
        """Store, score and tell of readings; return once they are committed.

        Parameters
        ----------
        stream : MetricStream
            Whose readings.
        readings : sequence of Reading
            Checked ones.
        source : {'api', 'mqtt', 'ems'}

        Returns
        -------
        list of Answer
            One per reading, in their order.

        Raises
        ------
        ApiProblem
            503, when more readings wait than can be written soon.
        psycopg.OperationalError
            When the database does not answer. To send the readings again is harmless.
        """
        if not readings:
            return []
        return await self.ingest_columns(
            stream, ReadingColumns.of(readings), source=source, telling=_ANSWERS
        )

    async def ingest_columns(
        self,
        stream: MetricStream,
        readings: ReadingColumns,
        *,
        source: Source,
        telling: Telling[Row, Reply],
    ) -> Reply | list[Answer]:
        """Do what :meth:`ingest` does, for at least one reading, by column.

        Where every reading was stored, return what `telling` makes of them.
        """
        if self._rows_waiting + len(readings) > MOST_WAITING:
            raise ApiProblem(
                503,
                "readings arrive faster than they can be written; try again",
                headers={"Retry-After": "1"},
            )
        self._rows_waiting += len(readings)
        try:
            return await self._written(stream, readings, source, telling)
        finally:
            self._rows_waiting -= len(readings)

    async def _written(
        self,
        stream: MetricStream,
        readings: ReadingColumns,
        source: Source,
        telling: Telling[Row, Reply],
    ) -> Reply | list[Answer]:
        """Return what the writers say of readings, in their order."""
        shares = self._shares(stream, readings)
        if len(shares) == 1:
            ((lane, _),) = shares
            return await lane.put(stream, readings, source, telling.whole)

        def told(stored: StoredColumns) -> _Share:
            return _Share(stored, telling.rows(stored))

        waiting = [lane.put(stream, readings.take(rows), source, told) for lane, rows in shares]
        # Whatever one says, the others are waited for: what was stored is then known to be.
        said = await asyncio.gather(*waiting, return_exceptions=True)
        parts: list[_Share | list[Answer]] = []
        for one in said:
            if isinstance(one, BaseException):
                raise one
            parts.append(one)
        back = np.concatenate([rows for _, rows in shares]).argsort().tolist()
        stored = [one for one in parts if isinstance(one, _Share)]
        if len(stored) < len(parts):
            answers = [
                answer
                for one in parts
                for answer in (one.stored.answers() if isinstance(one, _Share) else one)
            ]
            return [answers[place] for place in back]
        rows = [row for one in stored for row in one.rows]
        anomalies = sum(_anomalies(one.stored) for one in stored)
        return telling.joined([rows[place] for place in back], anomalies)

    def _shares(self, stream: MetricStream, readings: ReadingColumns) -> list[tuple[Lane, Ints]]:
        """Return which readings each writer gets, of those that get any."""
        lanes, ids = len(self._lanes), readings.event_ids
        if ids is not None and len(set(ids) - {None}) < len(ids) - ids.count(None):
            # Of two readings under one id the first one counts, whosesoever they are.
            lanes = 1
        if lanes == 1:
            return [(self._lanes[0], np.arange(len(readings)))]
        keys = readings.keys
        request = keys[0], len(keys)
        same, shares = self._shared.get(request, ((), []))
        # The names are the same objects, so that this compares no text.
        if same == keys:
            return shares
        of_rows = np.array(self._lanes_of(stream, keys))
        rows = [np.flatnonzero(of_rows == number) for number in range(lanes)]
        shares = [(lane, some) for lane, some in zip(self._lanes, rows, strict=True) if some.size]
        if len(self._shared) >= _MOST_REMEMBERED:
            self._shared.clear()
        if len(keys) <= _MOST_READINGS:
            self._shared[request] = keys, shares
        return shares

    def _lanes_of(self, stream: MetricStream, keys: Sequence[Key]) -> list[int]:
        """Return the writer of each reading's series."""
        if len(self._known) > _MOST_SERIES:
            self._known.clear()
            self._lane_of.clear()
            self._shared.clear()
            self._series = [0] * len(self._lanes)
        if not self._known.issuperset(keys):
            self._assign(stream, keys)
        return [self._lane_of[entity] for entity, _ in keys]

    def _assign(self, stream: MetricStream, keys: Sequence[Key]) -> None:
        """Give new entities of a request a writer each, and count its new series."""
        lane_of, lanes = self._lane_of, len(self._lanes)
        added = Counter(key[0] for key in dict.fromkeys(keys) if key not in self._known)
        new = [entity for entity in added if entity not in lane_of]
        company = Counter(lane_of[entity] for entity, _ in keys if entity in lane_of)
        for entity in added.keys() & lane_of.keys():
            self._series[lane_of[entity]] += added[entity]
        shares = lanes if len(keys) >= WORTH_SHARING else 1
        for share in range(shares):
            some = new[share * len(new) // shares : (share + 1) * len(new) // shares]
            size = sum(added[entity] for entity in some)
            lane = min(range(lanes), key=self._series.__getitem__)
            if shares == 1:
                lane = self._in_company(stream, company, size, lane)
            lane_of.update(dict.fromkeys(some, lane))
            self._series[lane] += size
        self._known.update(keys)

    def _in_company(
        self, stream: MetricStream, company: Counter[int], size: int, fewest: int
    ) -> int:
        """Return the writer of so many new series of a small request."""
        served = self._models.metrics(stream.name)
        room = ONE_WRITERS if served.bundle is None else min(ONE_WRITERS, served.lane_models)
        if not company:
            return 0 if self._series[0] + size <= room else fewest
        ((closest, _),) = company.most_common(1)
        held = self._series[closest]
        is_close = held + size <= room or held <= MOST_OF_ALL * sum(self._series)
        return closest if is_close else fewest


def _anomalies(stored: StoredColumns) -> int:
    return int((stored.decisions == 1).sum())


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.asynccontextmanager
async def open_ingestion(platform: Platform) -> AsyncIterator[Ingestion]:
    """Open a way for readings in a process that is not the API: with champions of its own."""
    models = ModelStore(platform, budget_bytes=platform.settings.model_cache_mb * 2**20)
    announcements = Announcements(platform.urls.application)
    announcements.on(CHAMPIONS_CHANNEL, models.announced)
    await models.refresh()
    announcements.start()
    ingestion = Ingestion(platform.online_ingest, models)
    ingestion.start()
    try:
        yield ingestion
    finally:
        await ingestion.stop()
        await announcements.stop()
