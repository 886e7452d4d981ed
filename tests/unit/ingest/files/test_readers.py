import csv
import gzip
import io
import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly_platform.ingest.files import batches, json_document, json_rows, sources
from anomaly_platform.ingest.files.readers import ReadLimits, UnreadableFile, file_stem, read_raw


def table(batches) -> pl.DataFrame:
    return pl.concat([batch.frame for batch in batches], how="diagonal")


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("a/b/server-01_train.csv.gz", "server-01_train"),
        ("x.JSONL", "x"),
        ("x.parquet", "x"),
        ("pump.7.csv", "pump.7"),
        ("pump", "pump"),
        (".csv", ".csv"),
    ],
)
def test_stems(name, stem):
    assert file_stem(name) == stem


CELL = st.text(alphabet="ab,;\"'| \té€\n", max_size=6)
# What csv readers disagree on (a lone quote inside, blank lines) has tests of its own.
ROWS = st.lists(st.tuples(CELL, CELL, CELL), max_size=12)


@given(rows=ROWS, chunk=st.integers(1, 40), end=st.sampled_from(["\n", "\r\n"]))
@settings(max_examples=150, deadline=None)
def test_what_a_csv_writer_writes_is_read_whatever_the_blocks(rows, chunk, end):
    out = io.StringIO()
    writer = csv.writer(out, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerows([("x", "y", "z"), *rows])
    # Inside a cell a line break may be written in either way: it is read as a line feed.
    content = out.getvalue().encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "CHUNK_BYTES", chunk)
        patch.setattr(sources, "_BLOCK", max(1, chunk // 2))
        parts = list(read_raw(io.BytesIO(content), "x.csv"))
    read = table(parts)
    assert [tuple(cell or "" for cell in row) for row in read.rows()] == rows
    numbers = pl.concat([part.row_numbers for part in parts])
    assert numbers.to_list() == list(range(1, len(rows) + 1))


LINE = st.lists(
    st.sampled_from(["a", '"b"', '"c,d"', '"', 'e"f', '"g"h', "", '""', "i"]), max_size=4
)


@given(lines=st.lists(LINE, max_size=12), chunk=st.integers(1, 60))
@settings(max_examples=200, deadline=None)
def test_odd_quotes_are_read_the_same_whatever_the_blocks(lines, chunk):
    content = "x,y\n" + "".join(",".join(line) + "\n" for line in lines)

    def read_all():
        batches = list(read_raw(io.BytesIO(content.encode()), "x.csv"))
        rejects = pl.concat([batch.rejects for batch in batches])
        numbers = pl.concat([batch.row_numbers for batch in batches])
        return table(batches).rows(), numbers.to_list(), rejects.rows()

    whole = read_all()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "CHUNK_BYTES", chunk)
        patch.setattr(sources, "_BLOCK", max(1, chunk // 2))
        assert read_all() == whole
    rows, numbers, rejects = whole
    every = sorted([*numbers, *(reject[0] for reject in rejects)])
    assert every == list(range(1, len(every) + 1))
    assert len(rows) == len(numbers)


@given(
    records=st.lists(
        st.dictionaries(
            st.sampled_from(["a", "b", "é"]),
            st.one_of(
                st.none(),
                st.booleans(),
                st.integers(-(2**70), 2**70),
                st.floats(allow_nan=False, allow_infinity=False),
                st.text(alphabet='ab"\\\n{[é😀', min_size=1, max_size=5),
                st.lists(st.integers(), max_size=2),
            ),
            min_size=1,
        ),
        min_size=1,
        max_size=10,
    ),
    block=st.integers(1, 30),
    shape=st.sampled_from(["list", "data", "lines", "pretty"]),
)
@settings(max_examples=150, deadline=None)
def test_json_is_read_the_same_in_every_shape(records, block, shape):
    content = {
        "list": lambda: json.dumps(records),
        "pretty": lambda: json.dumps(records, indent=2, ensure_ascii=False),
        "data": lambda: json.dumps({"data": records}),
        "lines": lambda: "\n".join(json.dumps(record) for record in records),
    }[shape]().encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "_BLOCK", block)
        name = "x.jsonl" if shape == "lines" else "x.json"
        batches = list(read_raw(io.BytesIO(content), name, batch_rows=3))
    read = table(batches)
    assert read.height == len(records)
    for row, record in zip(read.rows(named=True), records, strict=True):
        for key, value in record.items():
            if value is None:
                assert row[key] is None
            elif isinstance(value, str):
                assert row[key] == value
            else:
                assert json.loads(row[key]) == value
    for batch in batches:
        for name in batch.frame.columns:
            absent = batch.absent.get(name, pl.Series([False] * batch.frame.height))
            expected = [name not in records[number - 1] for number in batch.row_numbers]
            assert absent.to_list() == expected


def test_json_columns_of_lists(read):
    batches = read(b'{"site": "x", "ts": ["a", "b"], "v": [1, null]}', "x.json")
    assert table(batches).rows() == [("x", "a", "1"), ("x", "b", None)]


def test_json_values_beside_the_records_belong_to_each(read, monkeypatch):
    before = b'{"fileId": 7, "meta": {"a": 1}, "data": [{"a": 1}, {"a": 2, "fileId": 8}]}'
    after = b'{"data": [{"a": 1}, {"a": 2, "fileId": 8}], "fileId": 7}'
    assert table(read(before, "x.json")).to_dicts() == [
        {"fileId": "7", "a": "1"},
        {"fileId": "8", "a": "2"},
    ]
    assert table(read(after, "x.json")).to_dicts() == table(read(before, "x.json")).to_dicts()
    monkeypatch.setattr(json_document, "_SMALL", 10)
    with pytest.raises(UnreadableFile, match="'fileId' stands after"):
        read(after, "x.json")


def test_one_json_object_is_one_record(read):
    assert table(read(b'{"a": 1, "b": {"c": 2}}', "x.json")).rows() == [("1", '{"c": 2}')]


def test_json_batches_are_bounded_by_cells(read, monkeypatch):
    monkeypatch.setattr(json_rows, "MAX_CELLS", 10)
    batches = read(b'{"a":1,"b":2}\n' * 20, "x.jsonl")
    assert [batch.frame.height for batch in batches] == [5, 5, 5, 5]


def test_batches_are_no_larger_than_asked(read):
    content = b"a,b\n" + b"1,2\n" * 10
    batches = read(content, "x.csv", batch_rows=4)
    assert [batch.frame.height for batch in batches] == [4, 4, 2]
    assert [batch.row_numbers[0] for batch in batches] == [1, 5, 9]
    with pytest.raises(ValueError, match="at least 1"):
        read(content, "x.csv", batch_rows=0)


def test_paths_files_and_pipes_are_read_alike(tmp_path):
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, *_: object) -> int:
            raise OSError

    content = gzip.compress(b"a,b\n1,2\n")
    path = tmp_path / "x.csv.gz"
    path.write_bytes(content)
    used = io.BytesIO(content)
    used.read(5)
    for source in (path, str(path), used, Pipe(content)):
        assert table(read_raw(source, "x.csv.gz")).rows() == [("1", "2")]
    with pytest.raises(OSError, match="missing"):
        list(read_raw(tmp_path / "missing.csv", "missing.csv"))


def test_guessed_encodings_are_noted(read):
    (batch,) = read("a,b\n€,é\n".encode("cp1252"), "x.csv")
    assert batch.frame.rows() == [("€", "é")]
    assert "Windows-1252" in batch.notes[0]
    (plain,) = read("a,b\n€,é\n".encode(), "x.csv")
    assert plain.notes == ()


def test_an_encoding_that_shows_only_at_the_end_holds_for_the_whole_file(read):
    content = b"a,b\n" + b"x,y\n" * 400_000 + "é,y\n".encode("latin-1")
    assert table(read(content, "x.csv"))["a"].to_list()[-1] == "é"


def test_large_files_are_read_in_small_pieces():
    line = b"device_id,2024-05-01 10:00:00,1.5\n"
    packed = gzip.compress(b"d,t,v\n" + line * 1_000_000, compresslevel=1)
    rows = 0
    for batch in read_raw(io.BytesIO(packed), "x.csv.gz", limits=ReadLimits(max_ratio=2000)):
        assert batch.frame.estimated_size() < 64 << 20
        rows += batch.frame.height
    assert rows == 1_000_000


def test_parquet_values_are_exact(tmp_path):
    from datetime import UTC, date, datetime
    from decimal import Decimal

    path = Path(tmp_path / "x.parquet")
    moment = datetime(2024, 5, 1, 10, 11, 12, 123456, tzinfo=UTC)
    frame = pl.DataFrame(
        {
            "naive": pl.Series([1714558272123456789], dtype=pl.Int64).cast(pl.Datetime("ns")),
            "zoned": pl.Series([moment]).dt.convert_time_zone("Asia/Tokyo"),
            "day": [date(2024, 5, 1)],
            "decimal": [Decimal("12345678901234567.89")],
            "whole": [2**62 + 1],
            "single": pl.Series([0.1], dtype=pl.Float32),
            "double": [0.1],
            "huge": [1e300],
            "nan": [float("nan")],
            "flag": [True],
            "nested": [{"a": 1, "b": [1.5]}],
            "kind": pl.Series(["x"], dtype=pl.Categorical),
            "bytes": [b"text"],
            "empty": [""],
            "nothing": pl.Series([None], dtype=pl.Null),
        }
    )
    frame.write_parquet(path)
    (batch,) = read_raw(path, path.name)
    row = batch.frame.row(0, named=True)
    assert set(batch.frame.dtypes) == {pl.String()}
    assert row == {
        "naive": "2024-05-01T10:11:12.123456789",
        "zoned": "2024-05-01T10:11:12.123456Z",
        "day": "2024-05-01",
        "decimal": "12345678901234567.89",
        "whole": "4611686018427387905",
        "single": "0.10000000149011612",
        "double": "0.1",
        "huge": row["huge"],
        "nan": "NaN",
        "flag": "true",
        "nested": '{"a": 1, "b": [1.5]}',
        "kind": "x",
        "bytes": "text",
        "empty": None,
        "nothing": None,
    }
    assert float(row["huge"]) == 1e300


def test_parquet_maps_are_objects(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "x.parquet"
    kind = pa.map_(pa.string(), pa.int64())
    pq.write_table(
        pa.table({"m": pa.array([[("a", 1)], [], None], type=kind), "n": [1, 2, 3]}), path
    )
    (batch,) = read_raw(path, path.name)
    assert batch.frame["m"].to_list() == ['{"a": 1}', "{}", None]


def test_parquet_batches_are_bounded_by_cells(tmp_path, monkeypatch):
    from anomaly_platform.ingest.files import parquet_rows

    monkeypatch.setattr(parquet_rows, "MAX_CELLS", 10)
    path = tmp_path / "x.parquet"
    pl.DataFrame({"a": range(12), "b": range(12)}).write_parquet(path)
    batches = list(read_raw(path, path.name))
    assert [batch.frame.height for batch in batches] == [5, 5, 2]
    assert pl.concat([batch.row_numbers for batch in batches]).to_list() == list(range(1, 13))
