"""Work on large bodies: beside the event loop, and little of it at a time.

Belongs here: where such work is done. Threads share the interpreter with the event loop, and the
pool of threads with whatever else has to wait for something. With all that clients send at the same
time, neither would have room for anybody else.
"""

import asyncio
from collections.abc import Callable
from functools import lru_cache
from typing import Final, TypeVar

MOST_INLINE: Final = 64 * 2**10
"""Bytes of a body up to which the event loop looks at it itself: less work than a thread."""

_AT_ONCE: Final = 2
_Result = TypeVar("_Result")


async def off_loop(size: int, work: Callable[[], _Result]) -> _Result:
    """Return what work on so many bytes comes to; on many it is done in a thread, in its turn."""
    if size <= MOST_INLINE:
        return work()
    async with _turn(asyncio.get_running_loop()):
        return await asyncio.to_thread(work)


@lru_cache(maxsize=8)
def _turn(_loop: asyncio.AbstractEventLoop) -> asyncio.Semaphore:
    return asyncio.Semaphore(_AT_ONCE)
