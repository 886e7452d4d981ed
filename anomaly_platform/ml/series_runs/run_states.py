"""The states of many series' runs: what a day begins with, and what it leaves to the next.

What belongs here: holding them by series, and their table. Where that is kept is not decided here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import polars as pl

from anomaly_platform.ml.arrays import Floats, Ints
from anomaly_platform.ml.series_runs.fold import fold, no_runs
from anomaly_platform.ml.series_runs.layout import LAST

Key = tuple[str, str]

SCHEMA: Final = pl.Schema(
    {"entity": pl.String(), "metric": pl.String(), "numbers": pl.List(pl.Float64)}
)


class RunStates:
    """States of series; one that nothing is known of begins without a past.

    Parameters
    ----------
    states
        By entity and metric, (`layout.STATE_SIZE`,) each.
    """

    def __init__(self, states: Mapping[Key, Floats] | None = None) -> None:
        self._states: dict[Key, Floats] = dict(states or {})

    def take(self, key: Key, times: Ints, values: Floats) -> Floats:
        """Fold readings of a series in, and return their run columns; see `fold.fold`."""
        state = self._states.get(key)
        state = no_runs() if state is None else state.copy()
        columns = fold(state, times, values)
        self._states[key] = state
        return columns

    def of(self, key: Key) -> Floats:
        """Return a series' state."""
        found = self._states.get(key)
        return no_runs() if found is None else found

    def table(self, since: int) -> pl.DataFrame:
        """Return the states by series, without those last heard before `since` (microseconds)."""
        rows = [
            (*key, state.tolist())
            for key, state in sorted(self._states.items())
            if state[LAST] >= since
        ]
        return pl.DataFrame(rows, schema=SCHEMA, orient="row")

    @classmethod
    def of_table(cls, table: pl.DataFrame) -> RunStates:
        """Return the states that `table` gave."""
        rows = table.select("entity", "metric", "numbers").iter_rows()
        return cls({(entity, metric): np.array(numbers) for entity, metric, numbers in rows})
