"""Files that people could be sent, and what is to become of each."""

import codecs
import gzip
import io
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

import polars as pl

HEADER = "device_id,metric_name,timestamp,value\n"
GOOD = "pump,temperature,2024-05-01 10:00:00,20.5\n"
LATER = "pump,temperature,2024-05-01 10:05:00,20.6\n"


@dataclass(frozen=True)
class Case:
    """A file and what must become of it."""

    content: Callable[[], bytes] | bytes | str
    name: str = "data.csv"
    unreadable: str | None = None
    good: int = 0
    rejected: tuple[str, ...] = ()
    duplicates: int = 0

    def bytes(self) -> bytes:
        content = self.content() if callable(self.content) else self.content
        return content.encode("utf-8") if isinstance(content, str) else content


def _parquet(frame: pl.DataFrame) -> bytes:
    out = io.BytesIO()
    frame.write_parquet(out)
    return out.getvalue()


def _readings(**columns: object) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "device_id": ["pump", "pump"],
            "metric_name": ["temperature", "temperature"],
            "timestamp": ["2024-05-01T10:00:00Z", "2024-05-01T10:05:00Z"],
            "value": [1.5, 2.5],
        }
        | columns
    )


def _record(**fields: object) -> dict[str, object]:
    return {
        "device_id": "pump",
        "metric_name": "temperature",
        "timestamp": "2024-05-01T10:00:00Z",
        "value": 1.5,
    } | fields


def _json_lines(*records: object) -> str:
    return "".join(
        (record if isinstance(record, str) else json.dumps(record)) + "\n" for record in records
    )


def _damaged_checksum() -> bytes:
    packed = bytearray(gzip.compress((HEADER + GOOD * 500).encode()))
    packed[-6] ^= 0xFF
    return bytes(packed)


def _damaged_middle() -> bytes:
    packed = bytearray(gzip.compress(b"".join(struct.pack("<q", n * n) for n in range(5000))))
    packed[len(packed) // 2] ^= 0xFF
    return bytes(packed)


def _damaged_page() -> bytes:
    content = bytearray(_parquet(_readings()))
    content[4:200] = b"\xff" * 196
    return bytes(content)


CASES = {
    # whole files
    "empty file": Case(b"", unreadable="empty"),
    "only blanks": Case(" \n\n \t\n", unreadable="nothing but blanks"),
    "only a byte-order mark": Case(codecs.BOM_UTF8, unreadable="nothing but blanks"),
    "header only": Case(HEADER),
    "header without a line end": Case(HEADER.strip()),
    "empty gzip": Case(gzip.compress(b""), "data.csv.gz", unreadable="empty"),
    "random bytes": Case(
        bytes((n * n * 31 + n // 7) % 256 for n in range(50_000)), unreadable="neither text nor"
    ),
    "only NUL bytes": Case(b"\0" * 10_000, unreadable="neither text nor"),
    "an EPCIS document": Case(
        json.dumps({"type": "EPCISDocument", "epcisBody": {"eventList": []}}),
        "scans.json",
        unreadable="EPCIS document",
    ),
    "an EPCIS document in XML": Case(
        '<?xml version="1.0"?>\n<epcis:EPCISDocument xmlns:epcis="urn:epcglobal:epcis:xsd:1"/>\n',
        "scans.xml",
        unreadable="EPCIS document",
    ),
    "a picture": Case(b"\x89PNG\r\n\x1a\n" + b"\0" * 100, unreadable="picture"),
    "a workbook called CSV": Case(b"PK\x03\x04" + b"\0" * 100, unreadable="save the sheet as CSV"),
    "a pickle": Case(b"\x80\x04\x95" + b"\0" * 50, "data.parquet", unreadable="pickle"),
    "prose": Case("Dear Sir or Madam\nI write to you\n", unreadable="no column with values"),
    "a web page": Case("<html>\n<body>503</body>\n</html>\n", unreadable="no column with values"),
    # gzip
    "truncated gzip": Case(
        lambda: gzip.compress((HEADER + GOOD * 5000).encode())[:-20],
        "data.csv.gz",
        unreadable="ends too early",
    ),
    "gzip with a wrong checksum": Case(_damaged_checksum, unreadable="damaged"),
    "gzip with a damaged middle": Case(_damaged_middle, "data.csv.gz", unreadable="gzip data"),
    "rubbish after gzip": Case(
        lambda: gzip.compress(HEADER.encode()) + b"rubbish", "d.csv.gz", unreadable="damaged"
    ),
    "gzip of gzip": Case(
        lambda: gzip.compress(gzip.compress(HEADER.encode())), unreadable="gzipped twice"
    ),
    "decompression bomb": Case(
        lambda: gzip.compress(b"\n" * (8 << 20)), "data.csv.gz", unreadable="bomb"
    ),
    "larger than the limit": Case(lambda: b"a,b\n" * (11 << 20), unreadable="split it"),
    "gzip in two members": Case(
        lambda: gzip.compress((HEADER + GOOD).encode()) + gzip.compress(LATER.encode()),
        "data.csv.gz",
        good=2,
    ),
    "gzip without its suffix": Case(lambda: gzip.compress((HEADER + GOOD).encode()), good=1),
    "plain text called gzip": Case(HEADER + GOOD, "data.csv.gz", good=1),
    # encodings
    "UTF-8 with a byte-order mark": Case(codecs.BOM_UTF8 + (HEADER + GOOD).encode(), good=1),
    "UTF-16 with a byte-order mark": Case((HEADER + GOOD).encode("utf-16"), good=1),
    "UTF-16 without one": Case((HEADER + GOOD).encode("utf-16-le"), unreadable="byte-order mark"),
    "UTF-16 cut inside a character": Case(
        (HEADER + GOOD).encode("utf-16")[:-1], unreadable="not valid UTF-16"
    ),
    "Latin-1": Case((HEADER + GOOD.replace("pump", "Kühlung")).encode("latin-1"), good=1),
    "UTF-8 with one damaged byte": Case(
        (HEADER + GOOD.replace("pump", "Kühlgerät")).encode()
        + LATER.encode().replace(b"u", b"\xff", 1),
        good=1,
        rejected=("not text",),
    ),
    # rows of text
    "a row too short": Case(HEADER + "pump,temp\n" + GOOD, good=1, rejected=("2 fields where",)),
    "a row too long": Case(HEADER + GOOD.strip() + ",9\n" + LATER, good=1, rejected=("5 fields",)),
    "blank lines": Case(HEADER + "\n\r\n" + GOOD + "\n" + LATER + "\n\n", good=2),
    "lines of an old Mac": Case((HEADER + GOOD + LATER).replace("\n", "\r"), good=2),
    "a quote that never closes": Case(
        HEADER + '"' + GOOD + LATER, good=1, rejected=("never closes",)
    ),
    "text after a closing quote": Case(
        HEADER + '"pump"s' + GOOD[4:] + LATER, good=1, rejected=("closing quote",)
    ),
    "a quote inside a field": Case(HEADER + '5" pump' + GOOD[4:] + LATER, good=2),
    "a cell over three lines": Case(
        HEADER.strip() + ",metadata\n" + GOOD.strip() + ',"{""a"":\n1\n}"\n', good=1
    ),
    "a NUL in a row": Case(HEADER + GOOD + "pu\0mp" + GOOD[4:], good=1, rejected=("NUL",)),
    "a cell of ten megabytes": Case(
        lambda: HEADER + "x" * (10 << 20) + GOOD[4:] + LATER, good=1, rejected=("longer than 256",)
    ),
    "a value of ten megabytes": Case(
        lambda: HEADER + GOOD.replace("20.5", "9" * (10 << 20)) + LATER,
        good=1,
        rejected=("too large",),
    ),
    "a line beyond the limit": Case(
        lambda: HEADER + "x" * (17 << 20), unreadable="a line has more"
    ),
    "too many columns": Case(
        lambda: "timestamp," + ",".join(f"m{n}" for n in range(100_000)) + "\n",
        unreadable="100,001 columns",
    ),
    "a column twice": Case("timestamp,a,a\n2024-05-01,1,2\n", unreadable="more than once"),
    "columns that are one after trimming": Case("timestamp,a, a\n", unreadable="more than once"),
    "no header": Case(
        "2024-05-01 10:00:00,1\n2024-05-01 10:05:00,2\n", unreadable="put a header line"
    ),
    "quotes of the header open": Case('timestamp,"a\n1,2\n', unreadable="header line do not match"),
    "a column without a name": Case("timestamp,a,\n2024-05-01,1,\n", good=1),
    "an index column": Case(",timestamp,a\n0,2024-05-01,1\n", good=1),
    "semicolons and decimal commas": Case("timestamp;a\n2024-05-01;1,5\n2024-05-02;2\n", good=2),
    "a comma among points": Case(
        "timestamp;a\n2024-05-01;1,5\n2024-05-02;2.5\n2024-05-03;3.5\n",
        good=2,
        rejected=("has a comma",),
    ),
    "a spreadsheet's hint": Case("sep=|\ntimestamp|a\n2024-05-01|1\n", good=1),
    "unknown columns": Case(
        HEADER.strip() + ",unit,comment\n" + GOOD.strip() + ',C,"so, so"\n', good=1
    ),
    "no column for the time": Case(
        "device_id,metric_name,value\npump,temperature,1\n", unreadable="column for the time"
    ),
    "no column for the value": Case(
        "metric_name,timestamp\ntemperature,2024-05-01\n", unreadable="column for its value"
    ),
    # values
    "values that are none": Case(
        HEADER
        + "".join(
            f"pump,temperature,2024-05-01 10:00:{second:02d},{text}\n"
            for second, text in enumerate(
                ["NaN", "inf", "-Infinity", "1e400", "0x1F", "1_000", "off?", "1.2.3", "٣"]
            )
        ),
        rejected=(
            *("NaN", "infinite", "infinite", "too large"),
            *("not a number", "not a number", "not a number", "not a number", "not a number"),
        ),
    ),
    "values that are missing": Case(
        HEADER
        + "".join(
            f"pump,temperature,2024-05-01 10:00:{second:02d},{text}\n"
            for second, text in enumerate(["", " ", "null", "NA", "None", "\\N", "true", "-0"])
        ),
        good=8,
    ),
    "times in many notations": Case(
        HEADER
        + "".join(
            f"pump,temperature,{text},1\n"
            for text in [
                "2024-05-01T10:00:00+02:00",
                "2024-05-01T10:00:00Z",
                "2024-05-01 10:00:01",
                "1714557602",
                "1714557603000",
                "2024-05-01T10:00:04.5-0330",
                "20240501T101500",
            ]
        ),
        good=7,
    ),
    "times that are none": Case(
        HEADER
        + "".join(
            f"pump,temperature,{text},1\n"
            for text in ["", "yesterday", "01/02/2024", "2024-02-30", "2024-05-01 25:00", "12"]
        ),
        rejected=("not a time",) * 6,
    ),
    "clocks gone wrong": Case(
        HEADER
        + "".join(
            f"pump,temperature,{text},1\n"
            for text in ["2031-01-01", "1970-01-01", "0001-01-01", "2024-05-01"]
        ),
        good=1,
        rejected=("in the future", "before the stream", "before the stream"),
    ),
    "names that are none": Case(
        HEADER + GOOD + GOOD.replace("pump", " ") + GOOD.replace("temperature", "te\x07mp"),
        good=1,
        rejected=("entity is missing", "control characters"),
    ),
    "the same row again, and another value": Case(
        HEADER + GOOD + GOOD + GOOD.replace("20.5", "99"),
        good=1,
        duplicates=1,
        rejected=("conflicts",),
    ),
    "labels, metadata and ids that are none": Case(
        HEADER.strip()
        + ",is_anomaly,metadata,event_id\n"
        + GOOD.strip()
        + ",maybe,,\n"
        + GOOD.strip()
        + ",0,[1],\n"
        + GOOD.strip()
        + ",0,{broken,\n"
        + GOOD.strip()
        + ",yes,,4711\n"
        + LATER.strip()
        + ",no,{},0190B5A2-7C3D-7E4F-8A1B-2C3D4E5F6071\n",
        good=1,
        rejected=("label is none", "not a JSON object", "not valid JSON", "not a UUID"),
    ),
    # JSON
    "JSON cut off": Case(
        json.dumps([_record(), _record()])[:-30], "data.json", unreadable="not valid, or is cut off"
    ),
    "JSON with a trailing comma": Case('[{"a": 1},]', "data.json", unreadable="not valid"),
    "JSON without a comma": Case('{"a": 1 "b": 2}', "data.json", unreadable="not valid"),
    "text after JSON": Case(json.dumps([_record()]) + "]", "data.json", unreadable="not valid"),
    "JSON that is a number": Case("42", "data.json", unreadable="put a header line"),
    "JSON without rows": Case("{}", "data.json", unreadable="no rows"),
    "an empty JSON list": Case("[]", "data.json"),
    "JSON nested without end": Case("[" * 100_000, "data.json", unreadable="nested too deeply"),
    "JSON lists of unequal length": Case(
        '{"timestamp": ["2024-05-01"], "a": [1, 2]}', "data.json", unreadable="differ in length"
    ),
    "JSON with a list of columns too large to hold": Case(
        lambda: json.dumps({"timestamp": ["2024-05-01"] * 300_000}),
        "data.json",
        unreadable="JSON Lines instead",
    ),
    "JSON with rows that are none": Case(
        json.dumps([_record(), 7, None, [], "x", {}]),
        "data.json",
        good=1,
        rejected=("a number", "null", "a list", "a text", "empty object"),
    ),
    "JSON of nested values": Case(
        json.dumps([_record(value={"a": 1}), _record(metadata={"a": [1, {"b": None}]})]),
        "data.json",
        good=1,
        rejected=("not a number",),
    ),
    "JSON of mixed types": Case(
        json.dumps({"data": [_record(value="1.5"), _record(timestamp=1714557602, value=True)]}),
        "data.json",
        good=2,
    ),
    "JSON Lines with broken lines": Case(
        _json_lines(_record(), "{oops", "[1]", _record(timestamp="2024-05-02"), "", "nul"),
        "data.jsonl",
        good=2,
        rejected=("not valid JSON", "a list", "not valid JSON"),
    ),
    "JSON Lines whose first line is broken": Case(
        _json_lines('{"device_id": "pu', _record()),
        "data.json",
        good=1,
        rejected=("not valid JSON",),
    ),
    "JSON Lines with half a surrogate pair": Case(
        _json_lines(_record(device_id="\ud800"), _record()),
        "d.jsonl",
        good=1,
        rejected=("not text",),
    ),
    "JSON Lines with a NUL": Case(
        _json_lines(_record(device_id="a\0b"), _record()), "d.jsonl", good=1, rejected=("not text",)
    ),
    "JSON Lines with NaN and a huge number": Case(
        '{"timestamp": "2024-05-01", "a": NaN, "b": 1e999, "c": 1}\n'
        + '{"timestamp": "2024-05-02", "a": 1, "b": 1, "c": %s}\n' % ("9" * 5000),
        "d.jsonl",
        good=1,
        rejected=("not valid JSON", "NaN", "infinite"),
    ),
    "JSON Lines called CSV": Case(_json_lines(_record()), "data.csv", good=1),
    "CSV called JSON Lines": Case(HEADER + GOOD, "data.jsonl", good=1),
    # Parquet
    "Parquet cut off": Case(
        lambda: _parquet(_readings())[:-50], "data.parquet", unreadable="Parquet file is damaged"
    ),
    "Parquet with a damaged page": Case(
        _damaged_page, "data.parquet", unreadable="Parquet file is damaged"
    ),
    "Parquet with an encrypted footer": Case(
        b"PARE" + b"\0" * 100 + b"PARE", "data.parquet", unreadable="encrypted"
    ),
    "CSV called Parquet": Case(HEADER + GOOD, "data.parquet", good=1),
    "Parquet called CSV, gzipped": Case(
        lambda: gzip.compress(_parquet(_readings())), "data.csv", good=2
    ),
    "Parquet without rows": Case(lambda: _parquet(_readings().clear()), "data.parquet"),
    "Parquet of typed columns": Case(
        lambda: _parquet(
            _readings(
                timestamp=[datetime(2024, 5, 1, tzinfo=UTC), datetime(2024, 5, 2, tzinfo=UTC)],
                value=pl.Series([Decimal("1.10"), None]),
                is_anomaly=[True, None],
                metadata=[{"a": 1}, {"a": None}],
            )
        ),
        "data.parquet",
        good=2,
    ),
    "Parquet with bytes that are no text": Case(
        lambda: _parquet(_readings(device_id=[b"pump", b"\xff\xfe"])),
        "data.parquet",
        good=1,
        rejected=("not text",),
    ),
}
