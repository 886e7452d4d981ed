"""Parquet: from a file to batches of text columns.

Here belongs the reading of Parquet and the exact conversion of its types to text: timestamps to
ISO 8601 with all their digits, decimals digit by digit, single-precision numbers to the number that
they are in double precision, nested values to JSON.
"""

import json
from collections.abc import Iterator
from typing import IO, Any, Final

import polars as pl

from anomaly_platform.ingest.files.batches import RawBatch, column_names
from anomaly_platform.ingest.files.sources import ReadLimits, UnreadableFile
from anomaly_platform.ingest.rejects import no_rejects, row_rejects

_MAX_CELLS: Final = 4_000_000


def read_parquet(stream: IO[bytes], limits: ReadLimits, batch_rows: int) -> Iterator[RawBatch]:
    """Yield the rows of a Parquet file.

    Parameters
    ----------
    stream
        The file, able to seek.
    limits
        Bounds on the number of columns and on the size of a row group.
    batch_rows
        The most rows of a batch; fewer where there are many columns.

    Raises
    ------
    UnreadableFile
        When footer or pages are damaged or encrypted, or the column names cannot be used.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    stream.seek(0)
    try:
        file = pq.ParquetFile(stream)
        names = column_names(file.schema_arrow.names, limits)
        rows = max(1, min(batch_rows, _MAX_CELLS // max(len(names), 1)))
        done = 0
        for batch in file.iter_batches(batch_size=rows):
            arrow = pa.Table.from_batches([batch]).rename_columns(names)
            yield _batch(arrow, done)
            done += batch.num_rows
    except (pa.ArrowException, OSError, ValueError) as error:
        what = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        hint = "encrypted" if "ncrypt" in what or "decrypt" in what else "damaged or incomplete"
        raise UnreadableFile(f"the Parquet file is {hint} ({what})") from error
    if done == 0:
        yield RawBatch(
            pl.DataFrame(schema=dict.fromkeys(names, pl.String)),
            pl.Series("row_number", [], dtype=pl.Int64),
        )


def _batch(table: Any, done: int) -> RawBatch:
    frame = pl.DataFrame(pl.from_arrow(_maps_as_json(table)))
    texts = pl.DataFrame([_as_text(series) for series in frame])
    numbers = pl.int_range(done + 1, done + 1 + frame.height, dtype=pl.Int64, eager=True)
    bad = pl.repeat(False, frame.height, dtype=pl.Boolean, eager=True)
    for before, text in zip(frame, texts, strict=True):
        if before.dtype == pl.Binary:
            bad |= before.is_not_null() & text.is_null()
        bad |= text.str.contains("\0", literal=True).fill_null(value=False)
    rejects = no_rejects()
    if bad.any():
        rejects = row_rejects(
            [
                (number, "the row has characters that are not text (NUL, or bytes)", str(row))
                for number, row in zip(
                    numbers.filter(bad), frame.filter(bad).iter_rows(), strict=True
                )
            ]
        )
        texts, numbers = texts.filter(~bad), numbers.filter(~bad)
    empty = pl.all() == ""
    every = pl.repeat(True, texts.height, dtype=pl.Boolean, eager=True)
    return RawBatch(
        texts.select(pl.when(~empty).then(pl.all())),
        numbers.alias("row_number"),
        rejects,
        numbers={one.name: every for one in frame if one.dtype.is_numeric()},
    )


def _maps_as_json(table: Any) -> Any:
    """Replace columns of Arrow's map type by the JSON text of the object that they are."""
    import pyarrow as pa

    for place, field in enumerate(table.schema):
        if pa.types.is_map(field.type):
            values = table.column(place).to_pylist()
            texts = [None if v is None else json.dumps(dict(v), default=str) for v in values]
            table = table.set_column(place, field.name, pa.array(texts, type=pa.string()))
    return table


def _as_text(series: pl.Series) -> pl.Series:
    kind = series.dtype
    if kind == pl.Float32:
        return series.cast(pl.Float64).cast(pl.String)
    if isinstance(kind, pl.Datetime):
        digits = {"ms": "%.3f", "us": "%.6f", "ns": "%.9f"}[kind.time_unit]
        zone = "" if kind.time_zone is None else "Z"
        utc = series if kind.time_zone is None else series.dt.convert_time_zone("UTC")
        return utc.dt.strftime(f"%Y-%m-%dT%H:%M:%S{digits}{zone}")
    if kind == pl.Binary:
        return _utf8(series)
    if kind.is_nested() or kind == pl.Object:
        texts = [None if v is None else json.dumps(v, default=str) for v in series.to_list()]
        return pl.Series(series.name, texts, dtype=pl.String)
    return series.cast(pl.String, strict=False)


def _utf8(series: pl.Series) -> pl.Series:
    """Decode bytes that are text; others become null, and their rows are refused."""

    def decode(value: bytes | None) -> str | None:
        if value is None:
            return None
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return None

    return pl.Series(series.name, [decode(value) for value in series.to_list()], dtype=pl.String)
