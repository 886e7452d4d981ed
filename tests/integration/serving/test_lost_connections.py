"""A connection that is lost at any statement of a request is a database that does not answer."""

from __future__ import annotations

import asyncio
import contextvars
import os
import socket
import threading
from typing import Any

import psycopg
import pytest
from starlette.testclient import TestClient

from anomaly_platform.storage.postgres.transactions import Pool

pytestmark = pytest.mark.integration

REQUESTS: tuple[tuple[str, str, Any], ...] = (
    ("GET", "/api/v1/ml/models", None),
    ("GET", "/api/v1/ml/anomalies", None),
    ("GET", "/api/v1/feedback", None),
    (
        "POST",
        "/api/v1/telemetry",
        {
            "device_id": "press-1",
            "metric_name": "flow",
            "value": 1.0,
            "timestamp": "2026-01-01T00:00:00Z",
        },
    ),
)


#: Set in what a request starts; tasks of the service's own, which any cut may wake, lack it.
ASKED = contextvars.ContextVar("ASKED", default=False)


class Cuts:
    """Cuts the connection of one statement of a request."""

    def __init__(self) -> None:
        self.seen = 0
        self.cut_at: int | None = None

    def begin(self, cut_at: int | None) -> None:
        self.seen, self.cut_at = 0, cut_at

    def count(self, cursor: psycopg.Cursor[Any] | psycopg.AsyncCursor[Any]) -> None:
        if not ASKED.get():
            return
        self.seen += 1
        if self.seen == self.cut_at:
            with socket.socket(fileno=os.dup(cursor.connection.fileno())) as line:
                line.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def cuts(monkeypatch: pytest.MonkeyPatch) -> Cuts:
    cuts, main = Cuts(), threading.current_thread()
    execute, execute_awaited = psycopg.Cursor.execute, psycopg.AsyncCursor.execute

    def counted(self: Any, *given: Any, **options: Any) -> Any:
        if threading.current_thread() is not main:
            cuts.count(self)
        return execute(self, *given, **options)

    async def counted_awaited(self: Any, *given: Any, **options: Any) -> Any:
        cuts.count(self)
        return await execute_awaited(self, *given, **options)

    monkeypatch.setattr(psycopg.Cursor, "execute", counted)
    monkeypatch.setattr(psycopg.AsyncCursor, "execute", counted_awaited)
    return cuts


@pytest.mark.parametrize(("method", "path", "body"), REQUESTS, ids=[one[1] for one in REQUESTS])
def test_a_connection_cut_at_any_statement_is_no_fault_of_the_service(
    client: TestClient, cuts: Cuts, method: str, path: str, body: Any
) -> None:
    def ask() -> int:
        key = {"Idempotency-Key": f"{path}-{cuts.cut_at}"} if body else {}
        token = ASKED.set(True)
        answer = client.request(method, path, json=body, headers=key)
        ASKED.reset(token)
        assert answer.status_code != 503 or answer.headers["Retry-After"]
        return answer.status_code

    cuts.begin(None)
    usual = ask()
    assert usual < 300
    statements = cuts.seen
    answers = []
    for number in range(1, statements + 1):
        cuts.begin(number)
        answers.append(ask())
    cuts.begin(None)
    assert ask() == usual
    assert set(answers) <= {usual, 503}
    assert 503 in answers, f"none of {statements} statements was cut"


def test_an_error_of_any_class_on_a_lost_connection_is_named_so(database_url: str) -> None:
    async def fail(pool: Pool, *, lost: bool) -> None:
        async with pool.connection() as connection:
            await connection.execute("SELECT 1")
            if lost:
                await connection.close()
            raise psycopg.DatabaseError("an answer that was not expected")

    async def fail_twice() -> None:
        async with Pool(database_url, min_size=0, max_size=1, open=False) as pool:
            with pytest.raises(psycopg.OperationalError, match="the connection is lost"):
                await fail(pool, lost=True)
            with pytest.raises(psycopg.DatabaseError, match=r"^an answer"):
                await fail(pool, lost=False)

    asyncio.run(fail_twice())
