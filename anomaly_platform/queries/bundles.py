"""Versions of detectors: rows of the view ``model_metadata``."""

import datetime as dt
import uuid
from dataclasses import dataclass
from typing import Any, Final

from psycopg import AsyncConnection

from anomaly_platform.queries.rows import count, fetch_all

_FILTER: Final = (
    "FROM model_metadata WHERE (%(stream)s::text IS NULL OR metadata ->> 'stream' = %(stream)s)"
)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A version of a detector; names as in ``model_metadata``."""

    id: uuid.UUID
    modelType: str  # noqa: N815 - the clients' name
    modelVersion: str  # noqa: N815
    trainingDate: dt.datetime | None  # noqa: N815
    metrics: dict[str, Any]
    parameters: dict[str, Any]
    status: str
    filePath: str | None  # noqa: N815
    metadata: dict[str, Any]
    createdAt: dt.datetime  # noqa: N815


async def list_bundles(
    connection: AsyncConnection[Any],
    stream: str | None,
    *,
    after: tuple[dt.datetime, uuid.UUID] | None,
    limit: int,
) -> list[Bundle]:
    """Return bundles, the newest first, at most `limit` after a sort key (time and id)."""
    time, identity = after or (None, None)
    return await fetch_all(
        connection,
        Bundle,
        f"SELECT * {_FILTER} AND (%(time)s::timestamptz IS NULL OR "
        '("createdAt", id) < (%(time)s::timestamptz, %(id)s::uuid)) '
        'ORDER BY "createdAt" DESC, id DESC LIMIT %(limit)s',
        {"stream": stream, "time": time, "id": identity, "limit": limit},
    )


async def count_bundles(connection: AsyncConnection[Any], stream: str | None) -> int:
    """Return how many bundles a stream has, or all streams together."""
    return await count(connection, f"SELECT count(*) {_FILTER}", {"stream": stream})


async def training_seconds(
    connection: AsyncConnection[Any], stream: str, detector: str, version: int
) -> float | None:
    """Return how long a version took to train, without waiting, features and gates."""
    cursor = await connection.execute(
        "SELECT (parameters ->> 'training_seconds')::float8 FROM bundles "
        "WHERE stream = %s AND detector = %s AND version = %s",
        (stream, detector, version),
    )
    row = await cursor.fetchone()
    return None if row is None else row[0]
