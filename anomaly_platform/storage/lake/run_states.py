"""How the runs of a stream's series stood at the end of each scored day.

What a state is, stands in ``ml.series_runs``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from anomaly_platform.ml.series_runs.run_states import SCHEMA, RunStates
from anomaly_platform.storage.lake.day_states import DayStates

if TYPE_CHECKING:
    from anomaly_platform.storage.lake.lake import Lake
    from anomaly_platform.storage.tables.partitions import Partitions

STAGE: Final = "run_states"


def run_state_files(lake: Lake, partitions: Partitions, stream: str) -> DayStates[RunStates]:
    """Return the files of a stream."""
    return DayStates(lake, partitions, stream, STAGE, RunStates, SCHEMA)
