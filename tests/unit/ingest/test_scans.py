import io
import json
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from anomaly_platform.ingest.bucketing import bucket
from anomaly_platform.ingest.layout.context import LayoutContext
from anomaly_platform.ingest.layout.mapping import SCAN_FIELDS, ColumnMapping, MappingError
from anomaly_platform.ingest.layout.scans import (
    RAW_SCAN_ROWS,
    SCAN_READER,
    resolve_scan_layout,
)
from anomaly_platform.ingest.validation.scans import validate_scans
from anomaly_platform.ingest.validation.schemas import SCAN_EVENTS

START = datetime(2010, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
DAY = date(2025, 1, 1)
EPC = "001.8804823.0000003.000001.20241201.000000001"
SCAN = {
    "eventId": "17",
    "epc_code": EPC,
    "location_id": "HUB-1",
    "business_step": "Hub",
    "event_type": "HUB_Inbound",
    "event_time": "2025-01-01 10:00:00",
}
CONTEXT = LayoutContext("scans.json", NOW, fields=SCAN_FIELDS)


def raw(*scans: object, **beside: object) -> tuple[pl.DataFrame, pl.DataFrame]:
    content = json.dumps({**beside, "data": list(scans)}).encode()
    parts = list(SCAN_READER.read(io.BytesIO(content), CONTEXT))
    return pl.concat([rows for rows, _ in parts]), pl.concat([rejects for _, rejects in parts])


def validate(rows: pl.DataFrame, day: date = DAY):
    if "batch_seq" not in rows.columns:
        rows = rows.with_columns(batch_seq=pl.lit(1, pl.Int64))
    return validate_scans(rows, day, start=START, now=NOW)


def test_a_request_becomes_scans():
    rows, rejects = raw(SCAN, fileId=7)
    assert rows.schema == RAW_SCAN_ROWS
    assert rejects.is_empty()
    outcome = validate(rows)
    assert outcome.frame.columns == list(SCAN_EVENTS.columns)
    scan = outcome.frame.row(0, named=True)
    assert (scan["event_id"], scan["file_id"], scan["bucket"]) == ("17", "7", bucket(EPC))
    assert scan["event_time"] == datetime(2025, 1, 1, 10, tzinfo=UTC)
    assert scan["product_name"] is None


def test_scans_come_as_csv_too():
    content = "epc;when;location_id;colour\n" + EPC + ";2025-01-01T10:00:00Z;HUB-1;red\n"
    mapping = ColumnMapping.parse(["when=event_time"], ["device_id=gate-3"])
    context = LayoutContext("scans.csv", NOW, mapping, fields=SCAN_FIELDS)
    ((rows, _),) = SCAN_READER.read(io.BytesIO(content.encode()), context)
    scan = validate(rows).frame.row(0, named=True)
    assert (scan["epc_code"], scan["location_id"], scan["device_id"]) == (EPC, "HUB-1", "gate-3")
    layout = resolve_scan_layout(["epc", "when", "location_id", "colour"], context)
    assert layout.ignored == ("colour",)


def test_without_time_or_code_a_scan_is_refused():
    rows, rejects = raw(
        SCAN,
        SCAN | {"event_time": None},
        SCAN | {"event_time": "soon"},
        SCAN | {"event_time": "2031-01-01"},
        SCAN | {"epc_code": " "},
    )
    assert rejects.select("row_number", "reason").rows()[0] == (2, "the time is missing")
    assert [reason.split(" (")[0] for reason in rejects["reason"]] == [
        "the time is missing",
        "not a time",
        "in the future",
    ]
    outcome = validate(rows)
    assert outcome.frame.height == 1
    assert outcome.rejects["reason"].to_list() == ["the EPC code is missing"]


def test_what_else_is_missing_or_malformed_stays_for_the_rules():
    rows, _ = raw({"epc_code": "no code at all", "event_time": "2025-01-01 10:00:00"})
    scan = validate(rows).frame.row(0, named=True)
    assert scan["epc_code"] == "no code at all"
    assert scan["location_id"] is scan["business_step"] is scan["event_type"] is None
    assert len(scan["event_id"]) == 36


def test_one_code_at_two_places_in_one_second_stays_twice():
    rows, _ = raw(
        SCAN,
        SCAN | {"location_id": "HUB-2"},
        SCAN | {"eventId": "18"},
        SCAN | {"operator_id": "somebody else"},
        SCAN | {"location_id": None},
        SCAN | {"location_id": ""},
    )
    outcome = validate(rows)
    assert outcome.frame["location_id"].to_list() == [None, "HUB-1", "HUB-2"]
    assert outcome.duplicates == 2
    assert outcome.rejects["row_number"].to_list() == [4]


def test_the_same_scan_in_another_file_is_a_duplicate():
    first, _ = raw(SCAN, fileId=1)
    second, _ = raw(SCAN, fileId=2)
    rows = pl.concat(
        [
            first.with_columns(batch_seq=pl.lit(1, pl.Int64)),
            second.with_columns(batch_seq=pl.lit(2, pl.Int64)),
        ]
    )
    outcome = validate(rows)
    assert outcome.frame["file_id"].to_list() == ["1"]
    assert outcome.duplicates == 1


@given(
    scans=st.lists(
        st.fixed_dictionaries(
            {
                "epc_code": st.sampled_from([EPC, "x", "", "x" * 300, None]),
                "event_time": st.sampled_from(["2025-01-01 10:00:00", "2025-01-01 11:00:00"]),
                "location_id": st.sampled_from(["A", "B", None, "\x01"]),
                "event_type": st.sampled_from(["Inbound", None]),
                "is_anomaly": st.sampled_from([0, 1, "yes", "perhaps", None]),
                "operator_id": st.sampled_from(["o", None]),
            }
        ),
        max_size=30,
    ),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=50, deadline=None)
def test_every_scan_has_one_fate_whatever_the_order(scans, seed):
    rows, _ = raw(*scans)
    outcome = validate(rows)
    assert outcome.frame.height + outcome.rejects.height + outcome.duplicates == len(scans)
    shuffled = validate(rows.sample(fraction=1, shuffle=True, seed=seed))
    assert_frame_equal(shuffled.frame, outcome.frame)
    assert_frame_equal(shuffled.rejects, outcome.rejects)


def test_a_scan_of_another_day_is_refused():
    rows, _ = raw(SCAN)
    outcome = validate(rows, DAY + timedelta(days=1))
    assert outcome.rejects["reason"].to_list() == ["the event is not of 2025-01-02"]


@pytest.mark.parametrize(
    ("columns", "mapping", "complaint"),
    [
        (["epc_code", "place"], {}, "no column for the time"),
        (
            ["event_time", "place"],
            {},
            "no column for the EPC code; .* columns are event_time, place",
        ),
        (["event_time", "place"], {"constants": ["epc_code=x"]}, "the same in every row"),
        (["event_time", "epc_code"], {"columns": ["x=operator_id"]}, "no column 'x'"),
    ],
)
def test_what_cannot_be_understood_names_the_columns(columns, mapping, complaint):
    context = LayoutContext("x.csv", NOW, ColumnMapping.parse(**mapping), fields=SCAN_FIELDS)
    with pytest.raises(MappingError, match=complaint):
        resolve_scan_layout(columns, context)


@pytest.mark.parametrize("rows", [1, 1_200])
def test_the_separator_of_gs1_codes_is_part_of_a_code_and_of_nothing_else(rows: int) -> None:
    code = "010880482300003321A\x1d10LOT"
    good = [{**SCAN, "eventId": f"e{n}", "epc_code": f"{code}{n}"} for n in range(rows)]
    bad = [{**SCAN, "epc_code": "a\x01b"}, {**SCAN, "location_id": "a\x1db"}]
    outcome = validate(raw(*good, *bad)[0])
    assert outcome.frame["epc_code"].sort().to_list() == sorted(one["epc_code"] for one in good)
    assert outcome.rejects["reason"].sort().to_list() == [
        "the EPC code has control characters",
        "the location_id has control characters",
    ]


def test_a_csv_file_full_of_separators_is_text() -> None:
    lines = "".join(f"01{n:014}21{n}\x1d10L\x1d17251231,2025-01-01 10:00:00\n" for n in range(50))
    content = io.BytesIO(f"epc_code,event_time\n{lines}".encode())
    (rows, rejects), *_ = SCAN_READER.read(content, LayoutContext("s.csv", NOW, fields=SCAN_FIELDS))
    assert rejects.is_empty()
    assert rows["epc_code_text"][7] == "0100000000000007217\x1d10L\x1d17251231"
