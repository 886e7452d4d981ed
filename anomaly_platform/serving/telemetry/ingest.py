"""Taking readings in for a whole process: what arrives while a commit is under way goes together.

Belongs here: the queue between requests and the thread that writes, and which version judges. The
transaction itself is ``realtime.ingest``'s business. HTTP, MQTT and the EMS all come this
way, so that a reading means the same whichever way it came.

A transaction costs about the same for one reading as for a hundred. So there is one writer, and
whatever has queued up while it was busy becomes its next transaction: a lone request waits for
nobody, and the busier the process, the larger its transactions.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from anomaly_platform.ingest.online.reading_columns import ReadingColumns
from anomaly_platform.platform import Platform
from anomaly_platform.realtime.answers import Answer, StoredColumns
from anomaly_platform.realtime.append_path import Judge
from anomaly_platform.realtime.ingest import OnlineIngest
from anomaly_platform.registry.promotion import CHAMPIONS_CHANNEL
from anomaly_platform.serving.champions.models import ModelStore
from anomaly_platform.serving.problems import ApiProblem
from anomaly_platform.storage.postgres.announcements import Announcements
from anomaly_platform.storage.tables.online import Source
from anomaly_platform.streams import MetricStream

if TYPE_CHECKING:
    from anomaly_platform.ingest.online.readings import Reading
    from anomaly_platform.serving.champions.served import ServedMetrics

MOST_TOGETHER: Final = 2_000
"""Readings from which on no further request joins a transaction."""

MOST_WAITING: Final = 100_000
"""Readings that may wait; beyond, senders are asked to come back."""

_log = logging.getLogger(__name__)

Said = StoredColumns | list[Answer]


@dataclass(slots=True)
class _Waiting:
    stream: MetricStream
    readings: ReadingColumns
    source: Source
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[Said]


class Ingestion:
    """One process's way for readings into the tables.

    Parameters
    ----------
    ingest : OnlineIngest
        Where to.
    models : ModelStore
        What judges; read anew with every transaction.
    """

    def __init__(self, ingest: OnlineIngest, models: ModelStore) -> None:
        self._ingest = ingest
        self._models = models
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._rows_waiting = 0
        self._judges: dict[str, tuple[ServedMetrics, Judge]] = {}
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the writer."""
        self._thread = threading.Thread(target=self._work, name="ingest", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Write what is waiting, then end the writer."""
        if self._thread is not None:
            self._queue.put(None)
            await asyncio.to_thread(self._thread.join)
            self._thread = None

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
        said = await self.ingest_columns(stream, ReadingColumns.of(readings), source=source)
        return said.answers() if isinstance(said, StoredColumns) else said

    async def ingest_columns(
        self, stream: MetricStream, readings: ReadingColumns, *, source: Source
    ) -> StoredColumns | list[Answer]:
        """Do what :meth:`ingest` does, for at least one reading, by column."""
        if self._rows_waiting + len(readings) > MOST_WAITING:
            raise ApiProblem(
                503,
                "readings arrive faster than they can be written; try again",
                headers={"Retry-After": "1"},
            )
        loop = asyncio.get_running_loop()
        waiting = _Waiting(stream, readings, source, loop, loop.create_future())
        self._rows_waiting += len(readings)
        self._queue.put(waiting)
        try:
            return await waiting.done
        finally:
            self._rows_waiting -= len(readings)

    def _work(self) -> None:
        held: _Waiting | None = None
        while True:
            first = held or self._queue.get()
            held = None
            if first is None:
                self._ingest.close()
                return
            together, rows = [first], len(first.readings)
            while rows < MOST_TOGETHER:
                try:
                    other = self._queue.get_nowait()
                except queue.Empty:
                    break
                if other is None:
                    self._queue.put(None)
                    break
                if other.stream is not first.stream or other.source != first.source:
                    held = other
                    break
                together.append(other)
                rows += len(other.readings)
            self._write(together)

    def _write(self, together: list[_Waiting]) -> None:
        first = together[0]
        try:
            answers = self._ingest.ingest(
                first.stream,
                ReadingColumns.joined([one.readings for one in together]),
                self._judge(first.stream),
                source=first.source,
            )
        except Exception as error:
            if len(together) > 1:
                # One's fault must not become the others'.
                for one in together:
                    self._write([one])
                return
            _log.warning("readings were not stored: %s", type(error).__name__)
            _settle(together, error)
            return
        _settle(together, answers)

    def _judge(self, stream: MetricStream) -> Judge:
        served = self._models.metrics(stream.name)
        known = self._judges.get(stream.name)
        if known is None or known[0] is not served:
            known = (served, judge_of(served))
            self._judges[stream.name] = known
        return known[1]


def judge_of(served: ServedMetrics) -> Judge:
    """Return what judges a stream's readings while this version serves.

    Models of other features than the stream's have nothing to say of its readings.
    """
    stream = served.stream
    if served.feature_set.version == stream.features.version:
        return Judge(served.version, served.ingesting, served.threshold)
    from anomaly_platform.ml.scoring.batch import FleetScorer
    from anomaly_platform.ml.scoring.online import OnlineScorer

    _log.warning(
        "%s %s was trained on other features: the fallback judges", stream.name, served.version
    )
    threshold = served.threshold
    models = FleetScorer.without_models(stream.features, alpha=served.alpha, threshold=threshold)
    return Judge(None, OnlineScorer(models), threshold)


def _settle(together: list[_Waiting], outcome: Said | Exception) -> None:
    """Wake everybody who waits for a transaction, each loop once."""

    def wake(mine: list[tuple[_Waiting, Said | Exception]]) -> None:
        for one, said in mine:
            if one.done.done():
                continue
            if isinstance(said, Exception):
                one.done.set_exception(said)
            else:
                one.done.set_result(said)

    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[_Waiting, Said | Exception]]] = {}
    at = 0
    for one in together:
        said, end = outcome, at + len(one.readings)
        if isinstance(outcome, StoredColumns):
            said = outcome.part(at, end)
        elif isinstance(outcome, list):
            said = outcome[at:end]
        at = end
        by_loop.setdefault(one.loop, []).append((one, said))
    for loop, mine in by_loop.items():
        # A loop that has ended has nobody left who waits.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(wake, mine)


@contextlib.asynccontextmanager
async def open_ingestion(platform: Platform) -> AsyncIterator[Ingestion]:
    """Open a way for readings in a process that is not the API: with champions of its own."""
    models = ModelStore(platform, budget_bytes=platform.settings.model_cache_mb * 2**20)
    announcements = Announcements(platform.urls.application)
    announcements.on(CHAMPIONS_CHANNEL, models.announced)
    await models.refresh()
    announcements.start()
    ingestion = Ingestion(platform.online_ingest(), models)
    ingestion.start()
    try:
        yield ingestion
    finally:
        await ingestion.stop()
        await announcements.stop()
