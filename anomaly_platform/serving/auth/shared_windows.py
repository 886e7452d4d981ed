"""Moving windows that the workers of one machine share in files, so that a limit holds over all.

Belongs here: the files. Who is counted, and where else (Redis, one process), is decided in
``auth.rate_limits``.

A window is a file of as many times as the limit allows requests, in seconds of the machine's
monotonic clock. One lock guards them all; a process that dies leaves it.
"""

import contextlib
import fcntl
import hashlib
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from cachetools import LRUCache
from limits.aio.storage import MemoryStorage

from anomaly_platform.storage.own_files import private

_MOST_OPEN: Final = 1_000

Times = npt.NDArray[np.float64]


class SharedWindows(MemoryStorage):
    """For :class:`limits.aio.strategies.MovingWindowRateLimiter`.

    Parameters
    ----------
    folder : Path
        Of the windows; the same for all workers.

    Raises
    ------
    OSError
        When the folder cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._lock = open(folder / "lock", "ab", opener=private)  # noqa: SIM115
        self._windows: LRUCache[tuple[str, int], Times] = LRUCache(_MOST_OPEN)

    async def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count `amount` more in the window of a key, if the limit allows it."""
        with self._locked(key, limit, expiry) as (times, now):
            free = np.flatnonzero(np.isneginf(times))[:amount]
            if free.size < amount:
                return False
            times[free] = now
            return True

    async def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """Return when the oldest entry of a key's window was made, and how many there are."""
        with self._locked(key, limit, expiry) as (times, now):
            used = times[~np.isneginf(times)]
            age = now - float(used.min()) if used.size else 0.0
            return time.time() - age, used.size

    @contextlib.contextmanager
    def _locked(self, key: str, limit: int, expiry: int) -> Iterator[tuple[Times, float]]:
        """Hold the window of a key, with what is over taken out, and the present."""
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            times, now = self._window(key, limit), time.monotonic()
            # What lies ahead was written before the machine started last.
            times[(times <= now - expiry) | (times > now)] = -math.inf
            yield times, now
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def _window(self, key: str, limit: int) -> Times:
        known = self._windows.get((key, limit))
        if known is None:
            path = self._folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}-{limit}"
            if not path.exists() or path.stat().st_size != 8 * limit:
                path.write_bytes(np.full(limit, -math.inf).tobytes())
            known = np.memmap(path, dtype=np.float64, mode="r+")
            self._windows[key, limit] = known
        return known
