"""Files that are small on disk and large inside."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

HEADER = "device_id,metric_name,timestamp,value\n"
ROW = "pump,temperature,2024-05-01 10:00:00,20.5\n"


def readings(rows: int, **columns: pa.Array) -> pa.Table:
    """Return equal readings, with other columns in the place of some."""
    zeros = _zeros(rows)

    def equal(value: object) -> pa.Array:
        return pa.array([value]).take(zeros)

    return pa.table(
        {
            "device_id": equal("pump"),
            "metric_name": equal("temperature"),
            "timestamp": equal(datetime(2024, 5, 1, tzinfo=UTC)),
            "value": equal(20.5),
        }
        | columns
    )


def _zeros(rows: int) -> pa.Array:
    return pa.nulls(rows, pa.int64()).fill_null(0)


def repeated(text: str, rows: int) -> pa.Array:
    """Return a column that has one text in every row, which is in memory once."""
    zeros = pa.nulls(rows, pa.int32()).fill_null(0)
    return pa.DictionaryArray.from_arrays(zeros, [text])


def parquet(table: pa.Table, **options: object) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out, compression="zstd", **options)
    return out.getvalue()


def many_rows() -> bytes:
    """51 million rows without anything in them but a number: some kilobytes."""
    out = io.BytesIO()
    part = pa.table({"timestamp": _zeros(3_000_000), "value": _zeros(3_000_000)})
    with pq.ParquetWriter(out, part.schema, compression="zstd") as writer:
        for _ in range(17):
            writer.write_table(part, row_group_size=part.num_rows)
    return out.getvalue()


def texts_of_one_dictionary() -> bytes:
    """250,000 rows of a text of 100,000 bytes that the file has once: 25 GB."""
    rows = 250_000
    return parquet(readings(rows, device_id=repeated("x" * 100_000, rows)))


def texts_written_out() -> bytes:
    """The same without a dictionary: 10,000 texts of 100,000 bytes, in pages that are zeros."""
    table = readings(1_000, device_id=pa.array(["x" * 100_000] * 1_000))
    out = io.BytesIO()
    options = {"use_dictionary": False, "compression": "zstd"}
    with pq.ParquetWriter(out, table.schema, **options) as writer:
        for _ in range(10):
            writer.write_table(table)
    return out.getvalue()


def texts_that_repeat_the_last() -> bytes:
    """10,000 texts of 100,000 bytes, of which each is written as "the same again"."""
    table = readings(1_000, device_id=pa.array(["x" * 100_000] * 1_000))
    out = io.BytesIO()
    options = {
        "use_dictionary": False,
        "column_encoding": {"device_id": "DELTA_BYTE_ARRAY"},
        "compression": "zstd",
    }
    with pq.ParquetWriter(out, table.schema, **options) as writer:
        for _ in range(10):
            writer.write_table(table)
    return out.getvalue()


def one_long_list() -> bytes:
    """One row with a list of 10 million zeros."""
    values = pa.nulls(10_000_000, pa.int8()).fill_null(0)
    lists = pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), values)
    return parquet(readings(1, metadata=lists))


def list_of_long_texts() -> bytes:
    """One row with a list of a million texts of 100,000 bytes, one in the file."""
    texts = repeated("x" * 100_000, 1_000_000)
    lists = pa.ListArray.from_arrays(pa.array([0, len(texts)], pa.int32()), texts)
    return parquet(readings(1, metadata=lists))


def gzip_bomb() -> bytes:
    """Two gigabytes of one row, as two megabytes."""
    part = gzip.compress((HEADER + ROW * 200_000).encode(), 9)
    return part * 240


def workbook_bomb() -> bytes:
    """A workbook whose sheet unpacks to 100 MB."""
    out = io.BytesIO()
    with (
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("xl/worksheets/sheet1.xml", "w") as sheet,
    ):
        for _ in range(100):
            sheet.write(b"<c/>" * 250_000)
    return out.getvalue()


def wide_csv() -> bytes:
    """Eight megabytes of commas are the header."""
    return b"timestamp" + b",a" * (4 << 20) + b"\n"


def commas() -> bytes:
    """Rows of 1,900 empty cells."""
    names = ",".join(f"m{number}" for number in range(1_900))
    return f"timestamp,{names}\n".encode() + (b"2024-05-01" + b"," * 1_900 + b"\n") * 500


def long_cell() -> bytes:
    """One cell of two megabytes."""
    return (HEADER + ROW + "x" * (2 << 20) + ROW[4:]).encode()


def one_json_line() -> bytes:
    """One line of 60 MB: 20 million empty objects in a record."""
    return b'{"a": [' + b"{}," * (20 << 20) + b"{}]}\n"


def json_with_a_long_constant() -> bytes:
    """A text of a megabyte beside the list belongs to each of 100,000 records."""
    record = {"timestamp": "2024-05-01T10:00:00Z", "value": 1}
    return json.dumps({"device_id": "x" * 1_000_000, "data": [record] * 100_000}).encode()


def annotated_default() -> bytes:
    """InfluxDB's default of 900,000 characters for each of a million empty cells."""
    head = (
        "#datatype,string,long,dateTime:RFC3339,double,string\n#group,,,,,\n"
        f"#default,,,,,{'x' * 900_000}\n,result,table,_time,_value,host\n"
    )
    return (head + ",,0,2024-05-01T10:00:00Z,1,\n" * 1_000_000).encode()


BOMBS = {
    "many_rows.parquet": many_rows,
    "one_dictionary.parquet": texts_of_one_dictionary,
    "written_out.parquet": texts_written_out,
    "the_last_again.parquet": texts_that_repeat_the_last,
    "one_long_list.parquet": one_long_list,
    "list_of_long_texts.parquet": list_of_long_texts,
    "gzip_bomb.csv.gz": gzip_bomb,
    "workbook.xlsx": workbook_bomb,
    "wide.csv": wide_csv,
    "commas.csv": commas,
    "long_cell.csv": long_cell,
    "one_line.jsonl": one_json_line,
    "one_line.json": one_json_line,
    "constant.json": json_with_a_long_constant,
    "default.csv": annotated_default,
}


def write_bombs(folder: Path) -> None:
    for name, make in BOMBS.items():
        (folder / name).write_bytes(make())
