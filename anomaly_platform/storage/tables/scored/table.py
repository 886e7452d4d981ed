"""What a table of scored rows is: its columns, its key, and what a frame of its rows must have."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import polars as pl

from anomaly_platform.storage.postgres.copying import PgType, polars_schema

_SET_HERE: Final = ("stream", "day", "detector", "bundle_version")


@dataclass(frozen=True, slots=True)
class ScoredTable:
    """A table of scored rows.

    Attributes
    ----------
    name : str
        Of the partitioned table.
    columns : mapping of str to PgType
        All its columns in the order of the result of ``ScoredRows.read_day``.
    key : tuple of str
        The natural key of a row within its stream.
    optional : tuple of str
        Columns that a frame may lack; null then.
    detections : str
        The statement that copies a day's flagged rows to ``anomaly_detections``.
    """

    name: str
    columns: Mapping[str, PgType]
    key: tuple[str, ...]
    optional: tuple[str, ...]
    detections: str

    @property
    def schema(self) -> pl.Schema:
        """The columns that a frame of scored rows brings."""
        return polars_schema(self.columns, without=(*_SET_HERE, *self.optional))

    @property
    def lake_schema(self) -> pl.Schema:
        """The columns of a scored day's file in the lake, but for the bucket."""
        return polars_schema(self.columns, without=_SET_HERE)

    def completed(
        self, chunk: pl.DataFrame, stream: str, day: dt.date, *, detector: str, version: int | None
    ) -> pl.DataFrame:
        """Return a frame with every column of the table.

        Raises
        ------
        ValueError
            When it lacks a column, or holds event times of other days.
        """
        missing = [name for name in self.schema if name not in chunk.columns]
        if missing:
            raise ValueError(f"scored rows of {stream} {day} lack the columns {', '.join(missing)}")
        if chunk.height and not chunk.select((pl.col("event_time").dt.date() == day).all()).item():
            raise ValueError(f"scored rows of {stream} {day} hold event times of other days")
        return chunk.with_columns(
            *(pl.lit(None).alias(name) for name in self.optional if name not in chunk.columns),
            pl.lit(stream).alias("stream"),
            pl.lit(day).alias("day"),
            pl.lit(detector).alias("detector"),
            pl.lit(version, pl.Int32).alias("bundle_version"),
        )
