"""Copies frames into PostgreSQL by COPY, as fast as the server takes them.

Belongs here: the two encodings of COPY (binary for what is large, CSV for what is varied) and
nothing about any particular table.

Binary saves the server the parsing of every number and time, which is half of its work. Rows are
encoded without a loop over them: those that agree in the lengths of their texts and in which
values are null have the same layout, and are filled column by column into one structured array.
Rows of rare layouts, such as flagged readings with their sentences, go as CSV.
"""

import contextlib
import datetime as dt
import io
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
from psycopg import Connection, Cursor, sql

from anomaly_platform.ml.threads import ahead

PgType = Literal[
    "bool", "int4", "int8", "float8", "date", "timestamptz", "uuid", "text", "json", "jsonb"
]

_FIXED: Final[Mapping[str, str]] = {
    "bool": "u1",
    "int4": ">i4",
    "int8": ">i8",
    "float8": ">f8",
    "date": ">i4",
    "timestamptz": ">i8",
}
_CAST_TO: Final[Mapping[PgType, Any]] = {
    "bool": pl.Boolean,
    "int4": pl.Int32,
    "int8": pl.Int64,
    "float8": pl.Float64,
    "date": pl.Date,
    "timestamptz": pl.Datetime("us", "UTC"),
}
INCOMING: Final = "incoming"
"""Temporary table of :func:`incoming`."""
_SIGNATURE: Final = b"PGCOPY\n\xff\r\n\x00" + b"\x00" * 8
_END: Final = b"\xff\xff"
_EPOCH_DAYS: Final = 10_957  # 2000-01-01, from which PostgreSQL counts
_EPOCH_US: Final = _EPOCH_DAYS * 86_400_000_000
_JSON_STEP: Final = 64
_ROWS_AT_ONCE: Final = 131_072
#: Rows from which a layout of its own costs less than CSV.
_ROWS_PER_LAYOUT: Final = 64
_UUID_BYTES: Final = 16
_UUID_TEXT: Final = 36
_HYPHENS: Final = [8, 13, 18, 23]
_DIGITS: Final = [place for place in range(_UUID_TEXT) if place not in _HYPHENS]
_LAYOUT: Final = "layout of the row"
_WRITE_BYTES: Final = 1 << 20


def polars_schema(types: Mapping[str, PgType], without: Collection[str] = ()) -> pl.Schema:
    """Return the frame's columns of a table's; JSON and ``uuid`` are text."""
    kept = {name: kind for name, kind in types.items() if name not in without}
    return pl.Schema({name: _CAST_TO.get(kind, pl.String) for name, kind in kept.items()})


@contextlib.contextmanager
def incoming(
    connection: Connection[Any], frame: pl.DataFrame, types: Mapping[str, PgType]
) -> Iterator[None]:
    """Hold a frame's rows in the temporary table ``incoming`` for as long as the block lasts.

    Parameters
    ----------
    connection, frame, types
        As :func:`copy_frame` takes them.
    """
    columns = (
        sql.SQL("{} {}").format(sql.Identifier(name), sql.Identifier(kind))
        for name, kind in types.items()
    )
    connection.execute(
        sql.SQL("CREATE TEMPORARY TABLE {} ({}) ON COMMIT DROP").format(
            sql.Identifier(INCOMING), sql.SQL(", ").join(columns)
        )
    )
    with connection.cursor() as cursor:
        copy_frame(cursor, INCOMING, frame, types)
    yield
    connection.execute("DROP TABLE incoming")


def copy_frame(
    cursor: Cursor[Any], table: str, frame: pl.DataFrame, types: Mapping[str, PgType]
) -> int:
    """Append a frame's rows to a table, some encoded while the server takes those before them.

    Parameters
    ----------
    cursor : psycopg.Cursor
        Within the caller's transaction.
    table : str
        Name of the table.
    frame : polars.DataFrame
        With a column for every key of `types`; others are ignored. Times are UTC, ``uuid`` and
        ``json`` columns are text.
    types : mapping of str to PgType
        Type of each column in the table, which the frame's values are cast to.

    Returns
    -------
    int
        Number of rows.
    """
    for encoded in ahead(_encoded(frame, types)):
        statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT {})").format(
            sql.Identifier(table),
            sql.SQL(", ").join(sql.Identifier(name) for name in types),
            sql.SQL("binary" if encoded.binary else "csv"),
        )
        with cursor.copy(statement) as copy:
            for piece in encoded.pieces:
                for start in range(0, len(piece), _WRITE_BYTES):
                    copy.write(piece[start : start + _WRITE_BYTES])
    return frame.height


class _Encoded(NamedTuple):
    """Some rows as COPY takes them."""

    binary: bool
    pieces: list[memoryview]


def _encoded(frame: pl.DataFrame, types: Mapping[str, PgType]) -> Iterator[_Encoded]:
    for chunk in frame.select(types.keys()).iter_slices(_ROWS_AT_ONCE):
        rows = _cast(chunk, types)
        layouts = _layouts(rows, types)
        common = _are_common(layouts)
        if common.any():
            parts = rows.with_columns(layouts).filter(common).partition_by(layouts.name)
            pieces = [_rows_of_one_layout(part, types) for part in parts]
            yield _Encoded(True, [memoryview(_SIGNATURE), *pieces, memoryview(_END)])
        if not common.all():
            yield _Encoded(False, [_csv(rows.filter(~common))])


def read_day(
    connection: Connection[Any],
    table: str,
    types: Mapping[str, PgType],
    stream: str,
    day: dt.date,
    order: Iterable[str],
) -> pl.DataFrame:
    """Return these columns of a stream's day in a table, sorted."""
    columns = (
        sql.SQL("{}::text" if kind in ("uuid", "json", "jsonb") else "{}").format(
            sql.Identifier(name)
        )
        for name, kind in types.items()
    )
    statement = sql.SQL("SELECT {} FROM {} WHERE stream = %s AND day = %s ORDER BY {}").format(
        sql.SQL(", ").join(columns),
        sql.Identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, order)),
    )
    rows = connection.execute(statement, (stream, day)).fetchall()
    return pl.DataFrame(rows, schema=polars_schema(types), orient="row")


def _are_common(layouts: pl.Series) -> pl.Series:
    """Return whether enough rows share the layout of each for the binary encoding to be faster."""
    return layouts.to_frame().select(pl.len().over(layouts.name) >= _ROWS_PER_LAYOUT).to_series()


def _cast(frame: pl.DataFrame, types: Mapping[str, PgType]) -> pl.DataFrame:
    """Return the columns as what PostgreSQL's types of that name are made from."""
    plain = frame.select(pl.col(name).cast(_CAST_TO.get(types[name], pl.String)) for name in types)
    # PostgreSQL's text cannot hold the character NUL; its picture can.
    texts = [name for name, kind in plain.schema.items() if kind == pl.String]
    texts = [name for name in texts if types[name] != "uuid"]
    found = plain.select(pl.col(texts).str.contains("\x00", literal=True).any())
    held = [name for name in texts if found[name].item()]
    return plain.with_columns(
        pl.col(held).str.replace_all("\x00", "\u2400", literal=True)
    ).with_columns(_in_few_layouts(name, kind) for name, kind in types.items())


def _in_few_layouts(name: str, kind: PgType) -> pl.Expr:
    text = pl.col(name)
    if kind in ("json", "jsonb"):
        # White space after JSON means nothing; equal lengths mean fewer layouts.
        spaces = (-text.str.len_bytes().cast(pl.Int64)) % _JSON_STEP
        return pl.concat_str(text, pl.lit(" " * _JSON_STEP).str.slice(0, spaces)).alias(name)
    return text


def _csv(frame: pl.DataFrame) -> memoryview:
    """Encode as CSV: texts quoted, so that an empty one is not a null."""
    out = io.BytesIO()
    frame.write_csv(
        out,
        include_header=False,
        quote_style="non_numeric",
        datetime_format="%Y-%m-%d %H:%M:%S%.6f+00",
    )
    return out.getbuffer()


def _layouts(frame: pl.DataFrame, types: Mapping[str, PgType]) -> pl.Series:
    """Return a number per row, equal for rows of the same layout."""
    parts = []
    for name, kind in types.items():
        if kind in _FIXED:
            parts.append(pl.col(name).is_null().cast(pl.Int64))
        else:
            parts.append(pl.col(name).str.len_bytes().cast(pl.Int64).fill_null(-1))
    layouts = frame.lazy().select(part.alias(name) for part, name in zip(parts, types, strict=True))
    varied = [
        column
        for column in layouts.collect().iter_columns()
        if column.len() and column.min() != column.max()
    ]
    if not varied:
        return pl.zeros(frame.height, dtype=pl.UInt32, eager=True).alias(_LAYOUT)
    places = pl.struct(pl.all()).rank("dense").cast(pl.UInt32)
    return pl.DataFrame(varied).select(places.alias(_LAYOUT)).to_series()


def _rows_of_one_layout(frame: pl.DataFrame, types: Mapping[str, PgType]) -> memoryview:
    """Encode in PostgreSQL's binary format; what is equal in all rows is copied from a first."""
    fields: list[tuple[str, Any]] = [("columns", ">i2")]
    contents: dict[str, npt.NDArray[Any]] = {}
    equal: dict[str, int] = {"columns": len(types)}
    for number, (name, kind) in enumerate(types.items()):
        fields.append((f"length{number}", ">i4"))
        if frame[name][0] is None:
            equal[f"length{number}"] = -1
            continue
        content = _column(frame[name], kind)
        prefix = 1 if kind == "jsonb" else 0
        size = content.dtype.itemsize * (content.shape[1] if content.ndim == 2 else 1)
        equal[f"length{number}"] = prefix + size
        if prefix:
            fields.append((f"version{number}", "u1"))
            equal[f"version{number}"] = 1
        if size:
            shape = (content.shape[1],) if content.ndim == 2 else ()
            fields.append((f"value{number}", content.dtype, shape))  # type: ignore[arg-type]
            contents[f"value{number}"] = content
    first = np.empty(1, dtype=np.dtype(fields))
    for field, value in equal.items():
        first[field] = value
    rows = first.repeat(frame.height)
    for field, content in contents.items():
        rows[field] = content
    return rows.view(np.uint8).data.cast("B")


def _column(values: pl.Series, kind: PgType) -> npt.NDArray[Any]:
    """Return the values of one column without nulls as PostgreSQL's bytes."""
    if kind in _FIXED:
        if kind == "timestamptz":
            numbers = values.dt.epoch("us").to_numpy() - _EPOCH_US
        elif kind == "date":
            numbers = values.to_physical().to_numpy() - _EPOCH_DAYS
        else:
            numbers = values.to_numpy()
        return numbers.astype(_FIXED[kind])
    arrow = values.cast(pl.Binary).rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    offsets = np.frombuffer(arrow.buffers()[1], dtype=np.int64)
    first, last = int(offsets[arrow.offset]), int(offsets[arrow.offset + len(arrow)])
    if last == first:
        return np.empty((len(arrow), 0), dtype=np.uint8)
    texts = np.frombuffer(arrow.buffers()[2], dtype=np.uint8)[first:last].reshape(len(arrow), -1)
    return _uuids(texts) if kind == "uuid" else texts


def _uuids(texts: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return (n, 16) of (n, 36) or (n, 32) hexadecimal digits, with hyphens or without."""
    whole = True
    if texts.shape[1] == _UUID_TEXT:
        whole = bool((texts[:, _HYPHENS] == ord("-")).all())
        texts = texts[:, _DIGITS]
    digits = _HEX[texts]
    if not whole or digits.shape[1] != 2 * _UUID_BYTES or digits.max() > 15:
        raise ValueError("a text is no UUID")
    return digits[:, ::2] * np.uint8(16) + digits[:, 1::2]


def _hex_digits() -> npt.NDArray[np.uint8]:
    """Return (256,) the value of each character as a hexadecimal digit; 255 is none."""
    values = np.full(256, 255, dtype=np.uint8)
    for digits in (b"0123456789abcdef", b"0123456789ABCDEF"):
        values[list(digits)] = np.arange(16)
    return values


_HEX: Final = _hex_digits()
