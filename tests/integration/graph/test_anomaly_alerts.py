"""A spike in a reading of just now becomes one alert; scoring it again becomes none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from anomaly_platform.cli.runtime import Runtime
from anomaly_platform.platform import DETECTOR
from anomaly_platform.streams import IIOT
from tests.builders.platforms import Drop, Run
from tests.builders.readings import PER_DAY, STEP, daily_cycle, file_of

pytestmark = pytest.mark.integration


def pressure(device: str, start: datetime, rows: int, *, spike: float = 0.0) -> pl.DataFrame:
    values = daily_cycle(rows, len(device), swing=0) + spike
    return file_of(IIOT, device, "pressure", values, start=start)


def anomalies(runtime: Runtime) -> list[tuple[Any, ...]]:
    with runtime.platform.warehouse.transactions.begin() as connection:
        return connection.execute(
            "SELECT subject, state, body -> 'details' FROM notifications WHERE kind = 'anomaly' "
            "ORDER BY seq"
        ).fetchall()


def test_a_spike_of_just_now_alerts_once(runtime: Runtime, drop: Drop, run: Run) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    # History ends two hours ago: nothing of it can alert.
    past = now - timedelta(days=8, hours=2)
    devices = ("press-1", "press-22")
    drop(IIOT, "past.csv", pl.concat(pressure(device, past, 8 * PER_DAY) for device in devices))
    run(IIOT)
    # The model that judges the spike has not seen it.
    assert runtime.platform.warehouse.bundles.champions("iiot") == {DETECTOR: 1}
    assert anomalies(runtime) == []
    drop(IIOT, "recent.csv", pressure("press-1", now - 24 * STEP, 22))
    drop(IIOT, "spike.csv", pressure("press-1", now - STEP, 1, spike=80.0))
    run(IIOT)
    told = [one for one in anomalies(runtime) if one[2].get("value", 0) > 100]
    ((subject, state, details),) = told
    assert (subject, state) == ("press-1", "firing")
    assert details["score"] >= details["threshold"]
    assert details["metric"] == "pressure"
    before = len(anomalies(runtime))
    days = {(now - timedelta(minutes=5 * n)).date().isoformat() for n in (1, 24)}
    for day in sorted(days):
        runtime.materialize(
            [IIOT.key("scored_events")],
            {"dagster/partition": day},
        )
    assert len(anomalies(runtime)) == before
