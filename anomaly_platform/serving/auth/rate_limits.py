"""How many predictions a key may ask for in a minute.

Belongs here: counting, exactly over all workers, through Redis where there is one and through files
of the machine otherwise, and the refusal with 429. Does not belong here: how large one request may
be (``http.bodies``).

A window moves with the clock: never more than the limit in any 60 seconds. A request to a scoring
route counts once, however many values it brings; rows are bounded by the schemas.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final

from cachetools import LRUCache
from fastapi import Depends, Request
from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter
from starlette.types import Scope

from anomaly_platform.serving.auth.security import caller_in
from anomaly_platform.serving.problems import ApiProblem

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

    from anomaly_platform.serving.shared_redis import SharedRedis

_NAMESPACE: Final = "ml:limits"
_MOST_CALLERS: Final = 10_000
_WINDOW_S: Final = 60

_log = logging.getLogger(__name__)


class ProcessWindows(MemoryStorage):
    """Moving windows in this process, for :class:`limits.aio.strategies.MovingWindowRateLimiter`.

    The library's own windows start a thread for each expiry; here a window forgets what is over
    whenever it is used, and the windows used longest ago go first.
    """

    def __init__(self) -> None:
        super().__init__()
        self._windows: LRUCache[str, deque[float]] = LRUCache(_MOST_CALLERS)

    async def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count `amount` more in the window of a key, if the limit allows it."""
        window = self._window(key, expiry)
        if len(window) + amount > limit:
            return False
        window.extend([time.time()] * amount)
        return True

    async def get_moving_window(
        self,
        key: str,
        limit: int,  # noqa: ARG002 - the library's contract
        expiry: int,
    ) -> tuple[float, int]:
        """Return when the oldest entry of a key's window was made, and how many there are."""
        window = self._window(key, expiry)
        return (window[0], len(window)) if window else (time.time(), 0)

    async def reset(self) -> int | None:
        """Forget everything."""
        count = len(self._windows)
        self._windows.clear()
        return count

    def _window(self, key: str, expiry: int) -> deque[float]:
        window = self._windows.setdefault(key, deque())
        since = time.time() - expiry
        while window and window[0] <= since:
            window.popleft()
        return window


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is left of a caller's limit.

    Attributes
    ----------
    granted : bool
        Whether this request is within it.
    limit : int
        Predictions in a minute.
    remaining : int
        Of them.
    reset_s : int
        Seconds until the oldest one that counts does so no more.
    """

    granted: bool
    limit: int
    remaining: int
    reset_s: int

    @property
    def headers(self) -> dict[str, str]:
        """The fields that tell a client, as the IETF's draft of RateLimit fields has them."""
        return {
            "RateLimit-Policy": f'"predictions";q={self.limit};w=60',
            "RateLimit": f'"predictions";r={self.remaining};t={self.reset_s}',
        }


class RateLimits:
    """Counts predictions per key.

    Parameters
    ----------
    per_minute : int
        The default limit; 0 means none.
    redis : SharedRedis or None
        Where the workers of all machines count together.
    folder : Path or None
        Where those of this machine do without it; None counts in this process alone.
    """

    def __init__(
        self, per_minute: int, redis: SharedRedis | None = None, folder: Path | None = None
    ) -> None:
        self._per_minute = per_minute
        self._redis = redis
        self._here = MovingWindowRateLimiter(_windows(folder))
        self._shared: MovingWindowRateLimiter | None = None
        if redis is not None:
            storage = RedisStorage(
                "redis://",
                implementation="redispy",
                key_prefix=_NAMESPACE,
                connection_pool=redis.pool,  # type: ignore[arg-type]
            )
            self._shared = MovingWindowRateLimiter(storage)

    async def take(self, caller: UUID | str, own_limit: int | None) -> Allowance | None:
        """Count one prediction.

        Parameters
        ----------
        caller : UUID or str
            The key's id.
        own_limit : int or None
            The key's own limit in a minute; ``None`` means the default, 0 none.

        Returns
        -------
        Allowance or None
            None where there is no limit.
        """
        limit = self._per_minute if own_limit is None else own_limit
        if limit == 0:
            return None
        allowance = None
        shared = self._shared
        if shared is not None and self._redis is not None:
            allowance = await self._redis.ask(lambda: _take(shared, limit, caller), None)
        return allowance or await _take(self._here, limit, caller)


def _windows(folder: Path | None) -> MemoryStorage:
    if folder is not None:
        try:
            # Its locks are those of POSIX.
            from anomaly_platform.serving.auth.shared_windows import SharedWindows

            return SharedWindows(folder)
        except (ImportError, OSError) as error:
            _log.warning("each worker counts predictions for itself: %s", error)
    return ProcessWindows()


async def _take(limiter: MovingWindowRateLimiter, limit: int, caller: UUID | str) -> Allowance:
    item, whose = RateLimitItemPerMinute(limit), str(caller)
    granted = await limiter.hit(item, whose)
    reset_at, remaining = await limiter.get_window_stats(item, whose)
    # At least a second: a client that is told 0 comes back at once. At most the window, whatever
    # times somebody else has put into Redis.
    reset_s = min(_WINDOW_S, max(1, math.ceil(reset_at - time.time())))
    return Allowance(granted, limit, min(limit, max(0, remaining)), reset_s)


async def count_prediction(request: Request) -> None:
    """Dependency of every route that scores: count the request, or refuse it with 429."""
    await count_prediction_of(request.scope)


async def count_prediction_of(scope: Scope) -> None:
    """Count a request that scores once, or refuse it with 429."""
    caller = caller_in(scope)
    state = scope.setdefault("state", {})
    if state.get("counted"):
        # Before the body was read.
        return
    state["counted"] = True
    rates: RateLimits = scope["app"].state.serving.rates
    allowance = await rates.take(caller.key_id, caller.predictions_per_minute)
    if allowance is None:
        return
    state["answer_headers"] = allowance.headers
    if not allowance.granted:
        raise ApiProblem(
            429,
            f"more than {allowance.limit} predictions in a minute; "
            f"try again in {allowance.reset_s} s",
            headers={"Retry-After": str(allowance.reset_s)},
        )


Predicting = Annotated[None, Depends(count_prediction)]
"""Annotation of a parameter of a scoring route."""
