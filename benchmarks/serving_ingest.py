"""Rows a second of telemetry ingest, against bare COPY of the same batches.

Both commit every batch of 100 readings with fsync before they go on. Bare COPY writes to a table
without any index from one connection, in text already encoded; ingest goes through HTTP, checks,
features, scores and four tables. Several clients send at once, since a service has several; bare
COPY is measured with as many connections as well.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import httpx
import numpy as np
import psycopg

ROWS = 100
Row = tuple[str, str, str, float]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class IngestFigures:
    """Rows a second, and the service's share of bare COPY by as many connections."""

    clients: int
    ingest: float
    bare: float
    median_ms: float

    @property
    def share(self) -> float:
        """Ingest over bare COPY."""
        return self.ingest / self.bare


def batches(
    client: int, count: int, *, devices: int = 100
) -> list[list[tuple[str, str, str, float]]]:
    """Return batches of readings, one of each of the client's devices, in order of time."""
    rng = np.random.default_rng(client)
    start = datetime.now(UTC) - timedelta(days=20)
    return [
        [
            (
                f"c{client}-d{d}",
                "temperature",
                (start + timedelta(minutes=5 * n)).isoformat(),
                round(float(value), 3),
            )
            for d, value in enumerate(rng.normal(50, 1, devices))
        ]
        for n in range(count)
    ]


def bare_copy(url: str, clients: int, count: int) -> float:
    """Return rows a second of COPY into a table without indexes, committed per batch."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS bare_readings")
        connection.execute(
            "CREATE TABLE bare_readings (device_id text NOT NULL, metric_name text NOT NULL, "
            "event_time timestamptz NOT NULL, value double precision NOT NULL)"
        )
    prepared = [
        [
            "".join(f"{d}\t{m}\t{t}\t{v}\n" for d, m, t, v in batch).encode()
            for batch in batches(client, count)
        ]
        for client in range(clients)
    ]
    ready = threading.Barrier(clients + 1)

    def write(mine: Sequence[bytes]) -> None:
        with psycopg.connect(url, options="-c synchronous_commit=on") as connection:
            ready.wait()
            for batch in mine:
                with (
                    connection.cursor() as cursor,
                    cursor.copy("COPY bare_readings FROM STDIN") as copy,
                ):
                    copy.write(batch)
                connection.commit()

    threads = [threading.Thread(target=write, args=(mine,)) for mine in prepared]
    for thread in threads:
        thread.start()
    ready.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    spent = time.perf_counter() - began
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP TABLE bare_readings")
    return clients * count * ROWS / spent


async def ingest(base_url: str, key: str, clients: int, count: int) -> tuple[float, float]:
    """Return rows a second of the running service, and the median milliseconds of a request."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    names = ("device_id", "metric_name", "timestamp", "value")
    prepared = [
        [
            json.dumps([dict(zip(names, row, strict=True)) for row in batch]).encode()
            for batch in batches(client, count + 20)
        ]
        for client in range(clients)
    ]
    took: list[float] = []

    async def send(client: httpx.AsyncClient, mine: Sequence[bytes], *, timed: bool) -> None:
        for body in mine:
            began = time.perf_counter()
            answer = await client.post("/api/v1/telemetry", content=body)
            answer.raise_for_status()
            if timed:
                took.append(time.perf_counter() - began)

    async with httpx.AsyncClient(base_url=base_url, headers=headers, timeout=60) as client:
        # Devices become known and code is compiled before anything is timed.
        await asyncio.gather(*(send(client, mine[:20], timed=False) for mine in prepared))
        began = time.perf_counter()
        await asyncio.gather(*(send(client, mine[20:], timed=True) for mine in prepared))
        spent = time.perf_counter() - began
    return clients * count * ROWS / spent, 1e3 * float(np.median(took))


def measure(
    base_url: str, key: str, database_url: str, *, clients: int, count: int
) -> IngestFigures:
    """Measure both, one after the other, on the same machine and server."""
    bare = bare_copy(database_url, clients, count)
    rate, median = asyncio.run(ingest(base_url, key, clients, count))
    return IngestFigures(clients, rate, bare, median)
