"""Models of single series in memory, within a budget of bytes.

Belongs here: which models are held, which one goes first, and how often one was found. Does not
belong here: where models come from, and which version serves (see ``models``).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    AnyArray = npt.NDArray[np.generic[Any]]

Key = tuple[str, int, int]
"""Stream, version and slot."""

Model = TypeVar("Model")

#: What a model takes beside its arrays: Python objects, as measured on CPython 3.11.
_OBJECTS_BYTES: Final = 8_192


@dataclass(slots=True)
class CacheStatistics:
    """Counts since the process began.

    Attributes
    ----------
    hits, misses
        Look-ups that found a model, and that had to read one.
    evictions
        Models that had to make room.
    """

    hits: int = 0
    misses: int = 0
    evictions: int = 0

    @property
    def hit_rate(self) -> float | None:
        """Share of look-ups that found their model, None before the first."""
        asked = self.hits + self.misses
        return self.hits / asked if asked else None


class ModelCache:
    """Holds models up to a budget, the least recently used out first. Safe for several threads.

    Parameters
    ----------
    budget_bytes : int
        Most that the held models may take. A model larger than all of it is handed out, not held.
    """

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self.statistics = CacheStatistics()
        self._held: OrderedDict[Key, tuple[Any, int]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    @property
    def bytes_held(self) -> int:
        """Bytes that the held models take."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: Key, load: Callable[[], tuple[Model, int]]) -> Model:
        """Return the model of a key, reading it where it is not held.

        Parameters
        ----------
        key
            Which one.
        load
            Returns the model and the bytes that it takes (see :func:`bytes_of`).
        """
        held = self._held
        with self._lock:
            found = held.get(key)
            if found is not None:
                held.move_to_end(key)
                self.statistics.hits += 1
                model: Model = found[0]
                return model
        self.statistics.misses += 1
        model, size = load()
        self._keep(key, model, size)
        return model

    def warm(self, key: Key, load: Callable[[], tuple[Any, int]]) -> bool:
        """Read a model before somebody asks; return False once the budget is used up."""
        with self._lock:
            if key in self._held:
                return True
            if self._bytes >= self.budget_bytes:
                return False
        model, size = load()
        with self._lock:
            if self._bytes + size > self.budget_bytes:
                return False
        self._keep(key, model, size)
        return True

    def keys_of(self, stream: str, version: int) -> list[Key]:
        """Return the keys of a version, the least recently used first."""
        with self._lock:
            return [key for key in self._held if key[:2] == (stream, version)]

    def drop(self, stream: str, version: int) -> None:
        """Let go of every model of a version."""
        with self._lock:
            for key in [key for key in self._held if key[:2] == (stream, version)]:
                self._bytes -= self._held.pop(key)[1]

    def _keep(self, key: Key, model: Any, size: int) -> None:
        if size > self.budget_bytes:
            return
        with self._lock:
            previous = self._held.pop(key, None)
            if previous is not None:
                self._bytes -= previous[1]
            self._held[key] = (model, size)
            self._bytes += size
            while self._bytes > self.budget_bytes:
                _, (_, freed) = self._held.popitem(last=False)
                self._bytes -= freed
                self.statistics.evictions += 1


def bytes_of(arrays: Mapping[str, AnyArray]) -> int:
    """Return the bytes that a model made of these arrays takes."""
    return sum(array.nbytes for array in arrays.values()) + _OBJECTS_BYTES
