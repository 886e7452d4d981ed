import io
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

from anomaly_platform.ingest.bucketing import bucket
from anomaly_platform.ingest.layout.context import LayoutContext
from anomaly_platform.ingest.layout.mapping import ColumnMapping, MappingError
from anomaly_platform.ingest.layout.metrics import (
    METRIC_READER,
    RAW_METRIC_ROWS,
    resolve_layout,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DATA = Path(__file__).resolve().parents[5] / "shared" / "data"


def context(name: str = "pump-7.csv.gz", **mapping: object) -> LayoutContext:
    return LayoutContext(name, NOW, ColumnMapping.parse(**mapping))  # type: ignore[arg-type]


def rows_of(content: bytes | str, name: str = "pump-7.csv.gz", **mapping: object):
    data = content.encode() if isinstance(content, str) else content
    parts = list(METRIC_READER.read(io.BytesIO(data), context(name, **mapping)))
    return pl.concat([rows for rows, _ in parts]), pl.concat([rejects for _, rejects in parts])


def test_one_value_column_is_wide_with_one_metric():
    rows, rejects = rows_of("timestamp,value\n2024-05-01 10:00:00,1.5\n")
    assert rows.schema == RAW_METRIC_ROWS
    row = rows.row(0, named=True)
    assert (row["entity"], row["metric"], row["column"]) == ("pump-7", "value", "value")
    assert (row["event_date"], row["bucket"]) == (date(2024, 5, 1), bucket("pump-7"))
    assert rejects.is_empty()


def test_wide_files_name_row_and_column():
    rows, _ = rows_of(
        "time,a,b,is_anomaly,device,metadata\n2024-05-01,1,2,1,fan,{}\n2024-05-02,3,,0,fan,\n"
    )
    cells = rows.sort("row_number", "column").select(
        "row_number", "column", "entity", "metric", "value_text", "label_text"
    )
    assert cells.rows() == [
        (1, "a", "fan", "a", "1", "1"),
        (1, "b", "fan", "b", "2", "1"),
        (2, "a", "fan", "a", "3", "0"),
        (2, "b", "fan", "b", None, "0"),
    ]


def test_long_files_ignore_what_is_unknown():
    content = "Device ID,MetricName,ts,Value,unit\n fan ,speed,2024-05-01,1,rpm\n"
    rows, _ = rows_of(content)
    assert rows.select("entity", "metric", "value_text", "column").rows() == [
        ("fan", "speed", "1", "")
    ]
    layout = METRIC_READER.layout(io.BytesIO(content.encode()), context())
    assert not layout.wide
    assert layout.ignored == ("unit",)
    assert layout.entity_from_name is None


def test_constants_stand_for_columns():
    rows, _ = rows_of("ts,value\n2024-05-01,1\n", constants=["asset_id=fan", "metric_name=speed"])
    assert rows.select("entity", "metric", "column").rows() == [("fan", "speed", "")]


def test_mapped_columns_win_over_known_names():
    rows, _ = rows_of(
        "timestamp,measured,a,host\n2020-01-01,2024-05-01,1,x\n",
        columns=["measured=timestamp"],
        constants=["device_id=fan"],
    )
    # The columns whose place is taken are no metrics.
    assert rows.select("entity", "metric", "event_date").rows() == [("fan", "a", date(2024, 5, 1))]


def test_the_first_column_is_the_time_of_a_wide_file():
    rows, rejects = rows_of("when,a\n2024-05-01,1\nlater,2\n")
    assert rows["event_date"].to_list() == [date(2024, 5, 1)]
    assert rejects.select("row_number", "column", "field").rows() == [(2, "a", "event_time")]


def test_columns_may_be_left_out():
    rows, _ = rows_of("timestamp,a,b\n2024-05-01,1,2\n", ignore=["b"])
    assert rows["metric"].to_list() == ["a"]


def test_naive_times_are_in_the_zone_of_the_mapping():
    rows, _ = rows_of("timestamp,a\n2024-05-01 01:00:00,1\n", timezone="Asia/Tokyo")
    assert rows["event_date"].to_list() == [date(2024, 4, 30)]


def test_decimal_commas_are_read_where_they_are_said():
    rows, _ = rows_of("timestamp;a\n2024-05-01;1,5\n", decimal=",")
    assert rows["value_text"].to_list() == ["1.5"]


def test_names_are_in_one_normal_form():
    rows, _ = rows_of("timestamp,device_id,cafe\u0301\n2024-05-01, e\u0301 ,1\n")
    assert rows.select("entity", "metric", "bucket").row(0) == ("é", "café", bucket("é"))


def test_absent_keys_are_no_readings_but_nulls_are():
    rows, _ = rows_of(
        '{"ts":"2024-05-01","a":1}\n{"ts":"2024-05-02","b":null}\n{"ts":"2024-05-03","c":3}\n',
        name="x.jsonl",
    )
    assert rows.select("row_number", "metric", "value_text").sort("row_number").rows() == [
        (1, "a", "1"),
        (2, "b", None),
        (3, "c", "3"),
    ]


def test_an_id_of_a_wide_row_is_no_id_of_its_readings():
    one, _ = rows_of("timestamp,event_id,a\n2024-05-01,x,1\n")
    two, _ = rows_of("timestamp,event_id,a,b\n2024-05-01,x,1,2\n")
    assert one["event_id_text"].to_list() == ["x"]
    assert two["event_id_text"].to_list() == [None, None]


@pytest.mark.parametrize(
    ("columns", "mapping", "complaint"),
    [
        (["a", "b"], {"columns": ["c=value"]}, "no column 'c'; its columns are a, b"),
        (["a", "b"], {"ignore": ["c"]}, "no column 'c'"),
        (["metric", "value"], {}, "no column for the time; .* its columns are metric, value"),
        (["metric", "ts"], {}, "no column for its value"),
        (["ts"], {}, "no column with values besides the time"),
        (["ts", "temp"], {"columns": ["temp=value"]}, "nothing says which metric"),
        (["device_id", "a"], {}, "no column for the time"),
        (["ts", "a"], {"constants": ["value=1"]}, "'value' cannot be the same in every row"),
        (["ts", "a"], {"constants": ["timestamp=2024"]}, "cannot be the same in every row"),
    ],
)
def test_what_cannot_be_understood_names_the_columns(columns, mapping, complaint):
    with pytest.raises(MappingError, match=complaint):
        resolve_layout(columns, context(**mapping))


@pytest.mark.skipif(not DATA.exists(), reason="the shared data sets are not here")
@pytest.mark.parametrize(
    ("file", "metrics", "readings"),
    [
        ("asd/server-01_test.csv.gz", 19, 19 * 4320),
        ("nab/realKnownCause/machine_temperature_system_failure.csv.gz", 1, 22695),
        ("skab/valve2/1.csv.gz", 9, 9 * 1063),
    ],
)
def test_real_files_come_through_to_the_reading(file, metrics, readings):
    parts = list(METRIC_READER.read(DATA / file, context(file)))
    rows = pl.concat([rows for rows, _ in parts])
    assert rows["metric"].n_unique() == metrics
    assert rows.height == readings
    assert all(rejects.is_empty() for _, rejects in parts)
