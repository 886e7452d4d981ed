from collections import Counter
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from anomaly_platform.ingest.bucketing import bucket
from anomaly_platform.ingest.identity import derived_ids
from anomaly_platform.ingest.validation.metrics import validate_metrics
from anomaly_platform.ingest.validation.schemas import METRIC_EVENTS

START = datetime(2010, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
DAY = date(2024, 5, 1)
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


def validate(rows: pl.DataFrame, day: date = DAY):
    return validate_metrics(rows, day, start=START, now=NOW)


READING = st.fixed_dictionaries(
    {
        "batch_seq": st.integers(1, 3),
        "entity": st.sampled_from(["pump", "fan", " pump ", "", None, "x" * 257, "a\tb", "é", "é"]),
        "metric": st.sampled_from(["temperature", "speed", "", None]),
        "event_time": st.sampled_from(
            [
                NOON,
                NOON + timedelta(minutes=5),
                NOON + timedelta(days=1),
                NOON - timedelta(days=9000),
            ]
        ),
        "value_text": st.sampled_from(
            ["1", "1.0", "2", "", None, "nan", "inf", "1e999", "x", "true", "-0", "0", "1,5"]
        ),
        "event_id_text": st.sampled_from(
            [None, "", "4711", "0190b5a2-7c3d-7e4f-8a1b-2c3d4e5f6071"]
        ),
        "metadata_text": st.sampled_from([None, '{"a": 1, "b": 2}', '{"b":2,"a":1}', "[]", "{"]),
        "label_text": st.sampled_from([None, "0", "1", "maybe"]),
    }
)


@given(readings=st.lists(READING, max_size=40), seed=st.integers(0, 2**16))
@settings(max_examples=80, deadline=None)
def test_every_row_has_one_fate_whatever_the_order(raw_rows, readings, seed):
    rows = raw_rows(readings)
    outcome = validate(rows)
    assert outcome.frame.height + outcome.rejects.height + outcome.duplicates == rows.height
    refused = outcome.rejects.select("batch_seq", "row_number", "column").rows()
    assert len(set(refused)) == len(refused)
    assert outcome.frame.equals(outcome.frame.sort("bucket", "entity", "metric", "event_time"))
    shuffled = validate(rows.sample(fraction=1, shuffle=True, seed=seed))
    assert_frame_equal(shuffled.frame, outcome.frame)
    assert_frame_equal(shuffled.rejects, outcome.rejects)
    assert shuffled.duplicates == outcome.duplicates


@given(readings=st.lists(READING, max_size=30), cut=st.integers(0, 63))
@settings(max_examples=30, deadline=None)
def test_a_day_in_two_parts_by_bucket_is_the_day(raw_rows, readings, cut):
    rows = raw_rows(readings).with_columns(
        pl.col("entity")
        .fill_null("")
        .str.strip_chars()
        .str.normalize("NFC")
        .map_elements(bucket, return_dtype=pl.UInt8, skip_nulls=False)
        .alias("bucket")
    )
    whole = validate(rows)
    parts = [
        validate(rows.filter(pl.col("bucket") < cut)),
        validate(rows.filter(pl.col("bucket") >= cut)),
    ]
    assert_frame_equal(pl.concat([part.frame for part in parts]), whole.frame)
    assert sum(part.duplicates for part in parts) == whole.duplicates


def test_the_first_one_ingested_wins(raw_rows):
    outcome = validate(
        raw_rows(
            [
                {"batch_seq": 2, "value_text": "2"},
                {"batch_seq": 1, "value_text": "1", "row_number": 9},
                {"batch_seq": 1, "value_text": "nan", "row_number": 1},
                {"batch_seq": 3, "value_text": "1.0"},
                {"batch_seq": 3, "value_text": None},
            ]
        )
    )
    assert outcome.frame["value"].to_list() == [1.0]
    assert outcome.duplicates == 1
    assert Counter(outcome.rejects["reason"]) == {
        "the value is NaN": 1,
        "conflicts with an earlier event of the same key": 2,
    }


@pytest.mark.parametrize(
    ("time", "text", "hinted"),
    [
        (datetime(2024, 10, 27, 2, 15, tzinfo=UTC), "27.10.2024 02:15", True),  # Germany
        (datetime(2024, 10, 27, 1, 15, tzinfo=UTC), "2024-10-27T01:15:00", True),  # Britain
        (datetime(2024, 11, 3, 1, 15, tzinfo=UTC), "2024-11-03 01:15", True),  # USA
        (datetime(2024, 10, 27, 2, 15, tzinfo=UTC), "2024-10-27T02:15:00Z", False),
        (datetime(2024, 10, 27, 2, 15, tzinfo=UTC), "2024-10-27T04:15:00+02:00", False),
        (datetime(2024, 10, 27, 1, 15, tzinfo=UTC), "27.10.2024 02:15", False),  # read as German
        (datetime(2024, 10, 27, 5, 15, tzinfo=UTC), "27.10.2024 05:15", False),
        (datetime(2024, 10, 26, 2, 15, tzinfo=UTC), "26.10.2024 02:15", False),
    ],
)
def test_conflicts_in_an_hour_that_comes_twice_by_local_clocks_hint_at_the_zone(
    raw_rows, time, text, hinted
):
    rows = raw_rows([{"event_time": time, "value_text": value} for value in ("1", "2")])
    outcome = validate(rows.with_columns(event_time_text=pl.lit(text)), time.date())
    (reason,) = outcome.rejects["reason"]
    assert reason.startswith("conflicts with an earlier event of the same key")
    assert ("--timezone" in reason) == hinted


def test_label_and_metadata_belong_to_what_a_reading_says(raw_rows):
    outcome = validate(
        raw_rows(
            [
                {"label_text": "0", "metadata_text": '{"b":1,"a":2}'},
                {"label_text": "no", "metadata_text": '{ "a": 2, "b": 1 }'},
                {"label_text": "1", "metadata_text": '{"b":1,"a":2}'},
                {"label_text": None, "metadata_text": '{"b":1,"a":2}'},
            ]
        )
    )
    assert outcome.frame["metadata"].to_list() == ['{"a":2,"b":1}']
    assert outcome.frame["label"].to_list() == [False]
    assert (outcome.duplicates, outcome.rejects.height) == (1, 2)


def test_ids_are_kept_or_derived_from_the_natural_key(raw_rows):
    given_id = "0190B5A27C3D7E4F8A1B2C3D4E5F6071"
    outcome = validate(
        raw_rows(
            [{"event_id_text": given_id}, {"entity": "fan"}, {"entity": "fan", "metric": "rpm"}]
        )
    )
    ids = dict(
        zip(outcome.frame.select("entity", "metric").rows(), outcome.frame["event_id"], strict=True)
    )
    assert ids["pump", "temperature"] == "0190b5a2-7c3d-7e4f-8a1b-2c3d4e5f6071"
    noon = int(NOON.timestamp()) * 1_000_000
    for key, derived in zip(keys := list(ids)[1:], derived_ids(keys, [noon, noon]), strict=True):
        assert ids[key] == str(derived)


def test_rejects_name_row_field_and_what_was_there(raw_rows):
    outcome = validate(raw_rows([{"value_text": "x" * 10_000, "column": "m1", "row_number": 7}]))
    reject = outcome.rejects.row(0, named=True)
    assert (reject["row_number"], reject["column"], reject["field"]) == (7, "m1", "value")
    assert len(reject["raw"]) <= 4096
    assert "pump" in reject["raw"]


def test_a_row_of_another_day_is_refused(raw_rows):
    outcome = validate(raw_rows([{"event_time": NOON + timedelta(days=1)}]))
    assert outcome.rejects["reason"].to_list() == ["the event is not of 2024-05-01"]


def test_a_day_without_rows_has_the_shape_of_a_day(raw_rows):
    outcome = validate(raw_rows([]))
    assert outcome.frame.columns == list(METRIC_EVENTS.columns)
    assert outcome.frame.height == outcome.rejects.height == outcome.duplicates == 0


def test_the_schema_refuses_what_validation_must_not_let_through(raw_rows):
    frame = validate(raw_rows([{}])).frame
    METRIC_EVENTS.validate(frame)
    for broken in (
        frame.with_columns(value=pl.lit(float("inf"))),
        frame.with_columns(entity=pl.lit("")),
        frame.with_columns(event_id=pl.lit("4711")),
        frame.with_columns(extra=pl.lit(1)),
        frame.drop("label"),
        pl.concat([frame, frame]),
    ):
        with pytest.raises(Exception, match=r"(?i)schema|check|column|unique"):
            METRIC_EVENTS.validate(broken, lazy=True)
