"""Statistics of the cache of single series' models: its size, hits, misses and evictions."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class CacheStatistics:
    """Counts since the process began.

    Attributes
    ----------
    hits, misses
        Readings whose model was in memory, and models that had to be read for one.
    evictions
        Models that had to make room for others.
    """

    hits: int = 0
    misses: int = 0
    evictions: int = 0


@dataclass(frozen=True, slots=True)
class CacheState:
    """The models in memory at the moment.

    Attributes
    ----------
    models
        How many.
    bytes_held, budget_bytes
        What they take, and the most that they may.
    statistics
        How often one was there.
    """

    models: int
    bytes_held: int
    budget_bytes: int
    statistics: CacheStatistics
