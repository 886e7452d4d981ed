"""Who is no longer heard is told once, and so is the return."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from anomaly_platform.incidents.silence import tell_of_silence
from anomaly_platform.platform import Platform

pytestmark = pytest.mark.integration

FIRST = datetime(2026, 3, 2, tzinfo=UTC)
NOW = datetime(2026, 3, 20, tzinfo=UTC)
STEP = timedelta(minutes=5)


def heard(
    platform: Platform,
    day: int,
    until: dict[tuple[str, str], float],
    begin: float = 0.0,
) -> None:
    """Store that series were heard every five minutes of a day, up to these hours of it."""
    start = FIRST + timedelta(days=day)
    rows = [
        {
            "entity": entity,
            "metric": metric,
            "rows": int((hour - begin) * 12),
            "first_event": start + timedelta(hours=begin),
            "last_event": start + timedelta(hours=hour) - STEP,
        }
        for (entity, metric), hour in until.items()
    ]
    platform.warehouse.series.replace_day("iiot", start.date(), pl.DataFrame(rows))


def tell(platform: Platform) -> tuple[int, int]:
    with platform.warehouse.transactions.begin() as connection:
        return tell_of_silence(connection, platform.outbox, "iiot", "Plant", NOW)


def told(platform: Platform) -> list[tuple[str, str, str]]:
    return platform.warehouse.transactions.tuples(
        "SELECT kind, state, title FROM notifications ORDER BY seq"
    )


ALL = {("pump", "temp"): 24.0, ("pump", "flow"): 24.0, ("fan", "temp"): 24.0}


def test_a_device_and_a_series_that_fall_silent_are_told_once_and_their_return_is(
    platform: Platform,
) -> None:
    for day in range(5):
        heard(platform, day, ALL)
    assert tell(platform) == (0, 0)
    heard(platform, 5, ALL | {("fan", "temp"): 8.0, ("pump", "flow"): 9.0})
    assert tell(platform) == (2, 0)
    assert tell(platform) == (2, 0)
    assert {(kind, state) for kind, state, _ in told(platform)} == {("silent", "firing")}
    titles = [title for *_, title in told(platform)]
    assert sorted(titles) == ["Plant: fan is silent", "Plant: flow of pump is silent"]
    heard(platform, 6, ALL)
    assert tell(platform) == (0, 2)
    assert [state for _, state, _ in told(platform)].count("resolved") == 2
    assert tell(platform) == (0, 0)
    assert len(told(platform)) == 4


def test_who_rests_at_night_or_has_been_silent_for_long_is_not_told(platform: Platform) -> None:
    for day in range(20):
        one = {("pump", "temp"): 24.0}
        if day < 8:
            one[("old", "temp")] = 24.0
        heard(platform, day, one)
    assert tell(platform) == (1, 0)
    assert told(platform) == []


def test_a_break_as_long_as_every_night_is_no_silence(platform: Platform) -> None:
    for day in range(6):
        heard(platform, day, {("shift", "temp"): 18.0}, begin=6.0)
    heard(platform, 6, {("always", "temp"): 18.0})
    for day in range(3, 6):
        heard(platform, day, {("shift", "temp"): 18.0, ("always", "temp"): 18.0}, begin=6.0)
    assert tell(platform) == (0, 0)
