"""The least that takes readings in over HTTP: parse the body, one INSERT, one commit.

A peer of the serving benchmark. The framework and the server are ours; key, limits, checks,
features, scores, indexes and a verdict on each reading are left out. Its database is that of the
environment variable `LEAST_DATABASE_URL`, its table the benchmark's.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from psycopg_pool import AsyncConnectionPool
from pydantic_core import from_json

#: As many as clients that send at once.
CONNECTIONS = 4
INSERT = (
    "INSERT INTO least SELECT * FROM unnest("
    "%b::text[], %b::text[], %t::timestamptz[], %b::double precision[])"
)


@asynccontextmanager
async def connected(app: FastAPI) -> AsyncIterator[None]:
    """Hold connections open while the application runs."""
    url = os.environ["LEAST_DATABASE_URL"]
    settings = {"autocommit": True, "prepare_threshold": 0}
    async with AsyncConnectionPool(
        url, min_size=CONNECTIONS, max_size=CONNECTIONS, kwargs=settings
    ) as pool:
        app.state.pool = pool
        yield


app = FastAPI(lifespan=connected)


@app.post("/api/v1/telemetry")
async def take(request: Request) -> Response:
    """Store readings."""
    readings = from_json(await request.body())
    columns = [
        [one[name] for one in readings]
        for name in ("device_id", "metric_name", "timestamp", "value")
    ]
    async with request.app.state.pool.connection() as connection:
        await connection.execute(INSERT, columns)
    return Response(b'{"accepted":%d}' % len(readings), media_type="application/json")
