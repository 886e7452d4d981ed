"""Columns as arrays: few rows and many give the same."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal, TypeVar

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly_platform.ml import columns
from anomaly_platform.ml.columns import coded, microseconds, runs

T = TypeVar("T")
texts = st.lists(st.none() | st.sampled_from(["", "a", "b", "é", "\U0001f4e6", "\ufffd"]))


def _as_many(read: Callable[[pl.Series], T], values: pl.Series) -> T:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "FEW", 0)
        return read(values)


@given(texts)
def test_codes_find_their_texts_and_nulls_none(words: list[str | None]) -> None:
    column = pl.Series("word", words, dtype=pl.String)
    distinct, codes = coded(column)
    assert distinct == sorted(set(words) - {None})
    assert [[*distinct, None][code] for code in codes] == words
    many, same = _as_many(coded, column)
    assert many == distinct
    assert np.array_equal(codes, same)
    assert codes.dtype == same.dtype


@given(texts)
def test_runs_are_numbered_from_zero_whatever_the_length(words: list[str | None]) -> None:
    column = pl.Series("word", words, dtype=pl.String)
    few = runs(column)
    assert np.array_equal(few, _as_many(runs, column))
    changes = sum(a != b for a, b in zip(words[1:], words[:-1], strict=True))
    assert (few[-1] if words else 0) == changes


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Seoul"])
def test_microseconds_whatever_the_unit_and_zone(
    unit: Literal["ms", "us", "ns"], zone: str | None
) -> None:
    time = datetime(2024, 5, 6, 7, 8, 9, 123000, tzinfo=UTC)
    column = pl.Series([time]).dt.cast_time_unit(unit).dt.convert_time_zone(zone or "UTC")
    column = column if zone else column.dt.replace_time_zone(None)
    found = microseconds(column)
    assert found.tolist() == [int(time.timestamp()) * 1_000_000 + 123_000]
    assert found.flags.writeable
