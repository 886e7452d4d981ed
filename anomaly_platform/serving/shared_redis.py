"""A Redis client for what the workers share, with a circuit breaker for when Redis is gone.

Belongs here: the pool, and the breaker that keeps a dead Redis from costing a request anything.
Does not belong here: what is kept in Redis (``serving.cache``, ``auth.rate_limits``).

A request asks Redis only while it is known to answer. The first failure opens the breaker, and from
then on a task in the background asks whether Redis is back; requests go on without it meanwhile.
"""

import asyncio
import contextlib
import functools
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar, cast

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

_CONNECT_TIMEOUT_S: Final = 0.5
#: A command on the same network takes a millisecond; this much says that Redis is not well.
_COMMAND_TIMEOUT_S: Final = 0.25
_MOST_CONNECTIONS: Final = 32
_FIRST_PAUSE_S: Final = 0.25
_LONGEST_PAUSE_S: Final = 5.0
#: Seconds between questions while Redis answers, so that health knows without a request.
_PROBE_S: Final = 2.0

_Result = TypeVar("_Result")

_log = logging.getLogger(__name__)


class SharedRedis:
    """A Redis client that says at once when there is no answer to be had.

    Parameters
    ----------
    url : str
        ``redis://``, ``rediss://`` or ``unix://``; may hold a password and is never logged.

    Attributes
    ----------
    pool : redis.asyncio.BlockingConnectionPool
        For libraries that bring their own client.
    answers : bool
        Whether the last thing heard of Redis was good.
    failures : int
        How often it went from good to bad.
    """

    def __init__(self, url: str) -> None:
        self.pool: BlockingConnectionPool = BlockingConnectionPool.from_url(
            url,
            max_connections=_MOST_CONNECTIONS,
            timeout=_COMMAND_TIMEOUT_S,
            socket_timeout=_COMMAND_TIMEOUT_S,
            socket_connect_timeout=_CONNECT_TIMEOUT_S,
            # The breaker decides about trying again, not the client.
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
        )
        self.client: Redis = Redis(connection_pool=self.pool)
        self.answers = False
        self.failures = 0
        self._watch: asyncio.Task[None] | None = None
        self._doubt = asyncio.Event()

    async def start(self) -> None:
        """Ask once whether Redis is there, and go on watching it."""
        await self._probe()
        self._watch = asyncio.create_task(self._watch_for_ever(), name="redis-watch")

    async def stop(self) -> None:
        """Close every connection."""
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch
        with contextlib.suppress(RedisError, OSError):
            await self.client.aclose()
            await self.pool.disconnect()

    async def ask(self, question: Callable[[], Awaitable[_Result]], otherwise: _Result) -> _Result:
        """Return what Redis answers, or `otherwise` at once while it does not answer.

        Parameters
        ----------
        question : callable
            Talks to Redis; what it raises is taken as no answer. What cannot be made sense of, such
            as a value that somebody else has put there, does not speak against Redis itself.
        otherwise
            The answer without Redis.
        """
        if not self.answers:
            return otherwise
        try:
            return await question()
        except (ValueError, TypeError, LookupError, ArithmeticError) as error:
            _not_ours(type(error).__name__)
            return otherwise
        except (RedisError, OSError, TimeoutError) as error:
            # Errors that are not about a value have classes of their own.
            if type(error) is ResponseError:
                _not_ours(type(error).__name__)
            else:
                self._failed(error)
            return otherwise

    def _failed(self, error: Exception) -> None:
        if self.answers:
            self.answers = False
            self.failures += 1
            # The text of the error may hold the URL.
            _log.warning("Redis does not answer (%s); going on without it", type(error).__name__)
        self._doubt.set()

    async def _probe(self) -> None:
        try:
            await cast("Awaitable[bool]", self.client.ping())
        except (RedisError, OSError, TimeoutError) as error:
            self._failed(error)
            return
        if not self.answers:
            _log.info("Redis answers")
        self.answers = True

    async def _watch_for_ever(self) -> None:
        pause = _FIRST_PAUSE_S
        while True:
            self._doubt.clear()
            if self.answers:
                pause = _FIRST_PAUSE_S
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._doubt.wait(), _PROBE_S)
            else:
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_S)
            if not self.answers:
                # Connections of before lead to a server that is gone.
                await self.pool.disconnect(inuse_connections=False)
            await self._probe()


@functools.cache
def _not_ours(kind: str) -> None:
    """Log it once: what lies there may be met with every request."""
    _log.warning("a value in Redis is not ours (%s); going on without it", kind)
