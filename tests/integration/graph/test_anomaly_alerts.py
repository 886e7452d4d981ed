"""A spike in a reading of just now becomes one alert; scoring it again becomes none."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from anomaly_platform.cli.runtime import Runtime
from anomaly_platform.platform import DETECTOR
from anomaly_platform.storage.tables.progress import Account
from anomaly_platform.streams import IIOT, MetricStream

pytestmark = pytest.mark.integration

Drop = Callable[[MetricStream, str, pl.DataFrame | str | bytes], None]
Run = Callable[[MetricStream], Account]


def readings(times: list[datetime], device: str, spike: float = 0.0) -> pl.DataFrame:
    rng = np.random.default_rng(len(device))
    return pl.DataFrame(
        {
            "device_id": device,
            "metric_name": "pressure",
            "timestamp": times,
            "value": rng.normal(50, 1, len(times)).round(3) + spike,
        }
    )


def anomalies(runtime: Runtime) -> list[tuple[Any, ...]]:
    with runtime.platform.warehouse.transactions.begin() as connection:
        return connection.execute(
            "SELECT subject, state, body -> 'details' FROM notifications WHERE kind = 'anomaly' "
            "ORDER BY seq"
        ).fetchall()


def test_a_spike_of_just_now_alerts_once(runtime: Runtime, drop: Drop, run: Run) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    # History ends two hours ago: nothing of it can alert.
    past = [now - timedelta(hours=2, minutes=5 * n) for n in range(8 * 288, 0, -1)]
    drop(IIOT, "past.csv", pl.concat([readings(past, "press-1"), readings(past, "press-22")]))
    run(IIOT)
    # The model that judges the spike has not seen it.
    assert runtime.platform.warehouse.bundles.champions("iiot") == {DETECTOR: 1}
    assert anomalies(runtime) == []
    recent = [now - timedelta(minutes=5 * n) for n in range(24, 2, -1)]
    drop(IIOT, "recent.csv", readings(recent, "press-1"))
    drop(IIOT, "spike.csv", readings([now - timedelta(minutes=5)], "press-1", spike=80.0))
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
