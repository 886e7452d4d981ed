import math

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly_platform.ingest.cells import (
    MAX_METADATA,
    read_labels,
    read_metadata,
    read_names,
    read_numbers,
    read_uuids,
)


def one(read, text, *arguments, **options):
    cells = read(pl.Series([text], dtype=pl.String), *arguments, **options)
    return cells.values[0], cells.reasons[0]


@given(values=st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=20))
def test_finite_numbers_are_read_exactly(values):
    cells = read_numbers(pl.Series([repr(value) for value in values], dtype=pl.String))
    assert cells.values.to_list() == values
    assert cells.reasons.null_count() == len(values)


@pytest.mark.parametrize(
    ("text", "value"),
    [("+1", 1.0), (" 1e3 ", 1000.0), (".5", 0.5), ("5.", 5.0), ("TRUE", 1.0), ("false", 0.0)]
    + [(text, None) for text in ("", " ", "null", "NULL", "None", "NA", "n/a", "\\N", None)]
    + [("1e-400", 0.0)],
)
def test_numbers_and_missing_readings(text, value):
    assert one(read_numbers, text) == (value, None)


def test_zero_has_no_sign():
    values = read_numbers(pl.Series(["-0", "-0.0", "x"])).values
    assert [math.copysign(1, value) for value in values[:2]] == [1.0, 1.0]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("NaN", "NaN"),
        ("-inf", "infinite"),
        ("Infinity", "infinite"),
        ("1e400", "too large"),
        ("9" * 400, "too large"),
        ("1,5", "comma"),
        *((text, "not a number") for text in ("0x10", "1_000", "1 000", "yes", "١", "1,000.5")),
    ],
)
def test_what_is_no_number_says_why(text, reason):
    value, why = one(read_numbers, text)
    assert value is None or not math.isfinite(value)
    assert reason in why


def test_names():
    assert one(read_names, " cafe\u0301 ", "it") == ("café", None)
    assert one(read_names, "x" * 256, "it") == ("x" * 256, None)
    assert one(read_names, "x" * 257, "it")[1] == "it is longer than 256 characters"
    assert one(read_names, "a\x85b", "it")[1] == "it has control characters"
    assert one(read_names, "", "it")[1] == one(read_names, None, "it")[1] == "it is missing"
    assert one(read_names, " ", "it", required=False) == (None, None)
    assert one(read_names, None, "it", required=False) == (None, None)


@pytest.mark.parametrize(
    ("text", "value"),
    [(text, True) for text in ("1", "1.0", "true", "YES", " y ")]
    + [(text, False) for text in ("0", "0.0", "False", "no")]
    + [(text, None) for text in ("", " ", "null", None)],
)
def test_labels(text, value):
    assert one(read_labels, text) == (value, None)


@pytest.mark.parametrize("text", ["2", "maybe", "-1", "anomaly"])
def test_what_is_no_label_says_so(text):
    assert "label" in one(read_labels, text)[1]


def test_uuids():
    good = "0190b5a2-7c3d-7e4f-8a1b-2c3d4e5f6071"
    assert one(read_uuids, good) == (good, None)
    assert one(read_uuids, f" {good.upper()} ") == (good, None)
    assert one(read_uuids, good.replace("-", "")) == (good, None)
    assert one(read_uuids, " ") == one(read_uuids, None) == (None, None)
    assert "not a UUID" in one(read_uuids, "{" + good + "}")[1]


def test_metadata_is_canonical_json():
    assert one(read_metadata, '{"b": 1.50, "a": "é"}') == ('{"a":"é","b":1.5}', None)
    assert one(read_metadata, " ") == one(read_metadata, "null") == (None, None)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[1]", "not a JSON object"),
        ('"x"', "not a JSON object"),
        ("{", "not valid JSON"),
        ('{"a": NaN}', "not valid JSON"),
        ('{"a": 1e999}', "not valid JSON"),
        ('{"a": "\\ud800"}', "not valid JSON"),
        ('{"a": "\\u0000"}', "NUL"),
        ('{"a":' * 100_00, "not valid JSON"),
        ('{"a": "' + "x" * MAX_METADATA + '"}', "longer than"),
    ],
)
def test_what_is_no_metadata_says_why(text, reason):
    value, why = one(read_metadata, text)
    assert value is None
    assert reason in why


def test_columns_of_nothing():
    nothing = pl.Series([None, None], dtype=pl.String)
    for read in (read_numbers, read_labels, read_uuids, read_metadata):
        assert read(nothing).values.to_list() == [None, None]
        assert read(nothing).reasons.to_list() == [None, None]
        assert read(nothing.clear()).values.to_list() == []


def test_few_names_and_many_are_judged_alike():
    texts = [" a ", "", None, "x" * 257, "b\x07", "cafe\u0301", "  "]
    for required in (True, False):
        few = read_names(pl.Series(texts, dtype=pl.String), "it", required=required)
        many = read_names(pl.Series(texts * 200, dtype=pl.String), "it", required=required)
        assert many.values.to_list() == few.values.to_list() * 200
        assert many.reasons.to_list() == few.reasons.to_list() * 200
