"""Parquet: from a file to batches of text columns.

Here belongs the reading of Parquet and the exact conversion of its types to text: timestamps to
ISO 8601 with all their digits, decimals digit by digit, single-precision numbers to the number that
they are in double precision, nested values to JSON.
"""

import json
from collections.abc import Iterator
from typing import IO, Any, Final

import polars as pl

from anomaly_platform.ingest.batches import RawBatch, column_names
from anomaly_platform.ingest.rejects import no_rejects, row_rejects
from anomaly_platform.ingest.sources import ReadLimits, UnreadableFile

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
    frame = pl.DataFrame(pl.from_arrow(table))
    texts = frame.select(_as_text(series) for series in frame)
    numbers = pl.int_range(done + 1, done + 1 + frame.height, dtype=pl.Int64, eager=True)
    lost = pl.DataFrame(
        [frame[name].is_not_null() & texts[name].is_null() for name in frame.columns]
    )
    foul = texts.select(pl.all().str.contains("\0", literal=True).fill_null(value=False))
    bad = (
        lost.select(pl.any_horizontal(pl.all())).to_series()
        | foul.select(pl.any_horizontal(pl.all())).to_series()
    )
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
    return RawBatch(texts, numbers.alias("row_number"), rejects)


def _as_text(series: pl.Series) -> pl.Series:
    kind = series.dtype
    if kind == pl.String:
        return series.set(series == "", None) if (series == "").any() else series
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
        return pl.Series(
            series.name,
            [None if v is None else json.dumps(_plain(v), default=str) for v in series.to_list()],
            dtype=pl.String,
        )
    return series.cast(pl.String, strict=False)


def _plain(value: Any) -> Any:
    """Turn Arrow's representation of a map (a list of key and value) into an object."""
    if isinstance(value, list) and all(
        isinstance(entry, dict) and entry.keys() == {"key", "value"} for entry in value
    ):
        return {str(entry["key"]): entry["value"] for entry in value}
    return value


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
