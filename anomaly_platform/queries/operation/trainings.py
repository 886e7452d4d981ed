"""Trainings that were asked for, and how long the last ones took."""

from typing import Any

from psycopg import AsyncConnection

from anomaly_platform.queries.rows import fetch_all
from anomaly_platform.registry.training_requests import TrainingRequest
from anomaly_platform.storage.postgres.transactions import columns_of


async def newest_trainings(
    connection: AsyncConnection[Any], stream: str, *, limit: int
) -> list[TrainingRequest]:
    """Return the trainings that go on, and then those that were asked for last."""
    return await fetch_all(
        connection,
        TrainingRequest,
        f"SELECT {columns_of(TrainingRequest)} FROM training_requests "  # noqa: S608 - constants
        "WHERE stream = %(stream)s ORDER BY status IN ('waiting', 'running') DESC, "
        "created_at DESC, id DESC LIMIT %(limit)s".encode(),
        {"stream": stream, "limit": limit},
    )
