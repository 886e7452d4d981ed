"""The states of many series' runs: what a day begins with, and what it leaves to the next.

What belongs here: holding them by series, and their table. Where that is kept is not decided here.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from anomaly_platform.ml.arrays import Floats, Ints
from anomaly_platform.ml.host_model.reach import REACH
from anomaly_platform.ml.series_runs.fold import fold, no_runs, state_of_today
from anomaly_platform.ml.series_runs.layout import LAST, STATE_SIZE
from anomaly_platform.ml.series_tables import Key, numbers_of, schema_of, table_of

SCHEMA = schema_of("numbers", "recent")


class RunStates:
    """States of series; one that nothing is known of begins without a past.

    Parameters
    ----------
    states
        By entity and metric, (`layout.STATE_SIZE`,) each.
    recent
        By entity and metric, (2, n) times and values of the newest readings, `REACH` at most.
    """

    def __init__(
        self,
        states: Mapping[Key, Floats] | None = None,
        recent: Mapping[Key, Floats] | None = None,
    ) -> None:
        self._states: dict[Key, Floats] = dict(states or {})
        self._recent: dict[Key, Floats] = dict(recent or {})

    def take(self, key: Key, times: Ints, values: Floats) -> Floats:
        """Fold readings of a series in, and return their run columns; see `fold.fold`."""
        state = self._states.get(key)
        state = no_runs() if state is None else state.copy()
        columns = fold(state, times, values)
        self._states[key] = state
        rows = np.concatenate((self.recent(key), (times, values)), axis=1)
        self._recent[key] = rows[:, -REACH:]
        return columns

    def of(self, key: Key) -> Floats:
        """Return a series' state."""
        found = self._states.get(key)
        return no_runs() if found is None else found

    def recent(self, key: Key) -> Floats:
        """Return (2, n) times and values of a series' newest readings, oldest first."""
        return self._recent.get(key, np.empty((2, 0)))

    def copy(self) -> RunStates:
        """Return these states, which folding further readings into the others leaves alone."""
        return RunStates(self._states, self._recent)

    def table(self, since: int) -> pl.DataFrame:
        """Return the states by series, without those last heard before `since` (microseconds)."""
        kept = {key: state for key, state in self._states.items() if state[LAST] >= since}
        return table_of(numbers=kept, recent={key: self.recent(key).ravel() for key in kept})

    @classmethod
    def of_table(cls, table: pl.DataFrame) -> RunStates:
        """Return the states that `table` gave, today or when a state was less."""
        states = {
            key: state if state.size == STATE_SIZE else state_of_today(state)
            for key, state in numbers_of(table, "numbers").items()
        }
        if "recent" not in table.columns:
            return cls(states)
        recent = numbers_of(table, "recent")
        return cls(states, {key: rows.reshape(2, -1) for key, rows in recent.items()})
