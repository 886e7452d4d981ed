"""One writer of readings: a queue between requests and a thread that has a connection of its own.

Belongs here: what goes together into a transaction, which version judges it, and who is woken
afterwards. The transaction itself is ``realtime.ingest``'s business; which writer a reading goes to
is decided in ``ingest``.

A transaction costs about the same for one reading as for a hundred. So whatever has queued up while
the writer was busy becomes its next transaction: a lone request waits for nobody, and the busier
the process, the larger its transactions. What is said of readings is put into words while
PostgreSQL works.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final, TypeVar

from anomaly_platform.ingest.online.reading_columns import ReadingColumns
from anomaly_platform.realtime.answers import Answer, StoredColumns
from anomaly_platform.realtime.append_path import Judge
from anomaly_platform.realtime.ingest import OnlineIngest
from anomaly_platform.serving.champions.models import ModelStore
from anomaly_platform.storage.tables.online import Source
from anomaly_platform.streams import MetricStream

if TYPE_CHECKING:
    from anomaly_platform.serving.champions.served import ServedMetrics

MOST_TOGETHER: Final = 2_000
"""Readings from which on no further request joins a transaction."""

_log = logging.getLogger(__name__)

Reply = TypeVar("Reply")
Tell = Callable[[StoredColumns], Reply]
"""Makes of readings that all were stored what is to be said of them, in a writer's thread."""


@dataclass(slots=True)
class Waiting:
    """Readings that somebody waits for, and what is to be made of them."""

    stream: MetricStream
    readings: ReadingColumns
    source: Source
    tell: Tell[Any]
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[Any]


class Lane:
    """A writer, of series that no other writer of the process has.

    Parameters
    ----------
    number : int
        Which one it is.
    ingest : OnlineIngest
        Where to.
    models : ModelStore
        What judges; read anew with every transaction.
    """

    def __init__(self, number: int, ingest: OnlineIngest, models: ModelStore) -> None:
        self._number = number
        self._ingest = ingest
        self._models = models
        self._queue: queue.SimpleQueue[Waiting | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(
            target=self._work, name=f"ingest-{self._number}", daemon=True
        )
        self._thread.start()

    async def stop(self) -> None:
        """Write what is waiting, then end the thread."""
        if self._thread is not None:
            self._queue.put(None)
            await asyncio.to_thread(self._thread.join)
            self._thread = None

    def put(
        self, stream: MetricStream, readings: ReadingColumns, source: Source, tell: Tell[Reply]
    ) -> asyncio.Future[Reply | list[Answer]]:
        """Have readings written; return what is done once they are committed."""
        loop = asyncio.get_running_loop()
        waiting = Waiting(stream, readings, source, tell, loop, loop.create_future())
        self._queue.put(waiting)
        return waiting.done

    def _work(self) -> None:
        together, held = self._next(None)
        while together:
            self._write(together)
            # An error that somebody was told of would hold what judged until the next readings.
            together.clear()
            together, held = self._next(held)
        self._ingest.close()

    def _next(self, first: Waiting | None) -> tuple[list[Waiting], Waiting | None]:
        """Return what is written next, nothing at the end, and what came behind it."""
        first = first or self._queue.get()
        if first is None:
            return [], None
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
                return together, other
            together.append(other)
            rows += len(other.readings)
        return together, None

    def _write(self, together: list[Waiting]) -> None:
        first, replies = together[0], list[Any]()

        def note(stored: StoredColumns) -> None:
            nonlocal replies
            replies = _replies(together, stored)

        try:
            answers = self._ingest.ingest(
                first.stream,
                ReadingColumns.joined([one.readings for one in together]),
                self._judge(first.stream),
                source=first.source,
                meanwhile=note,
            )
        except Exception as error:
            if len(together) > 1:
                # One's fault must not become the others'.
                for one in together:
                    self._write([one])
                return
            _log.warning("readings were not stored: %s", type(error).__name__)
            _settle(together, [error] * len(together))
            return
        if isinstance(answers, list):
            replies = [answers[some] for some in _parts(together)]
        _settle(together, replies)

    def _judge(self, stream: MetricStream) -> Judge:
        served = self._models.metrics(stream.name)
        # Kept by the version: a writer without readings would hold one that no longer serves.
        return served.of_lane(self._number, lambda: judge_of(served, self._number))


def judge_of(served: ServedMetrics, lane: int = 0) -> Judge:
    """Return what judges a stream's readings in a lane while this version serves.

    Models of other features than the stream's have nothing to say of its readings.
    """
    stream = served.stream
    if served.feature_set.version == stream.features.version:
        return Judge(served.version, served.ingesting(lane), served.threshold)
    from anomaly_platform.ml.scoring.batch import FleetScorer
    from anomaly_platform.ml.scoring.online import OnlineScorer

    _log.warning(
        "%s %s was trained on other features: the fallback judges", stream.name, served.version
    )
    threshold = served.threshold
    models = FleetScorer.without_models(stream.features, alpha=served.alpha, threshold=threshold)
    return Judge(None, OnlineScorer(models), threshold)


def _parts(together: list[Waiting]) -> list[slice]:
    """Return which readings of all are each one's."""
    ends = list(accumulate(len(one.readings) for one in together))
    return list(map(slice, [0, *ends], ends))


def _replies(together: list[Waiting], stored: StoredColumns) -> list[Any]:
    """Return what is to be said to each, or why that could not be made."""
    replies: list[Any] = []
    for one, some in zip(together, _parts(together), strict=True):
        try:
            replies.append(one.tell(stored.part(some.start, some.stop)))
        except Exception as error:
            # The readings are stored all the same, and the others are to hear of theirs.
            _log.exception("readings were stored, but not answered")
            replies.append(error)
    return replies


def _settle(together: list[Waiting], replies: list[Any]) -> None:
    """Wake everybody who waits for a transaction, each loop once."""

    def wake(mine: list[tuple[Waiting, Any]]) -> None:
        for one, said in mine:
            if one.done.done():
                continue
            if isinstance(said, Exception):
                one.done.set_exception(said)
            else:
                one.done.set_result(said)

    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Waiting, Any]]] = {}
    for one, said in zip(together, replies, strict=True):
        by_loop.setdefault(one.loop, []).append((one, said))
    for loop, mine in by_loop.items():
        # A loop that has ended has nobody left who waits.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(wake, mine)
