"""At which levels series and hosts call, and which ranges series have visited, between two days.

What belongs here: holding the states by series, and their table. Where that is kept, and for which
version in service, is not decided here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

import numpy as np
import polars as pl

from anomaly_platform.ml.arrays import Floats
from anomaly_platform.ml.series_tables import Key, numbers_of, schema_of, table_of

SCHEMA = schema_of("numbers")
#: Numbers of a series' state: the level, the newest row's time; then the ranges visited.
LEVEL, LAST, VISITED = range(3)
#: What stands for a metric in the row of a host.
_HOST: Final = ""


class CallStates:
    """States of series and levels of hosts; one that nothing is known of has no past.

    Parameters
    ----------
    series
        By entity and metric, (`calls.CALL_SIZE`,) each.
    hosts
        By entity, the level at which it calls.
    """

    def __init__(
        self,
        series: Mapping[Key, Floats] | None = None,
        hosts: Mapping[str, float] | None = None,
    ) -> None:
        self.series: dict[Key, Floats] = dict(series or {})
        self.hosts: dict[str, float] = dict(hosts or {})

    def with_anew(self, anew: Collection[Key], own: CallStates) -> CallStates:
        """Return these states, but those in `own` of series that began anew and of their hosts."""
        hosts = {entity for entity, _ in anew}
        return CallStates(
            {key: state for key, state in self.series.items() if key not in anew}
            | {key: state for key, state in own.series.items() if key in anew},
            {entity: level for entity, level in self.hosts.items() if entity not in hosts}
            | {entity: level for entity, level in own.hosts.items() if entity in hosts},
        )

    def table(self, since: int) -> pl.DataFrame:
        """Return the states by series, without those last heard before `since` (microseconds)."""
        rows = {key: state for key, state in self.series.items() if state[LAST] >= since}
        heard = {entity for entity, _ in rows}
        rows |= {
            (one, _HOST): np.array([level]) for one, level in self.hosts.items() if one in heard
        }
        return table_of(numbers=rows)

    @classmethod
    def of_table(cls, table: pl.DataFrame) -> CallStates:
        """Return the states that `table` gave."""
        found = cls()
        for (entity, metric), numbers in numbers_of(table, "numbers").items():
            if metric == _HOST:
                found.hosts[entity] = float(numbers[0])
            else:
                found.series[entity, metric] = numbers
        return found
