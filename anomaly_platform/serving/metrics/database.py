"""Prometheus metrics of what the database knows: models, their quality, queues, alerts, storage.

Does not belong here: the statements (``queries.figures``), nor what the workers count
(``metrics.requests``).
"""

import asyncio
import contextlib
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from anomaly_platform.queries.figures import Figure, read_figures
from anomaly_platform.queries.queues import read_queues
from anomaly_platform.storage.postgres.transactions import Pool

#: Seconds for which numbers are shown again: several servers may ask each worker.
_LIFETIME_S: Final = 5.0
_STORAGE_LIFETIME_S: Final = 60.0


class DatabaseMetrics:
    """Reads the metrics when they are asked for, at most once in five seconds.

    Parameters
    ----------
    pool : AsyncConnectionPool
        Of the platform's database.
    models_folder : Path or None
        Where bundles are kept, if that is a folder of this machine.
    """

    def __init__(self, pool: Pool, models_folder: Path | None) -> None:
        self._pool = pool
        self._models_folder = models_folder
        self._read_at = self._sized_at = float("-inf")
        self._families: list[Metric] = []
        self._sizes: dict[str, int] = {}
        self._reading = asyncio.Lock()

    async def families(self) -> list[Metric]:
        """Return the metrics.

        Raises
        ------
        psycopg.OperationalError, psycopg_pool.PoolTimeout
            When the database does not answer.
        """
        async with self._reading:
            if time.monotonic() - self._read_at >= _LIFETIME_S:
                self._families = await self._read()
                self._read_at = time.monotonic()
        return self._families

    async def _read(self) -> list[Metric]:
        async with self._pool.connection() as connection:
            families = [_family(*figure) for figure in await read_figures(connection)]
        queues = await read_queues(self._pool)
        depth = GaugeMetricFamily("anomaly_queue_depth", "What waits.", labels=("queue",))
        oldest = GaugeMetricFamily(
            "anomaly_queue_oldest_seconds", "How long the oldest has waited.", labels=("queue",)
        )
        for name, queue in queues.items():
            depth.add_metric((name,), queue.depth)
            oldest.add_metric((name,), queue.oldest_s)
        return [*families, depth, oldest, await self._storage()]

    async def _storage(self) -> Metric:
        if time.monotonic() - self._sized_at >= _STORAGE_LIFETIME_S:
            self._sizes = await asyncio.to_thread(folder_sizes, self._models_folder)
            self._sized_at = time.monotonic()
        family = GaugeMetricFamily(
            "anomaly_model_storage_bytes", "Bytes of the stored bundles.", labels=("stream",)
        )
        for stream, size in self._sizes.items():
            family.add_metric((stream,), size)
        return family


def folder_sizes(folder: Path | None) -> dict[str, int]:
    """Return the bytes below each folder in a folder; what vanishes meanwhile counts as nothing."""
    if folder is None or not folder.is_dir():
        return {}
    return {below.name: sum(_sizes(below)) for below in sorted(folder.iterdir()) if below.is_dir()}


def _sizes(folder: Path) -> Iterator[int]:
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            if path.is_file():
                yield path.stat().st_size


def _family(figure: Figure, rows: Iterable[Sequence[Any]]) -> Metric:
    make = CounterMetricFamily if figure.counts else GaugeMetricFamily
    family = make(figure.name, figure.description, labels=figure.labels)
    for row in rows:
        *labels, value = row
        if value is not None:
            family.add_metric([str(label) for label in labels], float(value))
    return family
