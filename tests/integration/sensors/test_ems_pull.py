"""Readings come from the EMS into landing once each, whatever dies in between."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from anomaly_platform.cli.streams.run import run_stream
from anomaly_platform.ems.pull import EmsPull
from anomaly_platform.ems.records import EmsError
from anomaly_platform.platform import Platform
from anomaly_platform.sensors.ems_pull import build_ems_sensors, pull
from anomaly_platform.settings import Settings, get_settings
from anomaly_platform.storage.lake.landing import Landing
from anomaly_platform.streams import EMS
from tests.builders.platforms import open_runtime
from tests.builders.tables import count

pytestmark = pytest.mark.integration


@pytest.fixture
def platform(tmp_path: Path, database_url: str, fake_ems: Any) -> Iterator[Platform]:
    settings = get_settings(
        home=tmp_path,
        database_url=database_url,
        ems_core_url=fake_ems.url,
        ems_pull=True,
        ems_pull_history_days=1,
    )
    opened = Platform(settings)
    yield opened
    opened.close()


def reading(number: int, age_minutes: float, value: Any = 1.5) -> dict[str, Any]:
    moment = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=age_minutes)
    return {
        "id": number,
        "assetId": "host-1",
        "metricName": "cpu",
        "value": value,
        "timestamp": moment.isoformat(),
    }


def landed(platform: Platform) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for file in platform.landing.waiting("ems")
        for line in Path(file.path).read_text().splitlines()
    ]


def values(platform: Platform) -> list[Any]:
    return sorted(row["value"] for row in landed(platform))


def test_it_is_off_unless_asked_for() -> None:
    assert build_ems_sensors(get_settings()) == []
    assert [one.name for one in build_ems_sensors(get_settings(ems_pull=True))] == ["ems_pull"]


def test_every_reading_comes_once_late_ones_too(platform: Platform, fake_ems: Any) -> None:
    fake_ems.metrics = [reading(n, 600 - n, float(n)) for n in range(100)]
    assert pull(platform) == 100
    assert pull(platform) == 0
    fake_ems.metrics.append(reading(100, 5, 100.0))
    fake_ems.metrics.append(reading(101, 0.001, 101.0))
    assert pull(platform) == 2
    assert values(platform) == [float(n) for n in range(102)]
    assert len({row["event_id"] for row in landed(platform)}) == 102


def test_a_death_between_commit_and_file_loses_nothing_and_doubles_nothing(
    platform: Platform, fake_ems: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dying before the commit, before the file, and after it before anybody knows."""
    fake_ems.metrics = [reading(n, 10, float(n)) for n in range(10)]
    with monkeypatch.context() as patch:
        patch.setattr(EmsPull, "commit", _die)
        with pytest.raises(SystemError):
            pull(platform)
    assert landed(platform) == []
    with monkeypatch.context() as patch:
        patch.setattr(Landing, "put", _die)
        with pytest.raises(SystemError):
            pull(platform)
    assert landed(platform) == []
    assert pull(platform) == 0, "what was committed comes first, and nothing is new"
    assert values(platform) == [float(n) for n in range(10)]
    names = [file.name for file in platform.landing.waiting("ems")]
    with platform.warehouse.transactions.begin() as connection:
        connection.execute("UPDATE pulls SET content = %s WHERE rows = 10", (b'{"again": 1}\n',))
    pull(platform)
    assert [file.name for file in platform.landing.waiting("ems")] == names


def _die(*_: object, **__: object) -> None:
    raise SystemError("killed")


def test_garbage_goes_to_quarantine_and_stops_nothing(
    platform: Platform, fake_ems: Any, settings: Settings
) -> None:
    from rich.console import Console

    fake_ems.metrics = [
        *(reading(n, 30 - n, float(n)) for n in range(20)),
        reading(20, 5, "a lot"),
        reading(21, 5, None),
        {**reading(22, 5), "timestamp": "yesterday"},
        {**reading(23, 5), "assetId": None},
    ]
    assert pull(platform) == 24
    with open_runtime(platform.settings) as runtime:
        account = run_stream(runtime, EMS, Console(quiet=True))
    assert account.missing == 0
    assert count(platform.warehouse, "scored_ems", "value IS NOT NULL") == 20
    assert count(platform.warehouse, "quarantine") >= 3


def test_an_ems_that_is_down_raises_an_alert_until_it_is_back(
    platform: Platform, fake_ems: Any, answer: Any
) -> None:
    fake_ems.faults = [answer(403)]
    with pytest.raises(EmsError):
        pull(platform)
    with platform.warehouse.transactions.begin() as connection:
        assert connection.execute("SELECT state FROM alerts").fetchall() == [("open",)]
    pull(platform)
    with platform.warehouse.transactions.begin() as connection:
        assert connection.execute("SELECT state FROM alerts").fetchall() == [("resolved",)]
