"""How many models of single series are held, and how often one was there when it was asked for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class CacheStatistics:
    """Counts since the process began.

    Attributes
    ----------
    lookups, misses
        Series that were to be scored, and models that had to be read for it.
    evictions
        Models that had to make room for others.
    """

    lookups: int = 0
    misses: int = 0
    evictions: int = 0

    @property
    def hits(self) -> int:
        """Look-ups that found their model in memory."""
        return max(0, self.lookups - self.misses)

    @property
    def hit_rate(self) -> float | None:
        """Share of look-ups that found their model, None before the first."""
        return self.hits / self.lookups if self.lookups else None


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
