"""At which levels a version calls, and what it has seen, at the end of each day that it scored.

Belongs here: finding, reading and writing these files of the lake, one a day and version: each
version goes on from its own, so that a roll-back takes up where the version was. What a state is,
stands in ``ml.scoring.call_states``.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import polars as pl

from anomaly_platform.ingest.bucketing import bucket_of
from anomaly_platform.ml.scoring.call_states import SCHEMA, CallStates
from anomaly_platform.ml.times import microseconds_of
from anomaly_platform.storage.lake.run_states import KEPT

if TYPE_CHECKING:
    from anomaly_platform.storage.lake.lake import Lake
    from anomaly_platform.storage.tables.partitions import Partition, Partitions

_SCHEMA: Final = pl.Schema({"bucket": pl.UInt8(), **SCHEMA})


def stage_of(version: int | None) -> str:
    """Return the stage of a version's files; None is the fallback without one."""
    return f"call_states.{version or 0}"


@dataclass(frozen=True, slots=True)
class CallStateFiles:
    """The files of one version of a stream; None is the fallback without one."""

    lake: Lake
    partitions: Partitions
    stream: str
    version: int | None

    def before(self, day: str) -> Partition | None:
        """Return the newest file of a day before `day`, ``YYYY-MM-DD``, if there is one."""
        last = (dt.date.fromisoformat(day) - dt.timedelta(days=1)).isoformat()
        found = self.partitions.between(self.stream, stage_of(self.version), "0001", last)
        return next(iter(found[-1:]), None)

    def newest(self) -> Partition | None:
        """Return the file of the last day that the version scored, if there is one."""
        return self.partitions.newest(self.stream, stage_of(self.version))

    def read(self, file: Partition | None) -> CallStates:
        """Return the states of a file."""
        return CallStates() if file is None else CallStates.of_table(self.lake.read(file.path))

    def keep(
        self, day: str, states: CallStates, *, before: Partition | None, watermark: int
    ) -> None:
        """Make these the states that a day leaves; raises `StaleInput`."""
        midnight = dt.datetime.combine(dt.date.fromisoformat(day), dt.time(), dt.UTC)
        table = states.table(microseconds_of(midnight - KEPT))
        rows = table.select(bucket_of(table["entity"]).alias("bucket"), *SCHEMA)
        ordered = rows.cast({"bucket": pl.UInt8}).sort("bucket", "entity", "metric")
        stage = stage_of(self.version)
        written = self.lake.write(stage, self.stream, day, [ordered], schema=_SCHEMA)
        self.partitions.publish(
            *(self.stream, stage, day),
            path=written.path,
            rows=written.rows,
            watermark=watermark,
            stats={"before": "" if before is None else before.path},
        )
