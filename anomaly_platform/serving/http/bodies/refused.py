"""How many bytes each key has sent for nothing lately, and when it may send large bodies again.

Belongs here: counting. A body that is refused costs its sender little and a worker the reading of
it; nobody who means well sends many that are large.
"""

import time
from collections.abc import Hashable
from typing import Final

from cachetools import LRUCache

FOR_NOTHING: Final = frozenset({400, 403, 404, 413, 415, 422})
"""Statuses that say of a body that it should not have been sent; the others ask for patience."""

_MOST_KEYS: Final = 10_000
_MINUTE_S: Final = 60.0


class RefusedBytes:
    """Refused bytes of each key, which are forgiven evenly.

    Parameters
    ----------
    per_minute : int
        So many are forgiven in a minute, and a key that has more of them has to wait; 0 counts
        nothing.
    most_of_one : int
        As which a larger body counts: one mistake locks nobody out.
    """

    def __init__(self, per_minute: int, most_of_one: int) -> None:
        self._per_minute = per_minute
        self._most_of_one = most_of_one
        #: Bytes of a key and when they were so many.
        self._counts: LRUCache[Hashable, tuple[float, float]] = LRUCache(_MOST_KEYS)

    def count(self, whose: Hashable, size: float) -> None:
        """Count a refused body of a key; however much that is, it waits for a minute at most."""
        if self._per_minute:
            standing = self._standing(whose) + min(size, self._most_of_one)
            self._counts[whose] = min(standing, 2 * self._per_minute), time.monotonic()

    def wait_s(self, whose: Hashable) -> float:
        """Return for how many seconds a key may send no large body."""
        if whose not in self._counts:
            return 0.0
        over = self._standing(whose) - self._per_minute
        return max(0.0, over) * _MINUTE_S / self._per_minute

    def _standing(self, whose: Hashable) -> float:
        size, at = self._counts.get(whose, (0.0, 0.0))
        return max(0.0, size - (time.monotonic() - at) * self._per_minute / _MINUTE_S)
