from datetime import UTC, datetime, timedelta, timezone

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly_platform.ingest.event_days import (
    EVENT_TIME,
    check_timezone,
    parse_event_time,
    refuse_event_time,
)

NOTATIONS = {
    "2024-05-01 10:11:12": "2024-05-01T10:11:12+00:00",
    "2024-05-01T10:11:12": "2024-05-01T10:11:12+00:00",
    " 2024-05-01 10:11:12 ": "2024-05-01T10:11:12+00:00",
    "2024-05-01T10:11:12Z": "2024-05-01T10:11:12+00:00",
    "2024-05-01t10:11:12z": "2024-05-01T10:11:12+00:00",
    "2024-05-01 10:11:12 UTC": "2024-05-01T10:11:12+00:00",
    "2024-05-01T10:11:12+02:00": "2024-05-01T08:11:12+00:00",
    "2024-05-01T10:11:12-0930": "2024-05-01T19:41:12+00:00",
    "2024-05-01T10:11:12+02": "2024-05-01T08:11:12+00:00",
    "2024-05-01T10:11:12.5Z": "2024-05-01T10:11:12.500000+00:00",
    "2024-05-01T10:11:12,123456789": "2024-05-01T10:11:12.123456+00:00",
    "2024-05-01T10:11": "2024-05-01T10:11:00+00:00",
    "2024-05-01": "2024-05-01T00:00:00+00:00",
    "2024/5/1 10:11": "2024-05-01T10:11:00+00:00",
    "20240501": "2024-05-01T00:00:00+00:00",
    "20240501T101112Z": "2024-05-01T10:11:12+00:00",
    "20240501101112": "2024-05-01T10:11:12+00:00",
    "1714558272": "2024-05-01T10:11:12+00:00",
    "1714558272.25": "2024-05-01T10:11:12.250000+00:00",
    "1.714558272e9": "2024-05-01T10:11:12+00:00",
    "1714558272123": "2024-05-01T10:11:12.123000+00:00",
    "1714558272123456": "2024-05-01T10:11:12.123456+00:00",
    "1714558272123456789": "2024-05-01T10:11:12.123456+00:00",
    "2024-02-29 23:59:60": "2024-03-01T00:00:00+00:00",
}
NO_TIMES = [
    *("", " ", "now", "NaT", "01/02/2024", "2024-02-30", "2023-02-29", "2024-13-01", "2024-00-10"),
    *("2024-05-01 24:00:00", "2024-05-01 10:60", "2024-05-01T10:11:12+25:00", "10:11:12"),
    *("-1714558272", "0", "12", "4102444800", "99999999999999999999999", "1e400", "nan"),
    *("2024-05-01 10:11:12 CET", "0000-01-01", "9999-12-31", "２０２４-05-01"),
]


@pytest.mark.parametrize(("text", "expected"), NOTATIONS.items())
def test_notations(text, expected):
    parsed = parse_event_time(pl.Series([text]))
    assert parsed.dtype == EVENT_TIME
    assert parsed[0].isoformat() == expected


@pytest.mark.parametrize("text", NO_TIMES)
def test_what_is_no_time_is_null(text):
    assert parse_event_time(pl.Series([text])).to_list() == [None]


@given(order=st.permutations([*NOTATIONS, *NO_TIMES, None]))
@settings(max_examples=20, deadline=None)
def test_a_mixed_column_is_read_as_each_of_its_texts(order):
    parsed = parse_event_time(pl.Series(order, dtype=pl.String))
    expected = [datetime.fromisoformat(NOTATIONS[t]) if t in NOTATIONS else None for t in order]
    assert parsed.to_list() == expected


@given(
    times=st.lists(
        st.datetimes(
            datetime(2000, 1, 2),  # noqa: DTZ001
            datetime(2099, 12, 30),  # noqa: DTZ001
            timezones=st.sampled_from(
                [UTC, timezone(timedelta(hours=5, minutes=45)), timezone(-timedelta(hours=11))]
            ),
        ),
        max_size=20,
    )
)
@settings(max_examples=50, deadline=None)
def test_what_python_writes_is_read_exactly(times):
    parsed = parse_event_time(pl.Series([t.isoformat() for t in times], dtype=pl.String))
    assert parsed.to_list() == times
    micros = [(t - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) for t in times]
    assert parse_event_time(pl.Series(map(str, micros), dtype=pl.String)).to_list() == times


def test_times_without_a_zone_are_at_home():
    texts = pl.Series(["2024-07-01 12:00:00", "2024-01-01 12:00:00", "2024-07-01T12:00:00Z"])
    hours = [time.hour for time in parse_event_time(texts, "Europe/Berlin")]
    assert hours == [10, 11, 12]


def test_when_clocks_change():
    texts = pl.Series(["2024-10-27 02:30:00", "2024-03-31 02:30:00", "2024-03-31 02:30"])
    twice, never, never_slow = parse_event_time(texts, "Europe/Berlin")
    assert twice == datetime(2024, 10, 27, 0, 30, tzinfo=UTC)  # the first of the two
    assert never is None
    assert never_slow is None


def test_empty_columns():
    assert parse_event_time(pl.Series([], dtype=pl.String)).dtype == EVENT_TIME
    assert parse_event_time(pl.Series([None, None], dtype=pl.String)).to_list() == [None, None]


def test_unknown_zones_are_named():
    with pytest.raises(ValueError, match="Mars/Olympus"):
        check_timezone("Mars/Olympus")
    with pytest.raises(ValueError, match="unknown time zone"):
        parse_event_time(pl.Series(["2024-05-01"]), "../etc/passwd")


def test_reasons_at_the_bounds():
    start = datetime(2010, 1, 1, tzinfo=UTC)
    now = datetime(2024, 5, 1, tzinfo=UTC)
    tick = timedelta(microseconds=1)
    allowed = now + timedelta(minutes=5)
    times = pl.Series([None, start - tick, start, now, allowed, allowed + tick], dtype=EVENT_TIME)
    reasons = refuse_event_time(times, start=start, now=now).to_list()
    assert [reason is None for reason in reasons] == [False, False, True, True, True, False]
    assert reasons[0].startswith("not a time")
    assert reasons[1] == "before the stream's first day, 2010-01-01"
    assert reasons[5] == "in the future"
