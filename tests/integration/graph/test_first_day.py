"""Partitions begin with a stream's first data; older data that come later move them back."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from dagster import AssetKey, DailyPartitionsDefinition, build_sensor_context
from dagster._core.definitions.sensor_definition import SensorExecutionData

from anomaly_platform.cli.runtime import Runtime
from anomaly_platform.sensors.landing import build_landing_sensors
from anomaly_platform.settings import Settings, get_settings
from anomaly_platform.streams import IIOT
from tests.builders.platforms import Drop, Run, open_runtime

pytestmark = pytest.mark.integration

HEADING = "device_id,metric_name,timestamp,value\n"


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    """Settings without a first day: Dagster has few days to go through all the same."""
    return get_settings(home=tmp_path, database_url=database_url)


@pytest.fixture
def runtime(settings: Settings) -> Iterator[Runtime]:
    # Without data, partitions begin far back.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("anomaly_platform.platform._BEFORE_ALL_DATA", date(2026, 1, 1))
        with open_runtime(settings, [IIOT]) as opened:
            yield opened


def readings(day: date) -> str:
    first = datetime(day.year, day.month, day.day, tzinfo=UTC)
    times = [first + timedelta(minutes=n) for n in range(40)]
    return HEADING + "".join(f"press-1,load,{t:%Y-%m-%dT%H:%M:%SZ},{t.minute}\n" for t in times)


def first_partition(runtime: Runtime) -> str:
    graph = runtime.definitions.resolve_asset_graph()
    partitions = graph.get(AssetKey(IIOT.key("features"))).partitions_def
    assert isinstance(partitions, DailyPartitionsDefinition)
    return str(partitions.get_first_partition_key())


def test_older_data_move_the_first_partition_back_and_are_not_refused(
    runtime: Runtime, drop: Drop, run: Run
) -> None:
    drop(IIOT, "march.csv", readings(date(2026, 3, 5)))
    run(IIOT)
    assert first_partition(runtime) == "2026-03-05"
    # Older even than where partitions begin without data.
    drop(IIOT, "older.csv", readings(date(2025, 12, 30)))
    account = run(IIOT)
    assert first_partition(runtime) == "2025-12-30"
    assert (account.rows_in, account.quarantined) == (80, 0)


def test_the_sensor_waits_for_partitions_that_have_the_day(runtime: Runtime, drop: Drop) -> None:
    drop(IIOT, "older.csv", readings(date(2026, 2, 3)))
    runtime.materialize([IIOT.key("raw_events")], {})

    def ask(first_day: date) -> SensorExecutionData:
        (sensor,) = build_landing_sensors(IIOT, first_day)
        with build_sensor_context(
            instance=runtime.instance, resources={"platform": runtime.platform}
        ) as context:
            return sensor.evaluate_tick(context)

    waiting = ask(date(2026, 2, 4))
    assert "2026-02-03" in str(waiting.skip_message)
    assert not waiting.run_requests
    assert ask(date(2026, 2, 3)).run_requests
