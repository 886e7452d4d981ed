"""How the rows of a kind of stream look, raw, validated and scored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Final, Protocol

import polars as pl

from anomaly_platform.kinds.training import Key

if TYPE_CHECKING:
    import pandera.polars as pa

    from anomaly_platform.ingest.layout.context import LayoutContext
    from anomaly_platform.ingest.layout.row_reader import RowReader
    from anomaly_platform.ingest.validation.day import ValidatedDay

DTYPES: Final[Mapping[str, pl.DataType]] = {
    "f64": pl.Float64(),
    "f32": pl.Float32(),
    "i8": pl.Int8(),
    "i16": pl.Int16(),
    "bool": pl.Boolean(),
    "str": pl.String(),
    "date": pl.Date(),
    "list[str]": pl.List(pl.String()),
}
"""The types of feature columns, as feature sets name them."""

Columns = Mapping[str, tuple[str, str]]
"""Type and meaning of each column, for people."""


class _Validate(Protocol):
    def __call__(
        self,
        rows: pl.DataFrame,
        day: date,
        *,
        start: datetime,
        now: datetime,
        future_allowance: timedelta,
    ) -> ValidatedDay: ...


@dataclass(frozen=True, slots=True)
class RowFormat:
    """How the rows of a kind of stream are read, validated and counted.

    Attributes
    ----------
    reader : RowReader
        What the columns of a file mean, and its raw rows in batches.
    fields : mapping of str to sequence of str
        Known column names per canonical field.
    validate
        From the raw rows of a day to its valid ones.
    schema : callable
        Returns the pandera schema of validated rows, which takes a second to import.
    key : sequence of str
        The natural key of a validated row.
    series : (entity, metric) or None
        What all rows train as; None where each row names its series.
    raw_columns, columns : mapping of str to (type, description)
        For people.
    from_online
        From readings that the service took one by one to raw rows; None where it takes none.
    """

    reader: RowReader
    fields: Mapping[str, Sequence[str]]
    validate: _Validate
    schema: Callable[[], pa.DataFrameSchema]
    key: Sequence[str]
    raw_columns: Columns
    columns: Columns
    series: Key | None = None
    from_online: Callable[[pl.DataFrame], pl.DataFrame] | None = None

    def judged(self, rows: pl.DataFrame, context: LayoutContext) -> Iterator[ValidatedDay]:
        """Validate raw rows of one file by themselves, a day after the other."""
        of_file = rows.with_columns(batch_seq=pl.lit(0, pl.Int64))
        for (day,), of_day in of_file.group_by("event_date", maintain_order=True):
            yield self.validate(
                of_day,
                day,
                start=context.start,
                now=context.now,
                future_allowance=context.future_allowance,
            )

    def extents(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return a row per series of validated rows: how many they are, and from when to when."""
        if self.series is not None:
            entity, metric = self.series
            frame = frame.with_columns(entity=pl.lit(entity), metric=pl.lit(metric))
        return frame.group_by("entity", "metric", maintain_order=True).agg(
            rows=pl.len(),
            first_event=pl.col("event_time").min(),
            last_event=pl.col("event_time").max(),
        )


@dataclass(frozen=True, slots=True)
class ScoredFormat:
    """How the scored rows of a kind of stream look.

    Attributes
    ----------
    schema : polars.Schema
        Of a scored day in the lake.
    columns : mapping of str to (type, description)
        For people.
    key : tuple of str
        Columns by which people's labels name a row.
    score, top : str, float
        The column that decides, and the highest value it takes.
    picture, title : str
        What its histogram is called where it is shown, and its heading.
    threshold : float or None
        Share of `top` that decides; None where it is the stream's threshold.
    version, unversioned : str
        What the version that scored is called where it is shown, and what stands there without.
    """

    schema: pl.Schema
    columns: Columns
    key: tuple[str, ...]
    score: str
    top: float
    picture: str
    title: str
    threshold: float | None
    version: str
    unversioned: str


def judged_by(scored: pl.DataFrame, detectors: Iterable[str]) -> dict[str, int]:
    """Return how many rows each detector gave a score."""
    return {name: scored[f"{name}_score"].count() for name in detectors}
