"""How many connections a worker holds, in all and of one client.

Belongs here: counting. What a connection is refused with is decided in ``connections`` and
``auth.security``. A client is a network address until a request on the connection has shown a key,
and from then on that key: many may come from one address, such as a proxy's.
"""

from collections import Counter
from collections.abc import Hashable


class Crowd:
    """The connections of a worker.

    Parameters
    ----------
    most : int
        In all.
    most_of_one : int
        Of one client.
    """

    def __init__(self, most: int, most_of_one: int) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._counts: Counter[Hashable] = Counter()
        self._all = 0

    def enter(self, client: Hashable) -> bool:
        """Count a connection of a client, if there is room for it."""
        if self._all >= self._most or self._counts[client] >= self._most_of_one:
            return False
        self._all += 1
        self._counts[client] += 1
        return True

    def move(self, before: Hashable, now: Hashable) -> bool:
        """Count a connection to another client than before, if there is room for it."""
        if self._counts[now] >= self._most_of_one:
            return False
        self._forget(before)
        self._counts[now] += 1
        return True

    def leave(self, client: Hashable) -> None:
        """Count a connection no more."""
        self._all -= 1
        self._forget(client)

    def _forget(self, client: Hashable) -> None:
        self._counts[client] -= 1
        if self._counts[client] <= 0:
            del self._counts[client]
