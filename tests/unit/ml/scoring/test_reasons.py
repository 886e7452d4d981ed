"""Reasons are numbers as people write them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from anomaly_platform.ml.scoring.reasons import window_reason

LAYOUT: Any = SimpleNamespace(windows=(12, 288), lags=(1,))


@pytest.mark.parametrize(
    ("value", "spreads"), [(113.0, "110"), (15.3, "12"), (9.56, "6.6"), (3e9, "1000000")]
)
def test_a_distance_has_two_digits_and_no_power_of_ten(value: float, spreads: str) -> None:
    known = {"value": value, "diff_1": 0.0, "jitter_288": 1.0}
    usual = {"median_288": 3.0, "mad_288": 0.0, "std_288": 1.0}
    recent = {"median_12": 3.0, "std_12": 1.0}
    said = window_reason(LAYOUT, 0, {**known, **usual, **recent})
    assert f"is {spreads} spreads from 3, the median of 288 readings" in said
