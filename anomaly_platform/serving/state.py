"""What lives as long as a worker of the API: connections, models, announcements."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request
from psycopg_pool import AsyncConnectionPool

from anomaly_platform.platform import Platform
from anomaly_platform.registry.bundles import CHAMPIONS_CHANNEL
from anomaly_platform.serving.auth.key_ring import KeyRing
from anomaly_platform.serving.auth.rate_limits import RateLimits
from anomaly_platform.serving.cache import Cache
from anomaly_platform.serving.champions.load_alerts import ModelAlerts
from anomaly_platform.serving.champions.models import MODELS_CHANNEL, ModelStore
from anomaly_platform.serving.champions.thresholds import CHANNEL as THRESHOLDS_CHANNEL
from anomaly_platform.serving.champions.thresholds import SeriesThresholds
from anomaly_platform.serving.health.report import HealthChecks
from anomaly_platform.serving.metrics.database import DatabaseMetrics
from anomaly_platform.serving.metrics.requests import REDIS_UP, ModelNumbers, worker_ended
from anomaly_platform.serving.predict.look_backs import LookBacks
from anomaly_platform.serving.predict.look_backs_read import read_look_back, revision_of
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


@dataclass(slots=True)
class ServingState:
    """Everything that requests share; at ``request.app.state.serving``.

    Attributes
    ----------
    settings, platform
        As the application was made with.
    pool
        Connections for requests, in UTC.
    models
        What serves.
    look_backs, thresholds
        What single series need to be judged, in memory.
    announcements
        What the database announces; ask for channels before it starts.
    keys
        API keys, forgotten within a second of a change.
    redis
        What the workers share, None where none is set.
    rates, cache
        Limits of predictions, and small answers; shared where there is Redis.
    database_metrics
        What the database knows, for Prometheus.
    ingestion
        The way for readings into the tables.
    health
        How everything is doing.
    """

    settings: Settings
    platform: Platform
    pool: Pool
    models: ModelStore
    announcements: Announcements
    look_backs: LookBacks
    thresholds: SeriesThresholds
    keys: KeyRing
    redis: SharedRedis | None
    rates: RateLimits
    cache: Cache
    database_metrics: DatabaseMetrics
    ingestion: Ingestion
    health: HealthChecks
    _model_numbers: ModelNumbers = field(default_factory=ModelNumbers)

    def count_models(self) -> None:
        """Carry what the model store and Redis say over to the metrics."""
        self._model_numbers.update(self.models)
        REDIS_UP.set(self.redis is None or self.redis.answers)

    async def _count_for_ever(self) -> None:
        while True:
            self.count_models()
            await asyncio.sleep(_COUNT_S)

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, platform: Platform) -> AsyncIterator[ServingState]:
        """Connect, load what serves, and listen; close everything at the end."""
        settings = platform.settings
        url = platform.urls.application
        models = ModelStore(platform, budget_bytes=settings.model_cache_mb * 2**20)
        announcements = Announcements(url)
        models.on_change(ModelAlerts(platform, asyncio.get_running_loop()).tell)
        thresholds = SeriesThresholds(platform)
        announcements.on(CHAMPIONS_CHANNEL, models.announced)
        announcements.on(MODELS_CHANNEL, models.announced)
        announcements.on(THRESHOLDS_CHANNEL, thresholds.announced)
        async with AsyncConnectionPool(
            url,
            kwargs={"options": "-c timezone=UTC", "application_name": "anomaly_api"},
            min_size=1,
            max_size=_MOST_CONNECTIONS,
            timeout=_PATIENCE_S,
            check=AsyncConnectionPool.check_connection,
            open=False,
        ) as pool:
            keys = KeyRing(pool)
            announcements.on(API_KEYS_CHANNEL, keys.forget)
            redis = None
            if settings.redis_url is not None:
                redis = SharedRedis(settings.redis_url.get_secret_value())
                await redis.start()
            cache = Cache(redis)
            rates = RateLimits(settings.api_predictions_per_minute, redis)
            look_backs = LookBacks(partial(revision_of, pool), partial(read_look_back, platform))
            await models.refresh()
            await thresholds.announced(None)
            announcements.start()
            state = cls(
                settings=settings,
                platform=platform,
                pool=pool,
                models=models,
                announcements=announcements,
                keys=keys,
                redis=redis,
                rates=rates,
                cache=cache,
                database_metrics=DatabaseMetrics(pool, _models_folder(settings)),
                ingestion=Ingestion(platform, models),
                health=HealthChecks(platform, pool, models, redis),
                look_backs=look_backs,
                thresholds=thresholds,
            )
            state.ingestion.start()
            counting = asyncio.create_task(state._count_for_ever(), name="count-models")
            try:
                yield state
            finally:
                counting.cancel()
                await state.ingestion.stop()
                await announcements.stop()
                await keys.close()
                await cache.close()
                if redis is not None:
                    await redis.stop()
                platform.close()
                worker_ended()


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
