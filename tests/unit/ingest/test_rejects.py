import json

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from anomaly_platform.ingest.rejects import RAW_LIMIT, raw_column, raw_json, row_rejects


@given(st.text(max_size=50), st.integers(0, 5000))
def test_raw_text_is_short_valid_json_that_can_be_stored(text, times):
    raw = raw_json(text * times)
    assert len(raw) <= RAW_LIMIT
    assert "\0" not in raw
    raw.encode("utf-8")
    json.loads(raw)


def test_short_values_are_whole():
    assert json.loads(raw_json('1;"é"')) == '1;"é"'
    assert (
        raw_column(pl.DataFrame({"a": ["x"], "b": [None]}), ["a", "b"])[0] == '{"a":"x","b":null}'
    )


def test_long_rows_are_cut():
    raw = raw_column(pl.DataFrame({"a": ['"' * 10_000, "x"]}), ["a"])
    assert len(raw[0]) <= RAW_LIMIT
    assert [type(json.loads(text)) for text in raw] == [str, dict]


def test_rejects_of_rows():
    rejects = row_rejects([(3, "why", "a;b")])
    assert rejects.row(0) == (3, "", "", "why", '"a;b"')
