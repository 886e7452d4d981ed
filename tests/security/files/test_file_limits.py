"""Each limit on files, in each format: one row, column or byte more than allowed is refused."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
from collections.abc import Callable
from dataclasses import replace

import hypothesis
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly_platform.ingest.files import parquet_rows
from anomaly_platform.ingest.files.limits import ReadLimits, UnreadableFile
from anomaly_platform.ingest.files.readers import read_raw

ROWS, COLUMNS, CELL = 50, 8, 2_000
LIMITS = ReadLimits(max_rows=ROWS, max_columns=COLUMNS, max_cell_bytes=CELL)


def table(rows: int = 3, columns: int = 3, cell: int = 4) -> pl.DataFrame:
    """Return a table of texts, the last one of which has a length."""
    frame = pl.DataFrame({f"c{number}": ["text"] * rows for number in range(columns)})
    return frame.with_columns(
        pl.Series(frame.columns[-1], ["text"] * (rows - 1) + ["é" * (cell // 2)])
    )


def csv(frame: pl.DataFrame) -> bytes:
    return frame.write_csv().encode()


def odd_csv(frame: pl.DataFrame) -> bytes:
    """The same with a quote that makes it be read line by line."""
    return csv(frame).replace(b"text", b'"te""xt"', 1).replace(b"text", b'te"xt', 1)


def json_lines(frame: pl.DataFrame) -> bytes:
    return frame.write_ndjson().encode()


def json_list(frame: pl.DataFrame) -> bytes:
    return json.dumps(frame.to_dicts()).encode()


def json_columns(frame: pl.DataFrame) -> bytes:
    return json.dumps(frame.to_dict(as_series=False)).encode()


def parquet(frame: pl.DataFrame) -> bytes:
    out = io.BytesIO()
    frame.write_parquet(out)
    return out.getvalue()


def annotated(frame: pl.DataFrame) -> bytes:
    kinds = "#datatype," + ",".join(["string"] * (frame.width - 1)) + "\n"
    named = frame.rename({"c0": "result", "c1": "table"})
    return (kinds + named.write_csv()).encode()


FORMATS: dict[str, Callable[[pl.DataFrame], bytes]] = {
    "a.csv": csv,
    "odd.csv": odd_csv,
    "a.jsonl": json_lines,
    "list.json": json_list,
    "columns.json": json_columns,
    "a.parquet": parquet,
}
PACKED = {
    f"{name}.gz": lambda frame, write=write: gzip.compress(write(frame))
    for name, write in FORMATS.items()
}
ALL = {**FORMATS, **PACKED}
every_format = pytest.mark.parametrize("name", ALL)


def rows_of(name: str, frame: pl.DataFrame, limits: ReadLimits = LIMITS) -> int:
    content = io.BytesIO(ALL[name](frame))
    return sum(
        batch.frame.height + batch.rejects.height
        for batch in read_raw(content, name, limits=limits, batch_rows=20)
    )


@every_format
def test_rows(name: str) -> None:
    assert rows_of(name, table(rows=ROWS)) == ROWS
    with pytest.raises(UnreadableFile, match=r"more than 50 rows \(ANOMALY_FILE_MAX_ROWS\)"):
        rows_of(name, table(rows=ROWS + 1))


@every_format
def test_columns(name: str) -> None:
    assert rows_of(name, table(columns=COLUMNS)) == 3
    with pytest.raises(UnreadableFile, match=r"(9 columns|8 different keys).*MAX_COLUMNS"):
        rows_of(name, table(columns=COLUMNS + 1))


@every_format
def test_cells(name: str) -> None:
    assert rows_of(name, table(cell=CELL)) == 3
    with pytest.raises(UnreadableFile, match=r"'c2' has more than 2,000 bytes.*MAX_CELL_BYTES"):
        rows_of(name, table(cell=CELL + 2))


@every_format
def test_bytes(name: str) -> None:
    frame = pl.DataFrame(
        {name: [f"{number}-{number * 7919}" for number in range(ROWS)] for name in "ab"}
    )
    unpacked = ALL[name.removesuffix(".gz")](frame)
    if "parquet" in name:  # what is decoded counts, not what is written
        assert rows_of(name, frame, replace(LIMITS, max_bytes=4 * len(unpacked))) == ROWS
    else:
        assert rows_of(name, frame, replace(LIMITS, max_bytes=len(unpacked))) == ROWS
    with pytest.raises(UnreadableFile, match=r"bytes unpacked \(ANOMALY_FILE_MAX_BYTES\)"):
        rows_of(name, frame, replace(LIMITS, max_bytes=min(len(unpacked), 1_000) - 1))


def test_rows_that_are_refused_count() -> None:
    content = io.BytesIO(b"a,b\n" + b"1,2,3\n" * (ROWS + 1))
    with pytest.raises(UnreadableFile, match="ANOMALY_FILE_MAX_ROWS"):
        list(read_raw(content, "a.csv", limits=LIMITS))


VALUES = {
    "text": st.none() | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    "number": st.none() | st.integers(-(2**40), 2**40),
    "list": st.none() | st.lists(st.integers(0, 9), max_size=5),
    "object": st.fixed_dictionaries({"a": st.none() | st.text("xyz", max_size=9)}),
}


@st.composite
def parquet_files(draw: st.DrawFn) -> bytes:
    """A Parquet file of columns of any kind, in row groups and pages of any size."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = draw(st.integers(0, 60))
    kinds = draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=4))
    types = {
        "text": pa.string(),
        "number": pa.int64(),
        "list": pa.list_(pa.int64()),
        "object": pa.struct([("a", pa.string())]),
    }
    columns = {
        f"{kind}{place}": pa.array(
            draw(st.lists(VALUES[kind], min_size=rows, max_size=rows)), types[kind]
        )
        for place, kind in enumerate(kinds)
    }
    out = io.BytesIO()
    pq.write_table(
        pa.table(columns),
        out,
        row_group_size=draw(st.integers(1, 70)),
        data_page_size=draw(st.sampled_from([1, 64, 1 << 20])),
        data_page_version=draw(st.sampled_from(["1.0", "2.0"])),
        use_dictionary=draw(st.booleans()),
        compression=draw(st.sampled_from(["none", "zstd", "snappy", "gzip", "lz4"])),
    )
    # With pages of one byte, pyarrow writes some empty lists so that it cannot read them itself.
    try:
        same = pq.read_table(io.BytesIO(out.getvalue())).equals(pa.table(columns))
    except pa.ArrowInvalid:
        same = False
    hypothesis.assume(same)
    return out.getvalue()


def read_whole(content: bytes) -> pl.DataFrame:
    batches = list(read_raw(io.BytesIO(content), "a.parquet"))
    numbers = [number for batch in batches for number in batch.row_numbers]
    assert numbers == list(range(1, len(numbers) + 1))
    return pl.concat([batch.frame for batch in batches])


@settings(max_examples=60, deadline=None)
@given(parquet_files())
def test_parquet_in_small_pieces_gives_the_same_rows(content: bytes) -> None:
    whole = read_whole(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet_rows, "DECODED_AT_ONCE", 50)
        patch.setattr(parquet_rows, "_LISTED_AT_ONCE", 3)
        assert read_whole(content).equals(whole)


def test_only_the_row_of_a_text_that_is_no_utf8_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = pa.array([b"first", b"\xff\xfe", *[b"later"] * 400]).view(pa.string())
    out = io.BytesIO()
    pq.write_table(pa.table({"a": texts}), out)
    monkeypatch.setattr(parquet_rows, "DECODED_AT_ONCE", 50)
    batches = list(read_raw(out, "a.parquet"))
    assert [row for batch in batches for row in batch.rejects["row_number"]] == [2]
    read = [text for batch in batches for text in batch.frame["a"]]
    assert read == ["first", *["later"] * 400]


@settings(max_examples=150, deadline=None)
@given(parquet_files(), st.data())
def test_damaged_parquet_is_refused_or_read(content: bytes, data: st.DataObject) -> None:
    damaged = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(4, len(damaged) - 9))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(UnreadableFile):  # any other error fails
        list(read_raw(io.BytesIO(bytes(damaged)), "a.parquet"))
