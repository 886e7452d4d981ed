"""Times as loggers and databases write them, in one column or several: each comes back as meant."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from anomaly_platform.ingest.files.sources import UnreadableFile
from anomaly_platform.ingest.layout.context import LayoutContext
from anomaly_platform.ingest.layout.mapping import ColumnMapping
from anomaly_platform.ingest.layout.metrics import METRIC_READER

SIX = datetime(2025, 3, 13, 6, tzinfo=UTC)


def times(ingest: Callable[..., Any], text: str, **mapping: Any) -> list[datetime]:
    """Return the instants of a file of one metric, of which no row is refused."""
    outcome = ingest(text.encode(), "a.csv", ColumnMapping.parse(**mapping))
    assert outcome.reasons == []
    assert outcome.frame["metric"].unique().to_list() == ["T"]
    return outcome.frame["event_time"].to_list()


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("Date;Time", "13/03/2025;06.00.00"),
        ("Date;Time", "2025-03-13;060000"),
        ("Date;Time", "20250313;06:00:00"),
        ("Date;Time", "2025-03-13 00:00:00;06:00:00"),
        ("Date;Time", "2025-03-13;1899-12-30 06:00:00"),
        ("Date;Time", "45729;06:00"),
        ("date;hour", "2025-03-13;06:00"),
        ("date;hour;min", "2025-03-13;6;0"),
        ("date;hours;minutes", "2025-03-13;6;0"),
        ("Date;Time;AM/PM", "2025-03-13;06:00;AM"),
        ("Date;Time;TZ", "2025-03-13;07:00;+01:00"),
        ("timestamp;Timezone", "2025-03-13 07:00:00;+0100"),
        ("Tag;Uhr", "13.03.2025;06:00"),
    ],
)
def test_times_in_several_columns(ingest, header, row):
    assert times(ingest, f"{header};T\n{row};1\n") == [SIX]


def test_the_afternoon_in_a_column_of_its_own(ingest):
    text = "Date;Time;AM/PM;T\n2025-03-13;06:00;AM;1\n2025-03-13;03:00;PM;2\n"
    assert times(ingest, text) == [SIX, SIX.replace(hour=15)]


@pytest.mark.parametrize("name", ["ms", "Millisecond"])
@pytest.mark.parametrize(
    ("header", "row"),
    [("Date;Time", "2025-03-13;06:00:00"), ("timestamp", "2025-03-13 06:00:00")],
)
def test_milliseconds_in_a_column_of_their_own(ingest, name, header, row):
    text = f"{header};{name};T\n{row};50;1\n{row};500;2\n"
    read = times(ingest, text)
    assert read == [SIX.replace(microsecond=50_000), SIX.replace(microsecond=500_000)]


@pytest.mark.parametrize(
    ("said", "row"),
    [
        ("Tag+Uhr", "13.03.2025;06:00"),
        ("Tag+Stunde", "13.03.2025;6"),
        ("Zeit+ms", "13.03.2025 06:00:00;0"),
    ],
)
def test_columns_of_any_name_are_mapped_together(ingest, said, row):
    text = f"{said.replace('+', ';')};T\n{row};1\n"
    assert times(ingest, text, columns=[f"{said}=timestamp"]) == [SIX]


def test_a_minimum_is_no_minute(ingest):
    outcome = ingest(b"date;hour;min;max\n2025-03-13;6;10;20\n", "a.csv")
    assert outcome.frame["metric"].to_list() == ["max", "min"]
    assert outcome.frame["event_time"].unique().to_list() == [SIX]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Datum;von;bis;T\n13.03.2025;06:00;06:15;1\n", ["von, bis", "--map Datum+von"]),
        ("id;began;ended;T\n1;2025-03-13 06:00;2025-03-13 06:15;1\n", ["--map began=timestamp"]),
        ("Date;Time;TZ;T\n2025-03-13;06:00;Europe/Berlin;1\n", ["--timezone Europe/Berlin"]),
    ],
)
def test_what_may_be_the_time_twice_is_refused_with_the_option(ingest, text, names):
    with pytest.raises(UnreadableFile) as refused:
        ingest(text.encode(), "a.csv")
    assert all(name in str(refused.value) for name in names)


@pytest.mark.parametrize("name", ["created_at", "Zeitstempel", "Timestamp (UTC)"])
def test_the_only_column_with_times_is_the_time(ingest, name):
    outcome = ingest(f"No.;{name};T\n1;13.03.2025 06:00:00;1,5\n".encode(), "a.csv")
    assert outcome.frame["event_time"].unique().to_list() == [SIX]
    assert outcome.reasons == []


@pytest.mark.parametrize(
    "cell",
    [
        "13.03.2025 06.00.00",
        "13-MAR-25 06.00.00.000000 AM",
        "2025-03-13-06.00.00",
        "13/Mar/2025:06:00:00 +0000",
        "20250313 06:00:00",
        "202503130600",
        "13. März 2025 06:00",
        "Do 13.03.2025 06:00",
        "Thu 13.03.2025 06:00",
        "13.03.2025 06:00 Uhr",
        "2025-03-13T07:00:00+01:00[Europe/Berlin]",
        "1741845600,0",
    ],
)
def test_further_notations(ingest, cell):
    assert times(ingest, f"timestamp;T\n{cell};1\n") == [SIX]


@pytest.mark.parametrize("cell", ["2025-03-30 24:00", "30.03.2025 24:00:00"])
def test_hour_24_is_the_midnight_at_the_end_of_the_day(ingest, cell):
    # Clocks go forward on this day: it has 23 hours.
    read = times(ingest, f"timestamp;T\n{cell};1\n", timezone="Europe/Berlin")
    assert read == [datetime(2025, 3, 30, 22, tzinfo=UTC)]


def test_a_clock_that_is_none_is_not_called_an_order_of_days(ingest):
    (reason,) = ingest(b"timestamp;T\n13.03.2025 06h00;1\n", "a.csv").reasons
    assert "change places" not in reason


@pytest.mark.parametrize("name", ["Timestamp (UTC)", "timestamp_utc", "UTC Time"])
def test_a_column_that_is_called_utc_is_in_utc(name):
    text = f"{name};T\n2025-03-13 06:00:00;1\n".encode()
    context = LayoutContext("a.csv", SIX.replace(year=2026), timezone="Europe/Berlin")
    ((rows, _),) = METRIC_READER.read(io.BytesIO(text), context)
    assert rows["event_time"].to_list() == [SIX]
    given = replace(context, mapping=ColumnMapping.parse(timezone="Europe/Berlin"))
    ((rows, _),) = METRIC_READER.read(io.BytesIO(text), given)
    assert rows["event_time"].to_list() == [SIX.replace(hour=5)]
