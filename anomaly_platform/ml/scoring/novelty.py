"""Values in ranges that a series has never visited: a call each, and never again once known.

What belongs here: which readings of a series in streaming order are novel, and what a stream makes
of it (`ml.backtest`). The state is `series_model.visited`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np

from anomaly_platform.ml.arrays import Bools, Floats
from anomaly_platform.ml.compiled import compiled
from anomaly_platform.ml.scoring.entities import BESIDE
from anomaly_platform.ml.scoring.reasons import new_range
from anomaly_platform.ml.series_model.visited import visit, visited_by
from anomaly_platform.ml.series_runs.model import is_counter
from anomaly_platform.ml.written import as_given

#: How near to 1 a score without novelty is an alarm, as a share of the way from the threshold.
CLEAR: Final = 1.0 / 6.0


class Novelty:
    """Which ranges a series has visited.

    Parameters
    ----------
    first
        (n,) its first readings, which are learned from; NaN where one is missing.

    Attributes
    ----------
    state
        (`visited.VISITED_SIZE`,).
    """

    def __init__(self, first: Floats) -> None:
        self.state = visited_by(first)

    def look(self, values: Floats) -> Bools:
        """Return which of (n,) further readings are calls; NaN where one is missing."""
        calls = np.zeros(values.size, dtype=np.bool_)
        _look(self.state, values, calls)
        return calls


def on_top(scores: Floats, novel: Bools, threshold: float) -> Floats:
    """Return (n,) scores of a stream in which what is novel is a call, and else only what is clear.

    Parameters
    ----------
    scores
        (n,) in [0, 1], with the alarms of a stream (`alarms.announce`); NaN where there is none.
    novel
        (n,) which rows are novel.
    threshold
        Score from which a row is a call. Those without novelty keep their alarm where they come
        within a sixth of the way from it to 1; the others stay just below it, in order.
    """
    clear = 1.0 - (1.0 - threshold) * CLEAR
    kept = clear + (scores - clear) / 2.0
    below = np.minimum(scores, threshold * (1.0 - BESIDE * (1.0 - scores)))
    top = 1.0 - (1.0 - clear) / 2.0 * (1.0 - scores)
    return np.where(novel, top, np.where(scores >= clear, kept, below))


@dataclass(frozen=True, eq=False)
class Novel:
    """The readings of a series in streaming order, and which are novel.

    Attributes
    ----------
    values
        All (n,) readings, NaN where one is missing.
    first
        How many of them were learned from.
    calls
        (n - first,) which of the others are calls.
    """

    values: Floats
    first: int
    calls: Bools

    @classmethod
    def of(cls, values: Floats, first: int) -> Self:
        """Look at (n,) readings, the `first` ones of which are learned from."""
        known = np.where(np.isfinite(values), values, np.nan)
        if is_counter(known[:first][~np.isnan(known[:first])]):
            # A counter is somewhere for the first time with each reading.
            return cls(known, first, np.zeros(known.size - first, dtype=np.bool_))
        return cls(known, first, Novelty(known[:first]).look(known[first:]))

    def words(self, row: int) -> str:
        """Return in words why a reading is novel that is a call, by its place in `calls`."""
        place = self.first + row
        value, before = self.values[place], self.values[:place]
        low, high = np.nanmin(before), np.nanmax(before)
        if low <= value <= high:
            low, high = np.nanmax(before[before <= value]), np.nanmin(before[before >= value])
        return f"{as_given(value)}, {new_range(value, low, high)} before"


@compiled(error_model="numpy")
def _look(state: Any, values: Any, calls: Any) -> None:  # pragma: no cover
    """Fold readings into a state, and write which are calls."""
    bounds = np.empty(2)
    for i in range(values.size):
        calls[i] = visit(state, values[i], bounds)
