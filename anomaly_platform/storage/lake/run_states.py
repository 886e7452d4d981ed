"""How the runs of a stream's series stood at the end of each scored day: a file of the lake a day.

Belongs here: finding, reading and writing these files. What a state is, stands in
``ml.series_runs``.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import polars as pl

from anomaly_platform.ingest.bucketing import bucket, bucket_of
from anomaly_platform.ml.series_runs.run_states import SCHEMA, Key, RunStates
from anomaly_platform.ml.times import microseconds_of

if TYPE_CHECKING:
    from anomaly_platform.storage.lake.lake import Lake
    from anomaly_platform.storage.tables.partitions import Partition, Partitions

STAGE: Final = "run_states"
KEPT: Final = dt.timedelta(days=60)
"""How long a series may be silent before its state is forgotten."""
_SCHEMA: Final = pl.Schema({"bucket": pl.UInt8(), **SCHEMA})


@dataclass(frozen=True, slots=True)
class RunStateFiles:
    """The files of all streams."""

    lake: Lake
    partitions: Partitions

    def before(self, stream: str, day: str) -> Partition | None:
        """Return the newest file of a day before `day`, ``YYYY-MM-DD``, if there is one."""
        last = (dt.date.fromisoformat(day) - dt.timedelta(days=1)).isoformat()
        return next(iter(self.partitions.between(stream, STAGE, "0001", last)[-1:]), None)

    def read(self, file: Partition | None, keys: Sequence[Key] | None = None) -> RunStates:
        """Return the states of a file, of these series only where they are given."""
        if file is None or (keys is not None and not keys):
            return RunStates()
        if keys is None:
            return RunStates.of_table(self.lake.read(file.path))
        buckets = [bucket(entity) for entity, _ in keys]
        rows = self.lake.read(file.path, between={"bucket": (min(buckets), max(buckets))})
        wanted = pl.DataFrame(
            list(keys), schema={"entity": pl.String, "metric": pl.String}, orient="row"
        )
        return RunStates.of_table(rows.join(wanted, on=["entity", "metric"], how="semi"))

    def keep(
        self, stream: str, day: str, states: RunStates, *, before: Partition | None, watermark: int
    ) -> None:
        """Make these the states that a day leaves; raises `StaleInput`."""
        midnight = dt.datetime.combine(dt.date.fromisoformat(day), dt.time(), dt.UTC)
        table = states.table(microseconds_of(midnight - KEPT))
        rows = table.select(bucket_of(table["entity"]).alias("bucket"), *SCHEMA)
        ordered = rows.cast({"bucket": pl.UInt8}).sort("bucket", "entity", "metric")
        written = self.lake.write(STAGE, stream, day, [ordered], schema=_SCHEMA)
        self.partitions.publish(
            stream,
            STAGE,
            day,
            path=written.path,
            rows=written.rows,
            watermark=watermark,
            stats={"before": "" if before is None else before.path},
        )
