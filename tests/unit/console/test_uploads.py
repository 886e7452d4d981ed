"""Files that wait: how many are read at a time, how much of them is kept, and what breaks off."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest
from starlette.requests import ClientDisconnect

from anomaly_platform.console import uploads as module
from anomaly_platform.console.uploads import Uploads
from anomaly_platform.serving.problems import ApiProblem

KIB = 2**10
A, B, C = (UUID(int=number) for number in (1, 2, 3))


@pytest.fixture
def uploads(tmp_path: Path) -> Uploads:
    return Uploads(tmp_path / "uploads")


async def parts(number: int, size: int = KIB) -> AsyncIterator[bytes]:
    for _ in range(number):
        yield b"x" * size


def left(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "uploads").glob("*/*"))


def test_a_file_is_kept_whole_and_found_by_its_word(uploads: Uploads) -> None:
    token, path = asyncio.run(uploads.keep("a.csv", parts(100), whose=A))
    assert uploads.find(token, A) == path
    assert path.read_bytes() == b"x" * 100 * KIB


def test_an_old_file_is_not_found_and_the_next_one_removes_it(
    uploads: Uploads, tmp_path: Path
) -> None:
    token, path = asyncio.run(uploads.keep("a.csv", parts(1), whose=A))
    os.utime(path.parent, (0, 0))
    with pytest.raises(ApiProblem, match="no longer here"):
        uploads.find(token, A)
    asyncio.run(uploads.keep("b.csv", parts(1), whose=B))
    assert [one.name for one in (tmp_path / "uploads").glob("*/*/*")] == ["b.csv"]


def test_another_key_does_not_find_it(uploads: Uploads) -> None:
    token, path = asyncio.run(uploads.keep("a.csv", parts(1), whose=A))
    with pytest.raises(ApiProblem, match="no longer here"):
        uploads.find(token, B)
    uploads.forget(token, B)
    assert path.exists()


def test_one_of_each_key_is_read_at_a_time_and_two_in_all(uploads: Uploads) -> None:
    """So the threads that everybody shares are never all taken by files."""
    reading: Counter[UUID] = Counter()
    most: Counter[UUID | str] = Counter()

    async def read(whose: UUID) -> None:
        async with uploads.turn(whose):
            reading[whose] += 1
            most["all"] = max(most["all"], sum(reading.values()))
            most[whose] = max(most[whose], reading[whose])
            await asyncio.sleep(0.01)
            reading[whose] -= 1

    async def all_of_them() -> None:
        await asyncio.gather(*(read(whose) for whose in [A, B, C] * 5))

    asyncio.run(all_of_them())
    assert most == {"all": 2, A: 1, B: 1, C: 1}


def test_a_key_with_many_files_keeps_no_other_waiting(uploads: Uploads) -> None:
    order: list[UUID] = []

    async def read(whose: UUID) -> None:
        async with uploads.turn(whose):
            order.append(whose)
            await asyncio.sleep(0.01)

    async def all_of_them() -> None:
        await asyncio.gather(*(read(whose) for whose in [A] * 8 + [B]))

    asyncio.run(all_of_them())
    assert order.index(B) <= 2


def test_what_waits_is_bounded(
    uploads: Uploads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_KEPT", 100 * KIB)
    monkeypatch.setattr(module, "_STRIDE", 10 * KIB)
    asyncio.run(uploads.keep("a.csv", parts(90), whose=A))
    with pytest.raises(ApiProblem, match="no room") as refused:
        asyncio.run(uploads.keep("b.csv", parts(90), whose=B))
    assert refused.value.status == 507
    assert len(left(tmp_path)) == 1


def test_one_key_leaves_the_others_room(
    uploads: Uploads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_OF_A_KEY", 50 * KIB)
    monkeypatch.setattr(module, "_STRIDE", 10 * KIB)
    asyncio.run(uploads.keep("a.csv", parts(40), whose=A))
    with pytest.raises(ApiProblem, match="of this key wait") as refused:
        asyncio.run(uploads.keep("b.csv", parts(40), whose=A))
    assert refused.value.status == 507
    asyncio.run(uploads.keep("c.csv", parts(40), whose=B))
    assert len(left(tmp_path)) == 2


def test_of_what_breaks_off_nothing_is_left(uploads: Uploads, tmp_path: Path) -> None:
    async def cut() -> AsyncIterator[bytes]:
        yield b"x" * KIB
        raise ClientDisconnect

    with pytest.raises(ClientDisconnect):
        asyncio.run(uploads.keep("a.csv", cut(), whose=A))
    assert left(tmp_path) == []
