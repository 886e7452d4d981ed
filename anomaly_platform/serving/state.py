"""The state of one worker of the API: connections, models, caches, listeners."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request

from anomaly_platform.platform import Platform
from anomaly_platform.registry.promotion import CHAMPIONS_CHANNEL
from anomaly_platform.serving.auth.key_ring import KeyRing
from anomaly_platform.serving.auth.rate_limits import RateLimits
from anomaly_platform.serving.cache import Cache
from anomaly_platform.serving.champions.load_alerts import ModelAlerts
from anomaly_platform.serving.champions.models import MODELS_CHANNEL, ModelStore
from anomaly_platform.serving.champions.thresholds import CHANNEL as THRESHOLDS_CHANNEL
from anomaly_platform.serving.champions.thresholds import SeriesThresholds
from anomaly_platform.serving.health.pulse import Pulse
from anomaly_platform.serving.health.report import HealthChecks
from anomaly_platform.serving.metrics.database import DatabaseMetrics
from anomaly_platform.serving.metrics.latency import LatencyCounts
from anomaly_platform.serving.metrics.requests import REDIS_UP, ModelNumbers, worker_ended
from anomaly_platform.serving.predict.look_backs import LookBacks
from anomaly_platform.serving.predict.look_backs_read import read_look_back, revision_of
from anomaly_platform.serving.predict.scan_answers import ScanAnswers
from anomaly_platform.serving.shared_redis import SharedRedis
from anomaly_platform.serving.telemetry.ingest import Ingestion
from anomaly_platform.settings import Settings
from anomaly_platform.storage.postgres.announcements import Announcements
from anomaly_platform.storage.postgres.transactions import Pool
from anomaly_platform.storage.tables.api_keys import API_KEYS_CHANNEL

_MOST_CONNECTIONS = 8
_PATIENCE_S = 10.0
#: Seconds between two times that the model store's counts are added to the metrics.
_COUNT_S = 1.0


class ServingState:
    """Everything that requests share; at ``request.app.state.serving``.

    Parameters
    ----------
    platform : Platform
        Settings, streams, tables and lake.
    pool : Pool
        Connections for requests, in UTC.

    Attributes
    ----------
    models
        What serves.
    look_backs, thresholds
        What single series need to be judged, in memory.
    announcements
        What the database announces.
    keys
        API keys, forgotten within a second of a change.
    redis
        What the workers share, None where none is set.
    rates, cache
        Limits of predictions, and small answers; shared where there is Redis.
    scan_answers
        What was answered about scans, for who asks again.
    database_metrics
        What the database knows, for Prometheus.
    latencies
        How long scoring requests took, for the upkeep.
    ingestion
        The way for readings into the tables.
    health, pulse
        How everything is doing, and whether this worker is late.
    """

    def __init__(self, platform: Platform, pool: Pool) -> None:
        settings = self.settings = platform.settings
        self.platform = platform
        self.pool = pool
        self.models = ModelStore(platform, budget_bytes=settings.model_cache_mb * 2**20)
        self.models.told = ModelAlerts(platform, asyncio.get_running_loop()).tell
        read = partial(read_look_back, platform.series_states)
        self.look_backs = LookBacks(partial(revision_of, pool), read)
        self.thresholds = SeriesThresholds(platform)
        self.keys = KeyRing(pool)
        url = settings.redis_url
        self.redis = None if url is None else SharedRedis(url.get_secret_value())
        self.cache = Cache(self.redis)
        self.scan_answers = ScanAnswers()
        self.rates = RateLimits(
            settings.api_predictions_per_minute, self.redis, settings.home / "rate-limits"
        )
        self.database_metrics = DatabaseMetrics(pool, _models_folder(settings))
        self.latencies = LatencyCounts(platform.warehouse.prediction_latency)
        self.ingestion = Ingestion(platform.online_ingest, self.models)
        self.pulse = Pulse()
        self.health = HealthChecks(platform, pool, self.models, self.redis, self.pulse)
        self.announcements = Announcements(platform.urls.application)
        for channel, listener in (
            (CHAMPIONS_CHANNEL, self.models.announced),
            (MODELS_CHANNEL, self.models.announced),
            (THRESHOLDS_CHANNEL, self.thresholds.announced),
            (API_KEYS_CHANNEL, self.keys.forget),
        ):
            self.announcements.on(channel, listener)
        self._model_numbers = ModelNumbers()

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, platform: Platform) -> AsyncIterator[ServingState]:
        """Connect, load what serves, and listen; close everything at the end."""
        async with Pool(
            platform.urls.application,
            kwargs={"options": "-c timezone=UTC", "application_name": "anomaly_api"},
            min_size=1,
            max_size=_MOST_CONNECTIONS,
            timeout=_PATIENCE_S,
            check=Pool.check_connection,
            open=False,
        ) as pool:
            state = cls(platform, pool)
            if state.redis is not None:
                await state.redis.start()
            await state.models.refresh()
            await state.thresholds.announced(None)
            state.announcements.start()
            state.ingestion.start()
            counting = asyncio.create_task(state._count_for_ever(), name="count-models")
            beating = asyncio.create_task(state.pulse.beat_for_ever(), name="pulse")
            timing = asyncio.create_task(state.latencies.write_for_ever(), name="write-latencies")
            try:
                yield state
            finally:
                counting.cancel()
                beating.cancel()
                timing.cancel()
                await state.latencies.write()
                await state.ingestion.stop()
                await state.announcements.stop()
                await state.keys.close()
                await state.cache.close()
                if state.redis is not None:
                    await state.redis.stop()
                platform.close()
                worker_ended()

    def count_models(self) -> None:
        """Carry what the model store and Redis say over to the metrics."""
        self._model_numbers.update(self.models)
        REDIS_UP.set(self.redis is None or self.redis.answers)

    async def _count_for_ever(self) -> None:
        while True:
            self.count_models()
            await asyncio.sleep(_COUNT_S)


def _models_folder(settings: Settings) -> Path | None:
    """Return where bundles are kept, if that is a folder that can be looked into."""
    lake = settings.lake_url
    return Path(lake) / "models" if "://" not in lake else None


async def serving_state(request: Request) -> ServingState:
    """Return what the application's requests share."""
    state: ServingState = request.app.state.serving
    return state


Serving = Annotated[ServingState, Depends(serving_state)]
"""As a parameter of a route: the worker's state."""
