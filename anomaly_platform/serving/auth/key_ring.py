"""API keys in memory, for less than a second.

Belongs here: finding a key without asking the database for every request, and forgetting it in time
when it changes. Does not belong here: the table (``storage.tables.api_keys``), and what a key is
allowed to do (``auth.security``).

A change is announced by PostgreSQL and forgotten at once; an entry's short life holds the promise
of a second even where the announcement is lost with its connection.
"""

import asyncio
import logging
import math
import time
from dataclasses import dataclass
from typing import Final, TypeVar
from uuid import UUID

import psycopg
from psycopg_pool import PoolTimeout

from anomaly_platform.storage.postgres.transactions import Pool
from anomaly_platform.storage.tables.api_keys import ApiKey, find, touch

#: Seconds for which an entry is used, counted from before it was read.
_LIFETIME_S: Final = 0.9
#: Age from which it is read anew in the background, so that a busy key's requests never wait.
_REFRESH_S: Final = 0.45
_TOUCH_S: Final = 60.0
_PATIENCE_S: Final = 2.0
_MOST_KEYS: Final = 4096
#: Somebody who tries prefixes occupies these many connections at most.
_MOST_QUESTIONS: Final = 3

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Entry:
    key: ApiKey | None
    asked_at: float


_Value = TypeVar("_Value")


class KeyRing:
    """Finds keys by prefix.

    Parameters
    ----------
    pool : AsyncConnectionPool
        Of the platform's database.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        # Apart, so that a flood of prefixes that do not exist pushes out no key that does.
        self._known: dict[str, _Entry] = {}
        self._unknown: dict[str, _Entry] = {}
        self._asking: dict[str, asyncio.Task[ApiKey | None]] = {}
        self._questions = asyncio.Semaphore(_MOST_QUESTIONS)
        self._changes = 0
        self._touched: dict[str, float] = {}
        self._background: set[asyncio.Task[None]] = set()

    async def find(self, prefix: str) -> ApiKey | None:
        """Return the key with this prefix, whatever its state, or None.

        Raises
        ------
        psycopg.OperationalError, psycopg_pool.PoolTimeout
            When the database does not answer.
        """
        entry = self._known.get(prefix) or self._unknown.get(prefix)
        age = math.inf if entry is None else time.monotonic() - entry.asked_at
        if entry is not None and age < _REFRESH_S:
            return entry.key
        task = self._asking.get(prefix)
        if task is None:
            task = asyncio.create_task(self._ask(prefix))
            self._asking[prefix] = task
            task.add_done_callback(lambda done: self._asked(prefix, done))
        if entry is not None and age < _LIFETIME_S:
            return entry.key
        # A client that goes away must not take the answer from the others who wait for it.
        return await asyncio.shield(task)

    def held(self, prefix: str) -> ApiKey | None:
        """Return a key that needs no question; None where :meth:`find` has to be awaited."""
        entry = self._known.get(prefix)
        if entry is None or time.monotonic() - entry.asked_at >= _REFRESH_S:
            return None
        return entry.key

    def last_known(self, prefix: str) -> ApiKey | None:
        """Return a key as it was when the database last answered, or None."""
        entry = self._known.get(prefix)
        return None if entry is None else entry.key

    async def forget(self, prefix: str | None) -> None:
        """Forget a key that changed; with None, believe nothing that was read so far."""
        self._changes += 1
        if prefix is None:
            self._unknown.clear()
            for entry in self._known.values():
                # Kept for :meth:`last_known` alone.
                entry.asked_at = -math.inf
            return
        self._known.pop(prefix, None)
        self._unknown.pop(prefix, None)

    def used(self, key: ApiKey) -> None:
        """Note in the background that a key was used, about once a minute."""
        now = time.monotonic()
        if now - self._touched.get(key.prefix, -math.inf) < _TOUCH_S:
            return
        _keep(self._touched, key.prefix, now)
        task = asyncio.create_task(self._touch(key.id))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def close(self) -> None:
        """Wait for what runs in the background."""
        await asyncio.gather(*self._background, *self._asking.values(), return_exceptions=True)

    def _asked(self, prefix: str, done: asyncio.Task[ApiKey | None]) -> None:
        if self._asking.get(prefix) is done:
            del self._asking[prefix]
        if not done.cancelled():
            # Marks the error as seen: where nobody waited for the answer, the next one asks again.
            done.exception()

    async def _ask(self, prefix: str) -> ApiKey | None:
        while True:
            asked_at, changes = time.monotonic(), self._changes
            async with self._questions, self._pool.connection(_PATIENCE_S) as connection:
                key = await find(connection, prefix)
            if changes == self._changes:
                break
            # Something changed meanwhile: what was read may be from before.
        _keep(self._unknown if key is None else self._known, prefix, _Entry(key, asked_at))
        (self._known if key is None else self._unknown).pop(prefix, None)
        return key

    async def _touch(self, key_id: UUID) -> None:
        try:
            async with self._pool.connection() as connection:
                await touch(connection, key_id)
        except (psycopg.Error, PoolTimeout, OSError) as error:
            _log.info("the use of a key was not noted: %s", type(error).__name__)


def _keep(held: dict[str, _Value], prefix: str, value: _Value) -> None:
    """Hold a value as the newest; beyond the most keys the oldest one goes."""
    held.pop(prefix, None)
    held[prefix] = value
    if len(held) > _MOST_KEYS:
        del held[next(iter(held))]
