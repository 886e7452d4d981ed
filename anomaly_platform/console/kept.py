"""Answers that many open pages share for a while, so that each is asked for once."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Answer:
    value: Any
    asked_at: float


class Kept:
    """Keeps answers of one worker; of those who ask at once, one asks for all."""

    def __init__(self) -> None:
        self._answers: dict[Hashable, _Answer] = {}
        self._asking: dict[Hashable, asyncio.Lock] = {}

    async def get(self, key: Hashable, seconds: float, ask: Callable[[], Awaitable[T]]) -> T:
        """Return the answer to a question, not older than that many seconds."""
        async with self._asking.setdefault(key, asyncio.Lock()):
            known = self._answers.get(key)
            if known is None or time.monotonic() - known.asked_at >= seconds:
                known = self._answers[key] = _Answer(await ask(), time.monotonic())
        value: T = known.value
        return value
