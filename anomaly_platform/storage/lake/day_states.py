"""States of series that a scored day leaves to the next: a file of the lake a day.

Belongs here: finding, reading and writing these files. Which states there are, stands in
``run_states`` and ``call_states``.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Generic, Protocol, Self, TypeVar

import polars as pl

from anomaly_platform.ingest.bucketing import bucket, bucket_of
from anomaly_platform.ml.times import microseconds_of

if TYPE_CHECKING:
    from anomaly_platform.storage.lake.lake import Lake
    from anomaly_platform.storage.postgres.transactions import Connection
    from anomaly_platform.storage.tables.partitions import Partition, Partitions

_KEPT: Final = dt.timedelta(days=60)
"""How long a series may be silent before its state is forgotten."""


class States(Protocol):
    """What such a file holds; made without arguments, nothing is known of any series."""

    def __init__(self) -> None: ...

    def table(self, since: int) -> pl.DataFrame:
        """Return the states by series, without those last heard before `since` (microseconds)."""

    @classmethod
    def of_table(cls, table: pl.DataFrame) -> Self:
        """Return the states that `table` gave."""


_Kind = TypeVar("_Kind", bound=States)


@dataclass(frozen=True, slots=True)
class DayStates(Generic[_Kind]):
    """The files of one stage of a stream.

    Attributes
    ----------
    kind, schema
        What a file holds, and the columns of its table: entity, metric, and the rest.
    """

    lake: Lake
    partitions: Partitions
    stream: str
    stage: str
    kind: type[_Kind]
    schema: pl.Schema

    def before(self, day: str) -> Partition | None:
        """Return the newest file of a day before `day`, ``YYYY-MM-DD``, if there is one."""
        return self.partitions.newest(self.stream, self.stage, before=day)

    def newest(self) -> Partition | None:
        """Return the file of the last day that was scored, if there is one."""
        return self.partitions.newest(self.stream, self.stage)

    def read(self, file: Partition | None, keys: Sequence[tuple[str, str]] | None = None) -> _Kind:
        """Return the states of a file, of these series only where they are given."""
        if file is None or (keys is not None and not keys):
            return self.kind()
        if keys is None:
            return self.kind.of_table(self.lake.read(file.path))
        buckets = [bucket(entity) for entity, _ in keys]
        rows = self.lake.read(file.path, between={"bucket": (min(buckets), max(buckets))})
        wanted = pl.DataFrame(
            list(keys), schema={"entity": pl.String, "metric": pl.String}, orient="row"
        )
        return self.kind.of_table(rows.join(wanted, on=["entity", "metric"], how="semi"))

    def write(
        self, day: str, states: _Kind, *, before: Partition | None, watermark: int
    ) -> Callable[[Connection], None]:
        """Write the file of the states that a day leaves.

        Returns
        -------
        callable
            Makes it the current one within a transaction; raises `StaleInput`.
        """
        midnight = dt.datetime.combine(dt.date.fromisoformat(day), dt.time(), dt.UTC)
        table = states.table(microseconds_of(midnight - _KEPT))
        rows = table.select(bucket_of(table["entity"]).alias("bucket"), *self.schema)
        ordered = rows.cast({"bucket": pl.UInt8}).sort("bucket", "entity", "metric")
        schema = pl.Schema({"bucket": pl.UInt8(), **self.schema})
        written = self.lake.write(self.stage, self.stream, day, [ordered], schema=schema)
        return lambda connection: self.partitions.publish(
            *(self.stream, self.stage, day),
            path=written.path,
            rows=written.rows,
            watermark=watermark,
            stats={"before": "" if before is None else before.path},
            within=connection,
        )
