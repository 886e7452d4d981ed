"""Single readings are judged as the rows of a file are."""

import json
import math
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly_platform.ingest.cells import read_metadata, read_names
from anomaly_platform.ingest.event_days import parse_event_time, refuse_event_time
from anomaly_platform.ingest.identity import derived_ids
from anomaly_platform.ingest.online.readings import (
    RawReading,
    Reading,
    ReadingRules,
    Refusal,
    read_name,
    read_time,
)

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
START = datetime(2020, 1, 1, tzinfo=UTC)
RULES = ReadingRules(start=START, future_allowance=timedelta(hours=1))
#: As derived ids are, of nothing that is sent here.
FOREIGN = "017f22e2-79b0-8cc3-98c4-dc0c0c07398f"

texts = st.one_of(
    st.text(max_size=300),
    st.text(alphabet="ab \t\x1c\x85\xa0\u2003e\u0301\x00", max_size=12),
)
times = st.one_of(
    st.datetimes(timezones=st.just(UTC)).map(lambda t: t.isoformat()),
    st.datetimes().map(lambda t: t.isoformat(" ")),
    st.datetimes().map(lambda t: t.strftime("%Y-%m-%dT%H:%M:%SZ")),
    st.integers(0, 5_000_000_000_000).map(str),
    st.sampled_from(
        [
            "2026-03-01T10:00:00+02:00",
            "2026-03-01T24:00:00Z",
            "2026-02-30T10:00:00Z",
            "2016-12-31T23:59:60Z",
            "0001-01-01T00:00:00+23:59",
            "9999-12-31T23:59:59Z",
            "2026-03-01T10:00:00.1234567Z",
            "20260301T100000Z",
            "2026-W09-1T10:00:00Z",
            "01/02/2026",
            "yesterday",
            "",
        ]
    ),
)


@given(text=texts)
def test_a_name_is_read_as_in_a_file(text):
    cells = read_names(pl.Series([text]), "it")
    name, reason = read_name(text)
    assert (f"it {reason}" if reason else None) == cells.reasons[0]
    if not reason:
        assert name == cells.values[0]


def test_a_time_of_one_reading_is_read_in_other_notations_too():
    six = "2026-03-13T06:00:00+00:00"
    for text in ("13.03.2026 06:00", "13/03/2026 6:00 AM", "13-Mar-2026 06:00:00.000"):
        assert read_time(text, "UTC") == read_time(six, "UTC")
    zoned = read_time("2026-03-13 06:00 CET", "Europe/Berlin")
    assert zoned == read_time("2026-03-13T05:00:00Z", "UTC")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("03/04/2026 06:00", "may change places; write it as 2026-03-13, or in seconds since 1970"),
        ("2025-10-26 02:30", "ambiguous local time"),
        ("2025-03-30 02:30", "no such local time"),
        ("2025-07-01 02:30 CET", "is not that of Europe/Berlin at this time; give the offset"),
    ],
)
def test_a_time_with_two_readings_is_refused_by_name(text, reason):
    rules = ReadingRules(START, "Europe/Berlin")
    (refusal,) = rules.check([RawReading("a", "b", 1.0, text)], NOW)
    assert isinstance(refusal, Refusal)
    assert reason in refusal.reason
    assert "--" not in refusal.reason  # no option of the command line


@given(text=times)
def test_a_time_is_read_as_in_a_file(text):
    expected = parse_event_time(pl.Series([text]))[0]
    found, _ = read_time(text, "UTC")
    if expected is None:
        assert found is None
    else:
        assert found == (expected - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


@given(offset=st.integers(-3, 3), unit=st.sampled_from(["start", "now"]))
def test_the_bounds_of_time_are_those_of_a_file(offset, unit):
    edge = RULES.start if unit == "start" else NOW + RULES.future_allowance
    moment = edge + timedelta(microseconds=offset)
    (found,) = RULES.check([RawReading("d", "m", 1.0, moment.isoformat())], NOW)
    expected = refuse_event_time(
        pl.Series([moment]), start=RULES.start, now=NOW, future_allowance=RULES.future_allowance
    )[0]
    assert (found.reason if isinstance(found, Refusal) else None) == expected


@given(
    said=st.dictionaries(
        st.text(max_size=5), st.one_of(st.none(), st.integers(), st.text(max_size=9)), max_size=4
    )
)
def test_metadata_are_kept_as_from_a_file(said):
    cells = read_metadata(pl.Series([json.dumps(said)]))
    (found,) = RULES.check([RawReading("d", "m", 1.0, metadata=said)], NOW)
    if isinstance(found, Refusal):
        assert found.reason == cells.reasons[0]
    else:
        assert found.metadata == cells.values[0]


def test_a_reading_without_a_time_is_of_now():
    (found,) = RULES.check([RawReading(" pump ", "m", -0.0)], NOW)
    assert isinstance(found, Reading)
    assert (found.entity, found.has_time) == ("pump", False)
    assert found.time == NOW.timestamp() * 1e6
    assert math.copysign(1.0, found.value) == 1.0


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (RawReading(" ", "m", 1.0), "entity"),
        (RawReading("d", "m\x07", 1.0), "metric"),
        (RawReading("d\ud800", "m", 1.0), "entity"),
        (RawReading("d", "m", math.nan), "value"),
        (RawReading("d", "m", -math.inf), "value"),
        (RawReading("d", "m", 1.0, "soon"), "event_time"),
        (RawReading("d", "m", 1.0, "2019-12-31T23:59:59Z"), "event_time"),
        (RawReading("d", "m", 1.0, None, "abc"), "event_id"),
        (RawReading("d", "m", 1.0, None, "1" * 10_000), "event_id"),
        (RawReading("d", "m", 1.0, "2026-03-01T00:00:00Z", FOREIGN), "event_id"),
        (RawReading("d", "m", 1.0, None, FOREIGN), "event_id"),
        (RawReading("d", "m", 1.0, None, None, {"a": "x" * 70_000}), "metadata"),
        (RawReading("d", "m", 1.0, None, None, {"a": "\x00"}), "metadata"),
        (RawReading("d", "m", 1.0, None, None, {"a": math.nan}), "metadata"),
    ],
)
def test_a_bad_reading_is_refused_by_field_and_stops_no_other(raw, field):
    bad, good = RULES.check([raw, RawReading("d", "m", 1.0, None, str(uuid4()))], NOW)
    assert isinstance(bad, Refusal)
    assert bad.field == field
    assert bad.reason
    assert isinstance(good, Reading)


def test_an_id_that_follows_from_its_reading_is_taken_for_that_one_only():
    times = [f"2026-03-01T00:0{n}:00Z" for n in range(2)]
    first, _ = RULES.check([RawReading("d", "m", 1.0, time) for time in times], NOW)
    own = str(derived_ids([("d", "m")], [first.time])[0])
    kept, refused = RULES.check([RawReading("d", "m", 1.0, time, own) for time in times], NOW)
    assert str(kept.event_id) == own
    assert refused.field == "event_id"
    assert "make one of another version" in refused.reason
