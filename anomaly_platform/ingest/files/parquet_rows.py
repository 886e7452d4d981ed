"""Parquet: from a file to batches of text columns.

Here belongs the reading of Parquet and the exact conversion of its types to text: timestamps to
ISO 8601 with all their digits, decimals digit by digit, single-precision numbers to the number that
they are in double precision, nested values to JSON.
"""

import json
from collections.abc import Iterator
from typing import IO, Any, Final

import polars as pl

from anomaly_platform.ingest.files.batches import MAX_CELLS, RawBatch, column_names
from anomaly_platform.ingest.files.limits import (
    ReadLimits,
    UnreadableFile,
    too_large,
    too_long_cell,
    too_many_columns,
    too_many_rows,
)
from anomaly_platform.ingest.files.parquet_pages import (
    DECODED_AT_ONCE,
    bytes_of_row,
    refuse_long_footer,
)
from anomaly_platform.ingest.rejects import no_rejects, row_rejects

#: Of each column, while its pages are read.
_BUFFER: Final = 1 << 16
#: More values than these of lists and structs are not turned into JSON at once.
_LISTED_AT_ONCE: Final = 1_000_000


def read_parquet(stream: IO[bytes], limits: ReadLimits, batch_rows: int) -> Iterator[RawBatch]:
    """Yield the rows of a Parquet file.

    So many rows are decoded at once as surely fit into memory (`parquet_pages`).

    Parameters
    ----------
    stream
        The file, able to seek.
    limits
        Bounds on rows, columns, cells and the size of what is decoded.
    batch_rows
        The most rows of a batch; fewer where there are many columns.

    Raises
    ------
    UnreadableFile
        When footer or pages are damaged or encrypted, the column names cannot be used, or a limit
        is passed.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        refuse_long_footer(stream)
        stream.seek(0)
        file = pq.ParquetFile(stream, buffer_size=_BUFFER)
        names = column_names(file.schema_arrow.names, limits)
        _refuse_by_footer(file.metadata, limits)
        row_bytes = bytes_of_row(stream, file.metadata, limits)
        rows = max(1, min(batch_rows, MAX_CELLS // max(len(names), 1)))
        at_once = max(1, min(rows, DECODED_AT_ONCE // max(row_bytes, 1)))
        done = decoded = 0
        for table in _gathered(file.iter_batches(batch_size=at_once), rows):
            decoded += table.nbytes
            if decoded > limits.max_bytes:
                raise too_large(limits)
            for piece in _pieces(table.rename_columns(names), limits):
                yield _batch(piece, done)
                done += piece.num_rows
    except (
        *(pa.ArrowException, OSError, ValueError),
        *(pl.exceptions.PolarsError, pl.exceptions.PanicException),
    ) as error:
        what = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        hint = "encrypted" if "ncrypt" in what or "decrypt" in what else "damaged or incomplete"
        raise UnreadableFile(f"the Parquet file is {hint} ({what})") from error
    if done == 0:
        yield RawBatch(
            pl.DataFrame(schema=dict.fromkeys(names, pl.String)),
            pl.Series("row_number", [], dtype=pl.Int64),
        )


def _refuse_by_footer(metadata: Any, limits: ReadLimits) -> None:
    """Refuse what the footer says is too much."""
    if metadata.num_rows > limits.max_rows:
        raise too_many_rows(limits)
    if metadata.num_columns > limits.max_columns:  # those inside structs count
        raise too_many_columns(metadata.num_columns, limits)


def _gathered(batches: Iterator[Any], rows: int) -> Iterator[Any]:
    """Join small batches to tables of about so many rows, or as many bytes as are decoded at once.

    How few rows are safe to decode is a bound; most files have far less in them.
    """
    held: list[Any] = []
    height = size = 0
    for encoded in batches:
        batch = _decoded(encoded)
        if held and (height + batch.num_rows > rows or size + batch.nbytes > DECODED_AT_ONCE):
            yield _together(held)
            held, height, size = [], 0, 0
        held.append(batch)
        height += batch.num_rows
        size += batch.nbytes
    if held:
        yield _together(held)


def _together(batches: list[Any]) -> Any:
    """Join batches; where a text of one goes on as bytes, those of the others do, too."""
    import pyarrow as pa

    return pa.concat_tables(
        [pa.Table.from_batches([one]) for one in batches], promote_options="permissive"
    )


def _decoded(batch: Any) -> Any:
    """Write dictionaries out that the reader keeps: what they take is seen only then.

    A damaged file can hold arrays that are none, and texts that are no UTF-8, which Polars takes on
    trust. Such texts go on as bytes, so that only their rows are refused.
    """
    import pyarrow as pa

    plain = pa.schema([field.with_type(_plain(field.type)) for field in batch.schema])
    if not plain.equals(batch.schema):
        batch = batch.cast(plain)
    for place, field in enumerate(batch.schema):
        try:
            batch.column(place).validate(full=True)
        except pa.ArrowInvalid:
            batch.column(place).validate()
            if not (pa.types.is_string(field.type) or pa.types.is_large_string(field.type)):
                raise
            texts = batch.column(place).cast(pa.large_binary())
            batch = batch.set_column(place, field.name, texts)
    return batch


def _plain(kind: Any) -> Any:
    """Return an Arrow type without dictionaries in it."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return kind.value_type
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_plain(field.type)) for field in kind.fields])
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_plain(kind.value_type)))
    if pa.types.is_large_list(kind):
        return pa.large_list(kind.value_field.with_type(_plain(kind.value_type)))
    return kind


def _pieces(table: Any, limits: ReadLimits) -> Iterator[Any]:
    """Split a table so that few values of its lists and structs are turned into JSON at once.

    A value takes two characters of JSON at least: a cell of too many is refused unseen.
    """
    import pyarrow as pa

    nested = [place for place, field in enumerate(table.schema) if pa.types.is_nested(field.type)]
    counts = {place: sum(map(_values, table.column(place).chunks)) for place in nested}
    if sum(counts.values()) <= _LISTED_AT_ONCE or table.num_rows == 0:
        yield table
    elif table.num_rows == 1:
        for place, count in counts.items():
            if 2 * count > limits.max_cell_bytes:
                raise too_long_cell(table.column_names[place], limits)
        yield table
    else:
        half = table.num_rows // 2
        yield from _pieces(table.slice(0, half), limits)
        yield from _pieces(table.slice(half), limits)


def _values(array: Any) -> int:
    """Return how many values there are inside of lists and structs."""
    import pyarrow as pa

    kind = array.type
    if pa.types.is_struct(kind):
        return len(array) + sum(map(_values, array.flatten()))
    if pa.types.is_fixed_size_list(kind):
        return len(array) + _values(array.flatten())
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_map(kind):
        if not len(array):
            return 0
        first, last = array.offsets[0].as_py(), array.offsets[-1].as_py()
        return len(array) + _values(array.values.slice(first, last - first))
    return len(array)


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
