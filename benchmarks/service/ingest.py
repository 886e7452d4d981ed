"""Rows a second of telemetry ingest, against bare COPY of the same batches.

Both commit every batch of 100 readings with fsync before they go on. Bare COPY writes to a table
without any index, in text already encoded; ingest goes through HTTP, checks, features, scores and
two tables with their indexes. Several clients send at once, since a service has several, and bare
COPY is measured with as many connections; as the service writes over one connection in each worker,
whatever has queued up going together, it is measured with so many as well. How much of the
difference is PostgreSQL's, COPY of the same batches into a table like ours tells, with its columns
and its indexes. What of it is that of any server, the least one tells (`least`): the same requests,
parsed and inserted into a table without any index.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import uuid4

import numpy as np
import psycopg
from service.home import Home
from service.wire import Connection, request

ROWS = 100
#: Requests of each client before anything is timed: devices become known, code is compiled.
WARM = 40
Row = tuple[str, str, str, float]


@dataclass(frozen=True)
class IngestFigures:
    """Rows a second of so many clients, of bare COPY by as many connections, and of peers.

    Attributes
    ----------
    indexed
        COPY into a table like ours.
    least
        The least server, with the same requests.
    """

    clients: int
    ingest: float
    bare: float
    indexed: float
    least: float
    p50_ms: float
    p99_ms: float

    @property
    def share(self) -> float:
        """Ingest over bare COPY."""
        return self.ingest / self.bare

    @property
    def most(self) -> float:
        """The least server over bare COPY."""
        return self.least / self.bare


def batches(client: str, count: int) -> list[list[Row]]:
    """Return batches of readings, one of each of the client's devices, in order of time."""
    rng = np.random.default_rng(len(client))
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(days=20)
    return [
        [
            (
                f"{client}-d{d}",
                "temperature",
                (start + timedelta(minutes=5 * n)).isoformat(),
                round(float(value), 3),
            )
            for d, value in enumerate(rng.normal(50, 1, ROWS))
        ]
        for n in range(count)
    ]


def at_once(work: Sequence[Callable[[], None]]) -> float:
    """Start all at the same time, each in a thread of its own; return the seconds until the end."""
    ready = threading.Barrier(len(work) + 1)

    def run(one: Callable[[], None]) -> None:
        ready.wait()
        one()

    with ThreadPoolExecutor(len(work)) as pool:
        running = [pool.submit(run, one) for one in work]
        ready.wait()
        began = time.perf_counter()
        for one in running:
            one.result()
        return time.perf_counter() - began


_BARE = (
    "(device_id text NOT NULL, metric_name text NOT NULL, "
    "event_time timestamptz NOT NULL, value double precision NOT NULL)"
)
_LIKE_OURS = "(LIKE online_readings INCLUDING ALL)"
_COLUMNS = (
    "entity, metric, event_time, value, stream, event_id, source, score, p_value, is_anomaly, "
    "threshold, status, id_given"
)
_VERDICT = "api\t0.5\t0.5\tf\t0.9\ttrained\tf"


def copied(url: str, connections: int, count: int, *, like_ours: bool = False) -> float:
    """Return rows a second of COPY, committed per batch, into a bare table or one like ours."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS copied")
        connection.execute(f"CREATE TABLE copied {_LIKE_OURS if like_ours else _BARE}")
    statement = f"COPY copied {f'({_COLUMNS})' if like_ours else ''} FROM STDIN"
    opened = [psycopg.connect(url, options="-c synchronous_commit=on") for _ in range(connections)]

    def write(connection: psycopg.Connection, mine: Sequence[bytes]) -> None:
        for batch in mine:
            with connection.cursor() as cursor, cursor.copy(statement) as copy:
                copy.write(batch)
            connection.commit()

    work = []
    for number, connection in enumerate(opened):
        texts = [
            "".join(
                f"{d}\t{m}\t{t}\t{v}" + (f"\tiiot\t{uuid4()}\t{_VERDICT}\n" if like_ours else "\n")
                for d, m, t, v in batch
            ).encode()
            for batch in batches(f"bare{number}", count)
        ]
        work.append(partial(write, connection, texts))
    spent = at_once(work)
    for connection in opened:
        connection.close()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP TABLE copied")
    return connections * count * ROWS / spent


def ingest(base_url: str, key: str, clients: int, count: int) -> tuple[float, tuple[float, float]]:
    """Return rows a second of the running service, and milliseconds of a request: p50, p99."""
    names = ("device_id", "metric_name", "timestamp", "value")
    took: list[float] = []
    tag = f"{time.time():.0f}"
    opened = [Connection(base_url) for _ in range(clients)]

    def asked(batch: list[Row]) -> bytes:
        readings = [dict(zip(names, row, strict=True)) for row in batch]
        return request("/api/v1/telemetry", key, json.dumps(readings).encode())

    prepared = [
        [asked(batch) for batch in batches(f"c{clients}-{number}-{tag}", count + WARM)]
        for number in range(clients)
    ]

    def send(connection: Connection, mine: Sequence[bytes], into: list[float]) -> None:
        into.extend([connection.ask(whole) for whole in mine])

    pairs = list(zip(opened, prepared, strict=True))
    at_once([partial(send, one, mine[:WARM], []) for one, mine in pairs])
    spent = at_once([partial(send, one, mine[WARM:], took) for one, mine in pairs])
    for one in opened:
        one.close()
    p50, p99 = np.percentile(took, [50, 99]) * 1e3
    return clients * count * ROWS / spent, (float(p50), float(p99))


def measure(
    base_url: str, least: str, home: Home, clients: int, requests: int, rounds: int
) -> IngestFigures:
    """Measure all in turns on the same machine and server; the middle round by its share counts.

    Parameters
    ----------
    base_url, least
        Of the service and of the least one.
    clients
        That send at once, and connections of bare COPY.
    requests
        Of all clients together, in each round.
    """
    count = max(1, requests // clients)
    found = []
    for _ in range(rounds):
        bare = copied(home.database_url, clients, count)
        indexed = copied(home.database_url, clients, count, like_ours=True)
        with psycopg.connect(home.database_url, autocommit=True) as connection:
            connection.execute("DROP TABLE IF EXISTS least")
            connection.execute(f"CREATE TABLE least {_BARE}")
        at_most, _ = ingest(least, home.key, clients, count)
        rate, latencies = ingest(base_url, home.key, clients, count)
        found.append(IngestFigures(clients, rate, bare, indexed, at_most, *latencies))
    return sorted(found, key=lambda one: one.share)[rounds // 2]
