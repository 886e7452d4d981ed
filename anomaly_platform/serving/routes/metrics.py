"""``/metrics``: every number for Prometheus, of all workers and of the database."""

import asyncio
import logging
from collections.abc import Iterable

import psycopg
from fastapi import APIRouter
from fastapi.responses import PlainTextResponse
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from psycopg_pool import PoolTimeout

from anomaly_platform.serving.auth.security import Reader
from anomaly_platform.serving.http.openapi import problems
from anomaly_platform.serving.metrics.requests import COUNTED_S, worker_registry
from anomaly_platform.serving.state import Serving

router = APIRouter(tags=["operation"])

_log = logging.getLogger(__name__)


class _Given(Collector):
    """Metrics that were read already."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


@router.get(
    "/metrics",
    response_class=PlainTextResponse,
    responses={200: {"content": {"text/plain": {}}, "description": "Metrics"}, **problems(403)},
)
async def metrics(serving: Serving, _caller: Reader) -> PlainTextResponse:
    """Return the metrics in Prometheus' text format."""
    up = GaugeMetricFamily("anomaly_database_up", "Whether the database answers.")
    families: list[Metric] = [up]
    try:
        families += await serving.database_metrics.families()
        up.add_metric((), 1)
    except (psycopg.OperationalError, PoolTimeout, OSError) as error:
        # The workers' own numbers are worth the more when the database is gone.
        _log.warning("no numbers from the database: %s", type(error).__name__)
        up.add_metric((), 0)
    database = CollectorRegistry()
    database.register(_Given(families))
    serving.count_models()
    # What was answered before this was asked is counted, unless a worker is late with it.
    await asyncio.sleep(COUNTED_S)

    def text() -> bytes:
        return generate_latest(worker_registry()) + generate_latest(database)

    return PlainTextResponse(await asyncio.to_thread(text), media_type=CONTENT_TYPE_PLAIN_0_0_4)
