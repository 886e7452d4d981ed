"""Numbers with a type, qualities in words of gateways, and hours that come twice."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime

import polars as pl
import pytest

from anomaly_platform.ingest.files.sources import UnreadableFile
from anomaly_platform.ingest.layout.context import LayoutContext
from anomaly_platform.ingest.layout.mapping import ColumnMapping
from anomaly_platform.ingest.layout.metrics import METRIC_READER

TIME = "2025-03-13T06:00:0{}Z"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
NO_OPTION = ColumnMapping()
COMMA = ColumnMapping.parse(decimal=",")


@pytest.mark.parametrize("mapping", [NO_OPTION, COMMA])
def test_a_number_of_json_is_what_it_is_beside_texts_with_commas(ingest, mapping):
    records = [
        {"timestamp": TIME.format(n), "a": a, "b": 2.755}
        for n, a in enumerate((1.523, "1,5", "1.523"))
    ]
    frame = ingest(json.dumps(records).encode(), "a.json", mapping).frame
    assert frame.filter(metric="a")["value"].to_list() == [1.523, 1.5, 1523.0]
    assert frame.filter(metric="b")["value"].unique().to_list() == [2.755]


@pytest.mark.parametrize("mapping", [NO_OPTION, COMMA])
def test_a_number_of_parquet_is_what_it_is_beside_texts_with_commas(ingest, mapping):
    content = io.BytesIO()
    columns = {"timestamp": [TIME.format(0), TIME.format(1)], "a": [1.523, 2.5], "b": ["1,5", "2"]}
    pl.DataFrame(columns).write_parquet(content)
    frame = ingest(content.getvalue(), "a.parquet", mapping).frame
    assert frame.filter(metric="a")["value"].to_list() == [1.523, 2.5]
    assert frame.filter(metric="b")["value"].to_list() == [1.5, 2.0]


def test_the_head_of_many_numbers_with_types_can_be_shown():
    content = io.BytesIO()
    pl.DataFrame(
        {"timestamp": [1_741_845_600 + n for n in range(1_500)], "a": [0.5] * 1_500}
    ).write_parquet(content)
    head = METRIC_READER.head(content, LayoutContext("a.parquet", NOW, COMMA))
    assert head.rows.height == 1_000


def of_quality(ingest, name: str, *cells: str):
    rows = "".join(f"{TIME.format(n)};{n};{cell}\n" for n, cell in enumerate(cells))
    return ingest(f"timestamp;T;{name}\n{rows}".encode(), "a.csv")


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("Quality", "Good", "BadCommunicationError"),
        ("Quality", "Good, non-specific", "Bad, no communication"),
        ("Quality", "GoodClamped", "UncertainLastUsableValue"),
        ("Status", "Good", "Bad: Configuration Error"),
        ("StatusCode", "0x00000000", "0x80310000"),
        ("Qualität", "gut", "schlecht"),
    ],
)
def test_qualities_of_gateways(ingest, name, good, bad):
    outcome = of_quality(ingest, name, good, bad)
    assert outcome.reasons == []
    assert outcome.frame["metric"].unique().to_list() == ["T"]
    assert outcome.frame["value"].to_list() == [0.0, None]


def test_an_unknown_word_among_qualities_refuses_its_reading(ingest):
    outcome = of_quality(ingest, "Quality", "OK", "Sensor Fault")
    assert outcome.frame["value"].to_list() == [0.0]
    assert outcome.reasons == ["the reading's quality is a word or code that is not known"]


def test_a_status_in_0_and_1_is_no_quality_of_its_metric(ingest):
    content = f"timestamp;pump;pump_status\n{TIME.format(0)};5;0\n{TIME.format(1)};6;1\n"
    frame = ingest(content.encode(), "a.csv").frame
    assert frame["value"].to_list() == [5.0, 6.0, 0.0, 1.0]


def test_qualities_of_nothing_but_0_are_refused_where_they_are_mapped(ingest):
    content = f"timestamp;T;Q\n{TIME.format(0)};5;0\n"
    with pytest.raises(UnreadableFile, match="may be good or bad"):
        ingest(content.encode(), "a.csv", ColumnMapping.parse(["Q=quality"]))


@pytest.mark.parametrize(
    ("one", "zero"),
    [("Active", "inactive"), ("enabled", "disabled"), ("opened", "close")],
)
def test_further_states(ingest, one, zero):
    content = f"timestamp;S\n{TIME.format(0)};{one}\n{TIME.format(1)};{zero}\n"
    assert ingest(content.encode(), "a.csv").frame["value"].to_list() == [1.0, 0.0]


@pytest.mark.parametrize(
    "clocks",
    [
        # Two rows changed places, and the hour is there once.
        ["01:50", "02:00", "02:10", "02:30", "02:20", "02:40", "02:50", "03:00", "03:10"],
        # Rows in no order.
        ["01:30", "02:30", "02:00", "03:00", "02:15", "00:10"],
    ],
)
def test_rows_that_changed_places_are_no_clocks_that_went_back(ingest, clocks):
    rows = "".join(f"2025-10-26 {clock};{n}\n" for n, clock in enumerate(clocks))
    zone = ColumnMapping.parse(timezone="Europe/Berlin")
    outcome = ingest(f"timestamp;T\n{rows}".encode(), "a.csv", zone)
    assert len(outcome.reasons) == sum(clock.startswith("02") for clock in clocks)
    assert all("ambiguous local time" in reason for reason in outcome.reasons)
