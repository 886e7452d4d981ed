"""Durations in a stream's file are written as people write them, and windows follow from them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from anomaly_platform.streams.metric_document import default_windows
from anomaly_platform.streams.stream_document import parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("5m", 300), ("5 min", 300), ("1h", 3600), ("1.5h", 5400), ("2 Weeks", 1209600)],
)
def test_durations_are_written_as_people_write_them(text: str, seconds: int) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("said", [5, "5", "m", "-5m", "5m5s", "5 parsecs", None, "٣m", "1e3s"])
def test_what_is_no_duration_is_refused(said: object) -> None:
    with pytest.raises(ValueError, match="write a number and its unit"):
        parse_duration(said)


@pytest.mark.parametrize(
    ("frequency", "longest"),
    [("1s", 2880), ("30s", 2880), ("1m", 1440), ("5m", 288), ("1h", 288), ("6h", 112), ("1d", 60)],
)
def test_windows_follow_the_frequency(frequency: str, longest: int) -> None:
    assert default_windows(parse_duration(frequency)) == (12, 48, longest)
