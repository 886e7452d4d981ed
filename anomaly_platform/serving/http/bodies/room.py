"""How many bytes of bodies a worker holds at a time, over all requests and of one key.

Belongs here: counting. The first part of each body is not counted: requests that are small get
through whatever others send, and so many connections cannot hold much of it.
"""

from collections import Counter
from collections.abc import Hashable
from types import TracebackType
from typing import Final, Self

FREE_BYTES: Final = 64 * 2**10
"""Of each body, which are not counted."""


class Room:
    """The bytes that a worker has for bodies.

    Parameters
    ----------
    most_bytes : int
        Over all requests.
    most_of_one : int
        Of one key, so that it cannot take all.
    """

    def __init__(self, most_bytes: int, most_of_one: int) -> None:
        self._most_bytes = most_bytes
        self._most_of_one = most_of_one
        self._taken: Counter[Hashable] = Counter()
        self._all = 0

    def take(self, whose: Hashable, size: int) -> bool:
        """Take bytes for a key, if there are so many."""
        if self._all + size > self._most_bytes or self._taken[whose] + size > self._most_of_one:
            return False
        self._all += size
        self._taken[whose] += size
        return True

    def give_back(self, whose: Hashable, size: int) -> None:
        """Give bytes of a key back."""
        self._all -= size
        self._taken[whose] -= size
        if self._taken[whose] <= 0:
            del self._taken[whose]


class Held:
    """The room of one body, given back at the end of the block.

    Parameters
    ----------
    room : Room
        Where it is taken.
    whose : hashable
        Key of the request.

    Attributes
    ----------
    reached : int
        Bytes of the body, taken or not.
    """

    def __init__(self, room: Room, whose: Hashable) -> None:
        self._room = room
        self._whose = whose
        self._size = 0
        self.reached = 0

    def reach(self, size: int) -> bool:
        """Return whether the body may have grown to a size."""
        self.reached = size
        more = max(0, size - FREE_BYTES) - self._size
        if more > 0:
            if not self._room.take(self._whose, more):
                return False
            self._size += more
        return True

    def __enter__(self) -> Self:
        """Begin with nothing."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give all back."""
        if self._size:
            self._room.give_back(self._whose, self._size)
