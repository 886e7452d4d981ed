"""InfluxDB's annotated CSV: tables one below the other, each laid out in its own way."""

from __future__ import annotations

import pytest

from anomaly_platform.ingest.files import batches, sources
from anomaly_platform.ingest.files.readers import UnreadableFile
from anomaly_platform.ingest.layout.mapping import ColumnMapping

ANNOTATIONS = (
    "#group,false,false,true,true,false,false,true,true{group}\n"
    "#datatype,string,long,dateTime:RFC3339,dateTime:RFC3339,dateTime:RFC3339,double,string,string"
    "{tags}\n#default,{result},,,,,,,\n"
)
HEADER = ",result,table,_start,_stop,_time,_value,_field,_measurement{names}\n"


def annotated(*names: str, result: str = "mean") -> str:
    said = ANNOTATIONS.format(
        group=",true" * len(names), tags=",string" * len(names), result=result
    )
    return said + header(*names)


def header(*names: str) -> str:
    return HEADER.format(names="".join(f",{name}" for name in names))


def rows(field: str, measurement: str, *tags: str, first: float = 0.5, minutes: int = 3) -> str:
    return "".join(
        f",,0,2024-03-01T00:00:00Z,2024-03-02T00:00:00Z,2024-03-01T00:0{minute}:00Z,"
        f"{first + minute},{field},{measurement}{''.join(f',{tag}' for tag in tags)}\n"
        for minute in range(minutes)
    )


def series(outcome) -> dict[tuple[str, str], list[float]]:
    frame = outcome.frame.sort("event_time")
    return {
        key: part["value"].to_list()
        for key, part in frame.group_by("entity", "metric", maintain_order=True)
    }


def test_a_query_is_read_by_its_fields_and_tags(ingest):
    text = (
        annotated("sensor_id")
        + rows("temperature", "air", "TLM0101")
        + rows("level", "h2o", "creek")
    )
    outcome = ingest(text.encode(), "influx_query.csv")
    assert series(outcome) == {
        ("TLM0101", "temperature"): [0.5, 1.5, 2.5],
        ("creek", "level"): [0.5, 1.5, 2.5],
    }
    assert outcome.reasons == []


@pytest.mark.parametrize("between", ["\n", "\r\n"])
@pytest.mark.parametrize("begin", [annotated, header], ids=["annotated", "headers only"])
@pytest.mark.parametrize("chunk", [40, 1 << 20])
def test_tables_may_differ_in_their_columns(begin, between, chunk, ingest, monkeypatch):
    monkeypatch.setattr(batches, "CHUNK_BYTES", chunk)
    monkeypatch.setattr(sources, "_BLOCK", chunk)
    text = (
        begin("host")
        + rows("used", "mem", "a")
        + "\n"
        + begin("cpu", "host")
        + rows("usage", "cpu", "cpu0", "a")
    )
    outcome = ingest(text.replace("\n", between).encode(), "x.csv")
    assert series(outcome) == {
        ("a", "used"): [0.5, 1.5, 2.5],
        ("cpu0/a", "usage"): [0.5, 1.5, 2.5],
    }


def test_one_name_for_several_things_says_which(ingest):
    text = (
        annotated("host")
        + rows("used", "mem", "a")
        + rows("used", "swap", "a", first=7)
        + rows("free", "mem", "a")
    )
    assert set(series(ingest(text.encode(), "x.csv"))) == {
        ("a", "mem.used"),
        ("a", "swap.used"),
        ("a", "free"),
    }
    twice = (
        annotated("host")
        + rows("t", "air", "a")
        + "\n"
        + annotated("host", result="max")
        + rows("t", "air", "a", first=7)
    )
    assert series(ingest(twice.encode(), "x.csv")) == {
        ("a", "t.mean"): [0.5, 1.5, 2.5],
        ("a", "t.max"): [7.0, 8.0, 9.0],
    }


def test_without_tags_the_measurement_says_whose_it_is(ingest):
    assert set(series(ingest((annotated() + rows("t", "weir")).encode(), "x.csv"))) == {
        ("weir", "t")
    }


def test_a_mapping_names_a_tag(ingest):
    text = annotated("rack", "sensor_id") + rows("t", "air", "r1", "s1")
    outcome = ingest(text.encode(), "x.csv", ColumnMapping({"sensor_id": "device_id"}))
    assert set(series(outcome)) == {("s1", "t")}


def test_pivoted_fields_are_metrics(ingest):
    text = (
        "#datatype,string,long,dateTime:RFC3339,dateTime:RFC3339,dateTime:RFC3339,string,double,double\n"
        "#group,false,false,true,true,false,true,false,false\n#default,_result,,,,,,,\n"
        ",result,table,_start,_stop,_time,sensor_id,temp,hum\n"
        ",,0,2024-03-01T00:00:00Z,2024-03-02T00:00:00Z,2024-03-01T00:00:00Z,S1,1.5,70\n"
        ",,0,2024-03-01T00:00:00Z,2024-03-02T00:00:00Z,2024-03-01T00:01:00Z,S1,,71\n"
    )
    outcome = ingest(text.encode(), "x.csv")
    assert series(outcome) == {("S1", "temp"): [1.5, None], ("S1", "hum"): [70.0, 71.0]}


def test_files_that_are_written_for_influx_are_read_too(ingest):
    text = (
        "#datatype measurement,tag,double,dateTime:RFC3339\nm,host,used_percent,time\n"
        "mem,host1,64.23,2024-01-01T00:00:00Z\nmem,host2,55.2,2024-01-01T00:00:00Z\n"
    )
    assert series(ingest(text.encode(), "x.csv")) == {
        ("host1", "used_percent"): [64.23],
        ("host2", "used_percent"): [55.2],
    }


def test_constants_are_of_every_row(ingest):
    text = (
        "#constant measurement,mem\n#constant tag,host,host1\n#datatype dateTime:RFC3339,double\n"
        "time,used\n2024-01-01T00:00:00Z,1.5\n2024-01-02T00:00:00Z,2.5\n"
    )
    assert series(ingest(text.encode(), "x.csv")) == {("host1", "used"): [1.5, 2.5]}


@pytest.mark.parametrize(
    "text",
    [
        (
            "#datatype dateTime:RFC3339,double\ntime,used\n"
            "2024-01-01T00:00:00Z,1.5\n2024-01-02T00:00:00Z,2.5\n"
        ),
        (
            "#datatype,string,long,dateTime:RFC3339,double,string\n,result,table,_time,_value,_field\n"
            ",,0,2024-01-01T00:00:00Z,1.5,used\n,,0,2024-01-02T00:00:00Z,2.5,used\n"
        ),
    ],
    ids=["fields as columns", "a query without groups"],
)
def test_without_tags_and_measurement_the_file_says_whose_it_is(text, ingest):
    assert series(ingest(text.encode(), "weir.csv")) == {("weir", "used"): [1.5, 2.5]}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "#datatype,string,string\n#default,,\n,error,reference\n,no bucket,897\n",
            "query failed.*no bucket",
        ),
        (ANNOTATIONS.format(group="", tags="", result=""), "no table below them"),
        ("#constant long,n,7\n#datatype double\nt\n1\n", "#constant long n 7; write it as a col"),
        (
            annotated("host")
            + rows("t", "air", "a")
            + "\n#datatype,string,long,dateTime:RFC3339,double\n"
            + ",result,table,_time,t\n,,1,2024-03-01T00:00:00Z,1\n",
            "export them to files",
        ),
    ],
    ids=["a failed query", "annotations alone", "a constant", "two forms"],
)
def test_what_has_no_readings_is_named(text, complaint, ingest):
    with pytest.raises(UnreadableFile, match=complaint):
        ingest(text.encode(), "x.csv")


def test_a_table_without_rows_has_none(ingest):
    assert ingest(annotated("host").encode(), "x.csv").frame.is_empty()


def test_a_row_that_is_cut_off_is_refused_alone(ingest):
    text = annotated("host") + rows("t", "air", "a") + ",,0,2024-03-01T00"
    outcome = ingest(text.encode(), "x.csv")
    assert outcome.frame.height == 3
    assert [reason[:20] for reason in outcome.reasons] == ["the row has 4 fields"]
