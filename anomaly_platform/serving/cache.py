"""Small answers that are asked for often, shared by the workers where there is Redis.

Belongs here: the keys of I8 and how long each is believed. Does not belong here: models in memory
(``serving.champions``), rate limits (``auth.rate_limits``).

Writing never waits: what is put goes to Redis a moment later, many values in one message, and of
several values of one key only the last. Without Redis, or while it does not answer, a worker goes
on with what it knows itself. Others may write to Redis, too: what is no value of ours is no value.
"""

import asyncio
import contextlib
import json
import math
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from anomaly_platform.serving.shared_redis import SharedRedis

_MOST_HERE: Final = 20_000
_FLUSH_S: Final = 0.1
#: Of a value: ours have one or two thousand.
_MOST_BYTES: Final = 64 * 2**10


class CacheKey(NamedTuple):
    """Name of a value, and the seconds for which it is believed."""

    name: str
    seconds: int


def model_key(device: str, metric: str) -> CacheKey:
    """Return the key of a series' model as the index has it."""
    return CacheKey(f"ml:model:{_part(device)}:{_part(metric)}", 3600)


@lru_cache(maxsize=4_096)
def latest_key(device: str, metric: str) -> CacheKey:
    """Return the key of a series' latest prediction."""
    return CacheKey(f"ml:predictions:{_part(device)}:{_part(metric)}:latest", 300)


def count_key(device: str) -> CacheKey:
    """Return the key of a device's number of anomalies in the last 24 hours."""
    return CacheKey(f"ml:anomalies:{_part(device)}:count:24h", 900)


def _part(text: str) -> str:
    """Keep a colon in a name from looking like the end of the name."""
    return text.replace("%", "%25").replace(":", "%3A")


class Cache:
    """Values that JSON can hold, by key.

    Parameters
    ----------
    redis : SharedRedis or None
        Where the workers share them.
    """

    def __init__(self, redis: SharedRedis | None = None) -> None:
        self._redis = redis
        #: When each is no longer believed, and the value; what was put longest ago goes first.
        self._here: dict[CacheKey, tuple[float, Any]] = {}
        self._unsent: dict[CacheKey, Any] = {}
        self._flusher: asyncio.Task[None] | None = None

    async def get(self, keys: Sequence[CacheKey]) -> list[Any | None]:
        """Return the value of each key, None where there is none or it is too old."""
        redis = self._redis
        if redis is None or not keys:
            return [self._own(key) for key in keys]
        found = await redis.ask(lambda: _fetch(redis, keys), None)
        if found is None:
            return [self._own(key) for key in keys]
        return [
            self._unsent.get(key) if not said or key in self._unsent else _read(said)
            for key, said in zip(keys, found, strict=True)
        ]

    def put(self, key: CacheKey, value: Any) -> None:
        """Remember a value for as long as its key says."""
        here = self._here
        here.pop(key, None)
        here[key] = time.monotonic() + key.seconds, value
        if len(here) > _MOST_HERE:
            del here[next(iter(here))]
        redis = self._redis
        if redis is None or not redis.answers:
            return
        self._unsent[key] = value
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush())

    def _own(self, key: CacheKey) -> Any | None:
        until, value = self._here.get(key, (0.0, None))
        if time.monotonic() < until:
            return value
        self._here.pop(key, None)
        return None

    async def close(self) -> None:
        """Send what is left."""
        if self._flusher is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await self._flusher

    async def _flush(self) -> None:
        redis = self._redis
        if redis is None:
            return
        while self._unsent:
            await asyncio.sleep(_FLUSH_S)
            sending = dict(self._unsent)

            async def send(batch: dict[CacheKey, Any] = sending) -> bool:
                async with redis.client.pipeline(transaction=False) as pipeline:
                    for key, value in batch.items():
                        pipeline.set(key.name, json.dumps(value), ex=key.seconds)
                    await pipeline.execute()
                return True

            await redis.ask(send, False)
            # Sent, or not worth keeping for a Redis that is gone.
            for key, value in sending.items():
                if self._unsent.get(key) is value:
                    del self._unsent[key]


async def _fetch(redis: SharedRedis, keys: Sequence[CacheKey]) -> list[Any]:
    """Return the bytes of each value, a few more than are believed, or why there are none."""
    async with redis.client.pipeline(transaction=False) as pipeline:
        for key in keys:
            # Not GET, which would fetch whatever somebody has put there, of any size.
            pipeline.execute_command("GETRANGE", key.name, 0, _MOST_BYTES, NEVER_DECODE=True)
        return await pipeline.execute(raise_on_error=False)


def _read(said: object) -> Any | None:
    """Return a value; None where somebody else wrote it: the next one to put the key mends it."""
    if not isinstance(said, bytes) or len(said) > _MOST_BYTES:
        return None
    try:
        return json.loads(said.decode(), parse_constant=_finite, parse_float=_finite)
    except (ValueError, RecursionError):
        return None


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number
