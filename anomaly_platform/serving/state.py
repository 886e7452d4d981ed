"""What lives as long as a worker of the API: connections, models, announcements."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from anomaly_platform.resources.bundles import CHAMPIONS_CHANNEL
from anomaly_platform.resources.platform import Platform
from anomaly_platform.serving.announcements import Announcements
from anomaly_platform.serving.models import ModelStore
from anomaly_platform.settings import Settings

Pool = AsyncConnectionPool[AsyncConnection[tuple[Any, ...]]]

_MOST_CONNECTIONS = 8
_PATIENCE_S = 10.0


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
    announcements
        What the database announces; ask for channels before it starts.
    """

    settings: Settings
    platform: Platform
    pool: Pool
    models: ModelStore
    announcements: Announcements

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, platform: Platform) -> AsyncIterator[ServingState]:
        """Connect, load what serves, and listen; close everything at the end."""
        settings = platform.settings
        url = platform.urls.application
        models = ModelStore(platform, budget_bytes=settings.model_cache_mb * 2**20)
        announcements = Announcements(url)
        announcements.on(CHAMPIONS_CHANNEL, models.announced)
        async with AsyncConnectionPool(
            url,
            kwargs={"options": "-c timezone=UTC", "application_name": "anomaly_api"},
            min_size=1,
            max_size=_MOST_CONNECTIONS,
            timeout=_PATIENCE_S,
            check=AsyncConnectionPool.check_connection,
            open=False,
        ) as pool:
            await models.refresh()
            announcements.start()
            try:
                yield cls(settings, platform, pool, models, announcements)
            finally:
                await announcements.stop()
                platform.close()


async def serving_state(request: Request) -> ServingState:
    """Return what the application's requests share."""
    state: ServingState = request.app.state.serving
    return state


Serving = Annotated[ServingState, Depends(serving_state)]
"""As a parameter of a route: the worker's state."""
