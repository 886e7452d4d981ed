"""What the database knows, as metrics: models, their quality, queues, alerts, storage.

Belongs here: reading these numbers in a few statements, and turning them into Prometheus metrics
when somebody asks. Does not belong here: what the workers count (``serving.telemetry_metrics``).

Numbers per series would be labels without a bound; those are for SQL. Here they are summed up per
stream: mean, least or greatest, and how many miss their target.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from anomaly_platform.storage.postgres.transactions import Pool

#: Seconds for which numbers are shown again: several servers may ask each worker.
_LIFETIME_S: Final = 5.0
_STORAGE_LIFETIME_S: Final = 60.0

ACCURACY_TARGET: Final = 0.9
FALSE_POSITIVE_TARGET: Final = 0.1


@dataclass(frozen=True, slots=True)
class Query:
    """A metric family and the statement whose rows are its samples.

    Attributes
    ----------
    name, description, labels
        Of the family.
    sql : str
        Returns one column per label and the value last; a null value is no sample.
    counts : bool
        Whether it only ever grows.
    """

    name: str
    description: str
    labels: tuple[str, ...]
    sql: str
    counts: bool = False


_QUALITY: Final = """
SELECT stream, model_type, statistic, value FROM (
    SELECT stream, model_type, avg({column}) AS mean, {worst}({column}) AS worst
    FROM ml_models WHERE status = 'active' GROUP BY stream, model_type) AS per_stream
CROSS JOIN LATERAL (VALUES ('mean', mean), ('worst', worst)) AS each (statistic, value)
"""

QUERIES: Final = (
    Query(
        "anomaly_models_trained",
        "Bundles that were trained.",
        ("stream", "detector"),
        "SELECT stream, detector, count(*) FROM bundles WHERE trained_at IS NOT NULL "
        "GROUP BY stream, detector",
        counts=True,
    ),
    Query(
        "anomaly_training_failures",
        "Trainings that ended without a bundle.",
        ("stream", "detector"),
        "SELECT stream, detector, count(*) FILTER (WHERE status = 'failed') FROM bundles "
        "GROUP BY stream, detector",
        counts=True,
    ),
    Query(
        "anomaly_models",
        "Models of single series, by what they are good for.",
        ("stream", "status"),
        "SELECT m.stream, m.status, count(*) FROM ml_models AS m "
        "JOIN champions AS c ON c.stream = m.stream AND c.detector = m.model_type "
        "AND c.version = m.bundle_version GROUP BY m.stream, m.status",
    ),
    Query(
        "anomaly_model_accuracy_ratio",
        "Balanced accuracy of the models in service, 0 to 1: mean and worst of a stream.",
        ("stream", "detector", "statistic"),
        _QUALITY.format(column="accuracy", worst="min"),
    ),
    Query(
        "anomaly_model_false_positive_ratio",
        "False-positive rate of the models in service, 0 to 1: mean and worst of a stream.",
        ("stream", "detector", "statistic"),
        _QUALITY.format(column="false_positive_rate", worst="max"),
    ),
    Query(
        "anomaly_models_off_target",
        "Models in service that miss a target: accuracy of 0.9, false-positive rate of 0.1.",
        ("stream", "target"),
        "SELECT stream, target, count(*) FILTER (WHERE missed) FROM ml_models "  # noqa: S608 - constants
        f"CROSS JOIN LATERAL (VALUES ('accuracy', accuracy < {ACCURACY_TARGET}), "
        f"('false_positive_rate', false_positive_rate > {FALSE_POSITIVE_TARGET})) "
        "AS each (target, missed) WHERE status = 'active' GROUP BY stream, target",
    ),
    Query(
        "anomaly_model_age_seconds",
        "Seconds since the champion was trained.",
        ("stream", "detector"),
        "SELECT c.stream, c.detector, extract(epoch FROM now() - b.trained_at) FROM champions AS c "
        "JOIN bundles AS b USING (stream, detector, version)",
    ),
    Query(
        "anomaly_model_version",
        "Version of the champion.",
        ("stream", "detector"),
        "SELECT stream, detector, version FROM champions",
    ),
    Query(
        "anomaly_scored_rows",
        "Rows in the scored days, and those of them that are flagged.",
        ("stream", "kind"),
        "SELECT stream, kind, sum(value) FROM scored_days CROSS JOIN LATERAL "
        "(VALUES ('all', rows), ('anomalies', anomalies)) AS each (kind, value) "
        "GROUP BY stream, kind",
    ),
    Query(
        "anomaly_alerts_open",
        "Alerts that are open.",
        ("kind", "severity"),
        "SELECT kind, severity, count(*) FROM alerts WHERE state = 'open' GROUP BY kind, severity",
    ),
)

_WAITING: Final = {
    "training_requests": "training_requests WHERE status = 'waiting'",
    "deliveries": "deliveries WHERE status = 'waiting'",
    "online_readings": "online_readings WHERE batch_id IS NULL",
    "registry_mirror": "registry_mirror WHERE status = 'waiting'",
}
_SINCE: Final = {"online_readings": "received_at"}


@dataclass(frozen=True, slots=True)
class Queue:
    """How much waits somewhere.

    Attributes
    ----------
    depth : int
        Entries.
    oldest_s : float
        Seconds that the oldest has waited.
    """

    depth: int
    oldest_s: float


async def read_queues(pool: Pool) -> dict[str, Queue]:
    """Return what waits: trainings, deliveries, readings on their way to the lake, the registry."""
    parts = [
        f"SELECT '{name}', count(*), coalesce(extract(epoch FROM now() - "  # noqa: S608 - constants
        f"min({_SINCE.get(name, 'created_at')})), 0) FROM {source}"
        for name, source in _WAITING.items()
    ]
    async with pool.connection() as connection:
        cursor = await connection.execute(" UNION ALL ".join(parts).encode())
        rows = await cursor.fetchall()
    return {name: Queue(depth, max(0.0, float(oldest))) for name, depth, oldest in rows}


class DatabaseMetrics:
    """Reads the numbers when they are asked for, not more often than every few seconds.

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
        families: list[Metric] = []
        async with self._pool.connection() as connection:
            for query in QUERIES:
                cursor = await connection.execute(query.sql.encode())
                families.append(_family(query, await cursor.fetchall()))
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


def _family(query: Query, rows: Iterable[Sequence[Any]]) -> Metric:
    make = CounterMetricFamily if query.counts else GaugeMetricFamily
    family = make(query.name, query.description, labels=query.labels)
    for row in rows:
        *labels, value = row
        if value is not None:
            family.add_metric([str(label) for label in labels], float(value))
    return family
