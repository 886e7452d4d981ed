"""How late the event loop is: whether this worker, or its machine, has more to do than it can.

Belongs here: measuring it. What follows from it is decided in ``health.report``.
"""

import asyncio
import time
from collections import deque
from typing import Final

_BEAT_S: Final = 0.25
_REMEMBERED_S: Final = 5.0

BUSY_S: Final = 0.5
"""Seconds by which a busy worker comes to something later than planned."""


class Pulse:
    """Measures a worker's event loop while it beats."""

    def __init__(self) -> None:
        self._beaten_at = time.monotonic()
        self._late: deque[float] = deque()

    @property
    def is_busy(self) -> bool:
        """Whether the worker was late lately, or is just now."""
        now = time.monotonic()
        while self._late and self._late[0] < now - _REMEMBERED_S:
            self._late.popleft()
        return bool(self._late) or now - self._beaten_at - _BEAT_S >= BUSY_S

    async def beat_for_ever(self) -> None:
        """Look at the clock again and again."""
        while True:
            self._beaten_at = time.monotonic()
            await asyncio.sleep(_BEAT_S)
            now = time.monotonic()
            if now - self._beaten_at - _BEAT_S >= BUSY_S:
                self._late.append(now)
