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


def arrive(platform: Platform, *moments: datetime) -> None:
    """Store that files of the stream were taken in at these times."""
    for moment in moments:
        platform.warehouse.transactions.execute(
            "INSERT INTO ingest_ledger (stream, digest, source, status, ingest_date, ingested_at) "
            "VALUES ('iiot', %(time)s::text, 'a.csv', 'ingested', %(day)s, %(time)s)",
            {"time": moment, "day": moment.date()},
        )


def tell_at(platform: Platform, now: datetime) -> tuple[int, int]:
    with platform.warehouse.transactions.begin() as connection:
        return tell_of_silence(connection, platform.outbox, "iiot", "Plant", now)


def reading(platform: Platform, entity: str, now: datetime) -> None:
    """Store a reading that came by itself."""
    platform.warehouse.transactions.execute(
        "INSERT INTO online_readings (stream, event_id, entity, metric, event_time, value, "
        "threshold, status, source, received_at) VALUES ('iiot', gen_random_uuid(), %(entity)s, "
        "'temp', %(now)s, 1, 0.7, 'trained', 'api', %(now)s)",
        {"entity": entity, "now": now},
    )
    platform.warehouse.transactions.execute(
        "WITH state AS (INSERT INTO series_state (stream, entity, metric, feature_version, "
        "state) VALUES ('iiot', %(entity)s, 'temp', '', '') ON CONFLICT (stream, entity, metric) "
        "DO UPDATE SET stream = 'iiot' RETURNING id) INSERT INTO series_heads (id, last_event) "
        "SELECT id, %(now)s FROM state ON CONFLICT (id) DO UPDATE SET last_event = %(now)s",
        {"entity": entity, "now": now},
    )


def test_a_stream_that_nothing_comes_of_is_one_alert_and_its_return_is_told(
    platform: Platform,
) -> None:
    end = FIRST + timedelta(days=4) - STEP
    for day in range(4):
        heard(platform, day, ALL)
    for entity in ("pump", "fan"):
        reading(platform, entity, end)
    arrive(platform, *(FIRST + n * STEP for n in range(4 * 288)))
    assert tell_at(platform, end + timedelta(minutes=50)) == (0, 0)
    assert tell_at(platform, end + timedelta(hours=21)) == (1, 0)
    assert tell_at(platform, end + timedelta(hours=22)) == (1, 0)
    assert told(platform) == [("silent", "firing", "Plant: nothing new comes")]
    ((why,),) = platform.warehouse.transactions.tuples("SELECT details ->> 'reason' FROM alerts")
    assert why == "nothing new since 2026-03-05 23:55 UTC, usual is every 5 min"
    reading(platform, "fan", end + timedelta(hours=23))
    assert tell_at(platform, end + timedelta(hours=23)) == (0, 1)
    arrive(platform, end + timedelta(hours=23, minutes=1))
    assert tell_at(platform, end + timedelta(hours=23, minutes=30)) == (0, 0)
    reading(platform, "fan", end + timedelta(hours=24, minutes=5))
    assert tell_at(platform, end + timedelta(hours=24, minutes=5)) == (1, 0)
    titles = [(state, title) for _, state, title in told(platform)]
    assert titles[1:] == [
        ("resolved", "Plant: nothing new comes"),
        ("firing", "Plant: temp of pump is silent"),
    ]


def test_one_file_a_day_and_files_that_were_put_in_once_are_no_silence(platform: Platform) -> None:
    arrive(platform, *(FIRST + n * STEP for n in range(20)))
    assert tell_at(platform, FIRST + timedelta(days=6)) == (0, 0)
    arrive(platform, *(FIRST + timedelta(days=n, hours=2) for n in range(1, 4)))
    assert tell_at(platform, FIRST + timedelta(days=5)) == (0, 0)
    assert tell_at(platform, FIRST + timedelta(days=5, hours=8)) == (1, 0)


def test_a_reading_that_comes_by_itself_does_not_make_series_of_files_silent(
    platform: Platform,
) -> None:
    for day in range(5):
        heard(platform, day, ALL)
    reading(platform, "new", NOW)
    reading(platform, "fan", NOW)
    assert tell(platform) == (0, 0)
