"""A key is asked for seldom, believed for less than a second, and forgotten at once when told."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from anomaly_platform.serving.auth import key_ring
from anomaly_platform.serving.auth.key_ring import KeyRing
from anomaly_platform.storage.tables.api_keys import ApiKey


class Table:
    """The database's side: counts questions, and answers when it is let."""

    def __init__(self) -> None:
        self.rows: dict[str, ApiKey] = {}
        self.asked: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()

    @contextlib.asynccontextmanager
    async def connection(self, _timeout: float | None = None) -> AsyncIterator[Table]:
        yield self

    async def find(self, _connection: Any, prefix: str) -> ApiKey | None:
        self.asked.append(prefix)
        found = self.rows.get(prefix)
        await self.gate.wait()
        return found

    def add(self, prefix: str, *, revoked: bool = False) -> None:
        now = dt.datetime.now(dt.UTC)
        self.rows[prefix] = ApiKey(
            uuid.uuid4(), prefix, b"", "n", ["ml:read"], None, now, "t", None,
            now if revoked else None, None,
        )  # fmt: skip


class Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now


def trial(story: Callable[[KeyRing, Table, Clock], Awaitable[None]]) -> None:
    async def tell() -> None:
        table, clock = Table(), Clock()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(key_ring, "find", table.find)
            patch.setattr(key_ring, "time", clock)
            await story(KeyRing(table), table, clock)  # type: ignore[arg-type]

    asyncio.run(tell())


def test_a_busy_key_is_read_about_twice_a_second_and_nobody_waits() -> None:
    async def story(ring: KeyRing, table: Table, clock: Clock) -> None:
        table.add("a")
        await ring.find("a")
        for _ in range(1_000):
            clock.now += 0.01
            assert await ring.find("a") is table.rows["a"]
            await asyncio.sleep(0)
        assert 15 <= len(table.asked) <= 25

    trial(story)


def test_a_change_is_seen_within_a_second_even_unannounced() -> None:
    async def story(ring: KeyRing, table: Table, clock: Clock) -> None:
        table.add("a")
        await ring.find("a")
        table.add("a", revoked=True)
        clock.now += 0.95
        found = await ring.find("a")
        assert found is not None
        assert found.revoked_at is not None

    trial(story)


def test_a_change_that_is_announced_is_seen_at_once() -> None:
    async def story(ring: KeyRing, table: Table, _clock: Clock) -> None:
        for prefix in ("a", "b"):
            table.add(prefix)
            await ring.find(prefix)
        table.add("a", revoked=True)
        await ring.forget("a")
        found = await ring.find("a")
        assert found is not None
        assert found.revoked_at is not None
        table.add("b", revoked=True)
        await ring.forget(None)
        found = await ring.find("b")
        assert found is not None
        assert found.revoked_at is not None

    trial(story)


def test_what_was_read_before_the_announcement_is_not_kept() -> None:
    async def story(ring: KeyRing, table: Table, _clock: Clock) -> None:
        table.add("a")
        table.gate.clear()
        asking = asyncio.create_task(ring.find("a"))
        await asyncio.sleep(0.01)
        table.add("a", revoked=True)
        await ring.forget("a")
        table.gate.set()
        found = await asking
        assert found is not None
        assert found.revoked_at is not None, "read again, since it changed meanwhile"

    trial(story)


def test_many_at_once_ask_one_question_and_one_who_leaves_takes_nothing_away() -> None:
    async def story(ring: KeyRing, table: Table, _clock: Clock) -> None:
        table.add("a")
        table.gate.clear()
        waiting = [asyncio.create_task(ring.find("a")) for _ in range(50)]
        await asyncio.sleep(0.01)
        waiting[0].cancel()
        table.gate.set()
        found = await asyncio.gather(*waiting[1:])
        assert all(one is table.rows["a"] for one in found)
        assert table.asked == ["a"]

    trial(story)


def test_a_flood_of_unknown_prefixes_pushes_out_no_known_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(key_ring, "_MOST_KEYS", 10)

    async def story(ring: KeyRing, table: Table, _clock: Clock) -> None:
        table.add("a")
        await ring.find("a")
        for number in range(100):
            assert await ring.find(f"x{number}") is None
        await ring.find("a")
        assert table.asked.count("a") == 1
        assert len(ring._unknown) == 10

    trial(story)
