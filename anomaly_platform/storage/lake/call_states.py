"""At which levels a version calls, and what it has seen, at the end of each day that it scored.

Each version goes on from its own, so that a roll-back takes up where the version was. What a state
is, stands in ``ml.scoring.call_states``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from anomaly_platform.ml.scoring.call_states import SCHEMA, CallStates
from anomaly_platform.storage.lake.day_states import DayStates

if TYPE_CHECKING:
    from anomaly_platform.storage.lake.lake import Lake
    from anomaly_platform.storage.tables.partitions import Partitions


def stage_of(version: int | None) -> str:
    """Return the stage of a version's files; None is the fallback without one."""
    return f"call_states.{version or 0}"


def call_state_files(
    lake: Lake, partitions: Partitions, stream: str, version: int | None
) -> DayStates[CallStates]:
    """Return the files of one version of a stream; None is the fallback without one."""
    return DayStates(lake, partitions, stream, stage_of(version), CallStates, SCHEMA)
