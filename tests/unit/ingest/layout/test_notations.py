"""Files as people write them: their numbers, times, states and qualities come back as meant."""

from __future__ import annotations

import io
import random
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly_platform.ingest.layout.context import LayoutContext
from anomaly_platform.ingest.layout.mapping import SCAN_FIELDS, ColumnMapping, MappingError
from anomaly_platform.ingest.layout.scans import SCAN_READER
from tests.unit.ingest.layout.notation_files import NOW, raw, read, times, values

# The cases of the field


def test_wincc_log():
    header = '"VarName";"TimeString";"VarValue";"Validity";"Time_ms"\n'
    rows = [
        f'"Kessel_{metric}";"13.03.2026 06:{minute:02d}:00";{value};1;46094250000,0\n'
        for minute in range(20)
        for metric, value in (("Temp", "78,393"), ("Druck", f"3,5{minute:02d}"))
    ]
    status = '"$RT_OFF$";"13.03.2026 10:00:00";0;2;46094415972,22222\n'
    frame, rejects = read(
        header + "".join(rows) + status,
        columns=["VarName=metric_name", "TimeString=timestamp", "VarValue=value"],
        decimal=",",
        timezone="Europe/Berlin",
    )
    assert frame.height == 40
    assert frame.row(0, named=True)["event_time"] == datetime(2026, 3, 13, 5, tzinfo=UTC)
    assert frame["value"][0] == 3.5
    assert frame["value"][1] == 78.393
    assert rejects["reason"].to_list() == ["a status record of the logger, no reading"]


def test_date_and_time_in_two_columns():
    text = "Date,Time,CO(GT),T\n2026-03-01,18:00:00,1.8,11.2\n2026-03-01,19:00:00,2.1,10.2\n"
    frame, rejects = read(text)
    assert rejects.is_empty()
    assert frame["metric"].to_list() == ["CO(GT)", "T"] * 2
    assert frame["event_time"].unique(maintain_order=True).to_list() == [
        datetime(2026, 3, 1, 18, tzinfo=UTC),
        datetime(2026, 3, 1, 19, tzinfo=UTC),
    ]


@pytest.mark.parametrize("mapping", [{}, {"columns": ["date+hour=timestamp"]}])
def test_date_and_hour_in_two_columns(mapping):
    text = "date,hour,CO,T\n" + "".join(
        f"2026-03-0{day},{hour},{hour}.5,11.8\n" for day in (1, 2) for hour in range(24)
    )
    frame, rejects = read(text, **mapping)
    assert rejects.is_empty()
    assert frame.height == 2 * 24 * 2
    assert frame["event_time"].unique().sort().diff().drop_nulls().unique().to_list() == [
        timedelta(hours=1)
    ]


def test_smart_home_history():
    text = (
        "entity_id,state,last_changed\n"
        "sensor.kitchen,21.05,2026-03-01T00:00:00.611Z\n"
        "binary_sensor.pump,off,2026-03-01T00:00:01.404Z\n"
        "sensor.kitchen,unavailable,2026-03-01T00:01:23.692Z\n"
        "sensor.kitchen,unknown,2026-03-01T00:01:24.692Z\n"
        "binary_sensor.pump,on,2026-03-01T00:02:01.404Z\n"
    )
    assert values(
        text,
        columns=["entity_id=device_id", "state=value", "last_changed=timestamp"],
        constants=["metric_name=state"],
    ) == [21.05, 0.0, None, None, 1.0]


# Times


@pytest.mark.parametrize(
    ("cells", "hour"),
    [
        (["13.03.2026 06:00:00"], 6),
        (["01.02.2026 06:00", "13.03.2026 06:00"], 6),
        (["13/03/2026 06:00:00,123"], 6),
        (["03/13/2026 6:00:00 PM"], 18),
        (["3/13/26 12:30 AM"], 0),
        (["13-Mar-2026 06:00"], 6),
        (["Mar 13, 2026 06:00:00"], 6),
        (["Fri Mar 13 06:00:00 2026"], 6),
        (["13 March 2026 6:00 am"], 6),
        (["2026-03-13 06:00:00 PM"], 18),
        (["46094.25"], 6),
        (["46094,25"], 6),
        (["1773381600"], 6),
        (["1773381600123"], 6),
    ],
)
def test_notations_of_times(cells, hour):
    last = times(*cells)[-1]
    assert (last.day, last.month, last.year, last.hour) == (13, 3, 2026, hour)


def test_the_order_of_day_and_month_is_one_for_the_whole_column():
    day_first = [f"{day:02d}/03/2026" for day in range(1, 14)]
    assert [time.day for time in times(*day_first)] == list(range(1, 14))
    month_first = [f"03/{day:02d}/2026" for day in range(1, 14)]
    assert [time.day for time in times(*month_first)] == list(range(1, 14))
    late = [f"0{1 + n % 9}/03/2026 {n // 60 % 24:02d}:{n % 60:02d}" for n in range(9)] * 1200
    text = "timestamp;load\n" + "".join(f"{cell};1\n" for cell in [*late, "28/03/2026 00:00"])
    rows, _ = raw(text)
    assert set(rows["event_time"].dt.month()) == {3}


@pytest.mark.parametrize(
    "cells",
    [["01/02/2026"], ["03-04-2026", "05-06-2026"], ["13/03/26"], ["13/03/2026", "03/14/2026"]],
)
def test_dates_in_two_readings_are_refused_with_an_example(cells):
    with pytest.raises(MappingError, match=r"'timestamp'.*--time-format, such as '%d"):
        times(*cells)


def test_a_format_says_how_times_are_written():
    form = "%m/%d/%Y %I:%M %p"
    assert times("01/02/2026 6:00 PM", time_format=form) == [datetime(2026, 1, 2, 18, tzinfo=UTC)]
    frame, rejects = read("timestamp;load\n2026-01-02 18:00;1\n", time_format=form)
    assert frame.is_empty()
    assert rejects["reason"].to_list() == [f"the time does not have the format {form}"]
    with pytest.raises(MappingError, match="has %q, which is none of"):
        ColumnMapping(time_format="%q")


def test_abbreviations_agree_with_the_zone():
    berlin = {"timezone": "Europe/Berlin"}
    assert [
        time.hour for time in times("2026-07-01 06:00 CEST", "2026-01-01 06:00 CET", **berlin)
    ] == [4, 5]
    assert times("2026-10-25 02:30 CEST", "2026-10-25 02:30 CET", **berlin) == [
        datetime(2026, 10, 25, 0, 30, tzinfo=UTC),
        datetime(2026, 10, 25, 1, 30, tzinfo=UTC),
    ]
    assert times("01.07.2026 06:00 EDT", timezone="America/New_York")[0].hour == 10
    for cell, zone in (("2026-07-01 06:00 CET", "Europe/Berlin"), ("2026-07-01 06:00 EST", "UTC")):
        _, rejects = read(f"timestamp;load\n{cell};1\n", timezone=zone)
        assert f"is not that of {zone} at this time" in rejects["reason"][0]


NIGHT = [datetime(2025, 10, 25, 22, tzinfo=UTC) + timedelta(minutes=10 * n) for n in range(36)]


def _local(moments: list[datetime], names: tuple[str, ...] = ("",)) -> str:
    berlin = ZoneInfo("Europe/Berlin")
    return "timestamp,device_id,metric_name,value\n" + "".join(
        f"{time.astimezone(berlin):%Y-%m-%d %H:%M:%S},{name or 'a'},load,{time.timestamp():.0f}\n"
        for time in moments
        for name in names
    )


@pytest.mark.parametrize("batch_rows", [1, 5, 250_000])
@pytest.mark.parametrize("names", [("a",), ("a", "b")])
@pytest.mark.parametrize("step", [1, 6, -1])
def test_the_repeated_hour_follows_from_the_order(step, names, batch_rows):
    rows, rejects = raw(
        _local(NIGHT[::step], names), batch_rows=batch_rows, timezone="Europe/Berlin"
    )
    assert rejects.is_empty()
    assert (
        rows["event_time"].dt.epoch("s").cast(pl.String).to_list() == rows["value_text"].to_list()
    )


def test_the_repeated_hour_without_order_is_refused():
    shuffled = NIGHT.copy()
    random.Random(1).shuffle(shuffled)
    lone = [time for time in NIGHT if not 0 <= time.hour < 1 or time.day == 25]
    for moments, refused in ((shuffled, 12), (lone, 6)):
        rows, rejects = raw(_local(moments), timezone="Europe/Berlin")
        assert rejects["reason"].str.starts_with("ambiguous local time").sum() == refused
        assert rejects.height == refused
        assert (
            rows["event_time"].dt.epoch("s").cast(pl.String).to_list()
            == rows["value_text"].to_list()
        )


def test_the_missing_hour_is_refused():
    _, rejects = read("timestamp;load\n2026-03-29 02:30:00;1\n", timezone="Europe/Berlin")
    assert rejects["reason"].to_list() == [
        "no such local time: clocks of Europe/Berlin go forward past it"
    ]


FORMS = {
    "%d.%m.%Y %H:%M:%S": None,
    "%d/%m/%Y %H:%M:%S": None,
    "%m/%d/%Y %I:%M:%S %p": None,
    "%d.%m.%y %H:%M:%S": None,
    "%y/%m/%d %H:%M:%S": None,
    "%d-%b-%Y %H:%M:%S": None,
    "%B %d, %Y %H:%M:%S": None,
    "%Y-%m-%dT%H:%M:%S": None,
    "%Y%m%d%H%M%S": None,
}


@given(
    moments=st.lists(
        st.datetimes(datetime(2011, 1, 1), datetime(2026, 10, 1)),  # noqa: DTZ001
        min_size=1,
        max_size=10,
        unique_by=lambda moment: moment.replace(microsecond=0),
    ),
    form=st.sampled_from(list(FORMS)),
)
@settings(max_examples=150, deadline=None)
def test_a_time_comes_back_as_it_was_meant_or_is_refused(moments, form):
    meant = [moment.replace(microsecond=0, tzinfo=UTC) for moment in moments]
    cells = [f"{moment:{form}}" for moment in meant]
    assert times(*cells, time_format=form) == meant
    try:
        found = times(*cells)
    except MappingError:
        return
    assert found == meant


# Times in several columns


@pytest.mark.parametrize(
    ("text", "mapping"),
    [
        ("Year,Day,HourMin,T\n2026,72,600,1\n2026,72,610,2\n", {}),
        ("Year,Month,Day,Hour,Minute,T\n2026,3,13,6,0,1\n2026,3,13,6,10,2\n", {}),
        ("year,month,day,Time,T\n2026,3,13,06:00,1\n2026,3,13,06:10,2\n", {}),
        ("Date,Time,T\n2026-03-13,0600,1\n2026-03-13,0610,2\n", {}),
        ("Datum;Uhrzeit;T\n13.03.2026;06:00:00;1\n13.03.2026;06:10:00;2\n", {}),
        ("Date,Time,T\n3/13/2026,6:00 AM,1\n3/13/2026,6:10 AM,2\n", {}),
        ("T,D,C\n1,2026-03-13,06:00\n2,2026-03-13,06:10\n", {"columns": ["D+C=timestamp"]}),
        ("T,x,y\n1,13/03/26,06:00\n2,13/03/26,06:10\n",
         {"columns": ["x+y=timestamp"], "time_format": "%d/%m/%y %H:%M"}),
    ],
)  # fmt: skip
def test_times_in_several_columns(text, mapping):
    frame, rejects = read(text, **mapping)
    assert rejects.is_empty()
    assert frame["metric"].to_list() == ["T", "T"]
    assert frame["event_time"].to_list() == [
        datetime(2026, 3, 13, 6, tzinfo=UTC),
        datetime(2026, 3, 13, 6, 10, tzinfo=UTC),
    ]


def test_midnight_may_be_the_end_of_a_day():
    frame, _ = read("Year,Day,HourMin,T\n2026,59,2350,1\n2026,59,2400,2\n")
    assert frame["event_time"].to_list()[1] == datetime(2026, 3, 1, tzinfo=UTC)


def test_a_date_beside_a_whole_time_stays_a_date():
    frame, rejects = read("date,time,T\n2026-03-13,2026-03-13 06:00:00,1\n")
    assert rejects.is_empty()
    assert frame["event_time"][0].hour == 6


def test_times_that_cannot_be_are_refusals_of_the_file():
    with pytest.raises(MappingError, match=r"time of day without a date.*--map Date\+time=timest"):
        read("time,T\n06:00:00,1\n06:10:00,2\n")
    rows = "".join(f"2026-03-0{day},{hour}.5\n" for day in (1, 2) for hour in range(24))
    with pytest.raises(MappingError, match=r"too coarse.*--map date\+hour=timestamp"):
        read("date,T\n" + rows)
    with pytest.raises(MappingError, match="no column 'x' of 'date\\+x'"):
        read("date,T\n2026-03-01,1\n", columns=["date+x=timestamp"])


# Qualities


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("timestamp,T,Quality\n2026-03-01,1,Good\n2026-03-02,2,Bad\n", [1.0, None]),
        ("timestamp,T,Quality\n2026-03-01,1,192\n2026-03-02,2,64\n", [1.0, None]),
        ("timestamp,T,Status\n2026-03-01,1,OK\n2026-03-02,2,Fault\n", [1.0, None]),
        ("timestamp,T,T_quality\n2026-03-01,1,good\n2026-03-02,2,bad\n", [1.0, None]),
        ("ts,metric,value,Status\n2026-03-01,T,1,0\n2026-03-02,T,2,2147483648\n", [1.0, None]),
    ],
)  # fmt: skip
def test_bad_readings_are_missing_readings(text, expected):
    frame, rejects = read(text)
    assert rejects.is_empty()
    assert set(frame["metric"]) == {"T"}
    assert frame["value"].to_list() == expected


def test_what_only_looks_like_a_quality_is_none():
    frame, _ = read("timestamp,T,status\n2026-03-01,1,0\n2026-03-02,2,1\n")
    assert frame["metric"].to_list() == ["T", "status"] * 2
    frame, _ = read("timestamp,T,status\n2026-03-01,1,running\n2026-03-02,2,stopped\n")
    assert frame.filter(pl.col("metric") == "status")["value"].to_list() == [1.0, 0.0]


def test_an_unknown_quality_refuses_its_reading():
    rows = "".join(f"2026-03-01 00:00:{n:02d},1,good\n" for n in range(59)) * 200
    late = "2026-03-02,2,shrug\n"
    _, rejects = raw("timestamp,T,quality\n" + rows + late)
    assert rejects["reason"].to_list() == [
        "the reading's quality is a word or code that is not known"
    ]


def test_scans_share_times_and_zones():
    text = "epc_code,event_time\nx,13.03.2026 06:00\nx,14.03.2026 06:00\n"
    context = LayoutContext(
        "a.csv", NOW, ColumnMapping(timezone="Europe/Berlin"), fields=SCAN_FIELDS
    )
    parts = list(SCAN_READER.read(io.BytesIO(text.encode()), context))
    assert [time.hour for time in parts[0][0]["event_time"]] == [5, 5]
    two = text.replace(".", "/").replace("13", "03").replace("14", "04")
    with pytest.raises(MappingError, match="--time-format"):
        list(SCAN_READER.read(io.BytesIO(two.encode()), context))
