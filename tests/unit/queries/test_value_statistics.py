"""What is usual in values: finite whatever they are."""

from __future__ import annotations

import datetime as dt
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly_platform.queries.value_statistics import describe

START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def times(count: int) -> list[dt.datetime]:
    return [START + dt.timedelta(minutes=30 * n) for n in range(count)]


def test_a_rising_line_with_a_gap() -> None:
    found = describe(times(5), [0.0, 1.0, None, 3.0, 4.0])
    assert (found["count"], found["missing"]) == (4, 1)
    assert (found["mean"], found["min"], found["max"]) == (2.0, 0.0, 4.0)
    assert found["percentiles"]["p50"] == pytest.approx(2.0)
    assert found["trend"]["slope_per_hour"] == pytest.approx(2.0)
    assert found["trend"]["direction"] == "up"


def test_nothing_is_known_of_nothing() -> None:
    assert describe([], [])["mean"] is None
    assert describe(times(2), [None, None])["trend"] is None
    assert describe(times(1), [1.0])["trend"] is None
    assert describe(times(3), [1.0, 1.0, 1.0])["trend"]["direction"] == "flat"


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_numbers_stay_finite(values: list[float]) -> None:
    found = describe(times(len(values)), values)
    for name in ("mean", "std", "min", "max"):
        assert math.isfinite(found[name])
    assert all(math.isfinite(value) for value in found["percentiles"].values())
