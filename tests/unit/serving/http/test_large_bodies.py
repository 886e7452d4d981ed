"""Work on large bodies leaves threads and event loop to others, and loses no byte."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
from starlette.types import Message

from anomaly_platform.serving.http.bodies.doors import Door
from anomaly_platform.serving.http.bodies.large import MOST_INLINE, off_loop
from anomaly_platform.serving.http.bodies.reading import _read
from anomaly_platform.serving.http.bodies.room import Held, Room


def test_two_large_ones_are_worked_on_at_a_time_and_small_ones_at_once() -> None:
    counting = threading.Lock()
    running = most = 0

    def work() -> int:
        nonlocal running, most
        with counting:
            running += 1
            most = max(most, running)
        time.sleep(0.02)
        with counting:
            running -= 1
        return threading.get_ident()

    async def all_of_them() -> tuple[list[int], int]:
        large = asyncio.gather(*(off_loop(MOST_INLINE + 1, work) for _ in range(8)))
        return await large, await off_loop(MOST_INLINE, threading.get_ident)

    threads, small = asyncio.run(all_of_them())
    assert most == 2
    assert small == threading.get_ident()
    assert small not in threads


def parts_of(body: bytes, size: int) -> Iterator[Message]:
    for at in range(0, len(body), size):
        part = body[at : at + size]
        yield {"type": "http.request", "body": part, "more_body": at + size < len(body)}


@pytest.mark.parametrize("size", [7, 1_000, 65_536, 70_001, 10**6])
def test_a_body_is_put_together_from_parts_of_any_size(size: int) -> None:
    body = b"[" + b",".join(b"%d" % number for number in range(30_000)) + b"]"

    with closing(parts_of(body, size)) as parts:

        async def receive() -> Message:
            return next(parts)

        with Held(Room(10**7, 10**7), "key") as held:
            assert asyncio.run(_read(receive, Door("/x", 10**7), held)) == body
