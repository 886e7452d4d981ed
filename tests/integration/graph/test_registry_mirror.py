"""The sensor that keeps MLflow up to date: asks when there is something to tell, and only then."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from dagster import DagsterInstance, RunRequest, build_sensor_context

from anomaly_platform.platform import Platform
from anomaly_platform.sensors.registry import build_registry_job, build_registry_sensor
from anomaly_platform.settings import get_settings

pytestmark = pytest.mark.integration


def test_a_mirror_that_cannot_be_reached_is_no_failed_run(
    tmp_path: Path, database_url: str
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{closed.getsockname()[1]}"
    platform = Platform(get_settings(home=tmp_path, database_url=database_url, mlflow_url=nowhere))
    mirror, bundles = platform.warehouse.mlflow_updates, platform.warehouse.bundles
    job = build_registry_job()
    sensor = build_registry_sensor(job)
    with DagsterInstance.ephemeral() as instance:

        def tick() -> list[RunRequest]:
            context = build_sensor_context(instance=instance, resources={"platform": platform})
            return list(sensor.evaluate_tick(context).run_requests or [])

        assert tick() == []
        version = bundles.reserve_version("ems", "isolation_forest")
        bundles.fail("ems", "isolation_forest", version, "out of memory")
        (asked,) = tick()
        assert asked.tags["anomaly/reason"] == "1 changes to tell"
        assert job.execute_in_process(
            instance=instance, resources={"platform": platform}, tags=asked.tags
        ).success
        assert mirror.waiting() == 1
        # It waits for its next try, so that nobody asks for a run every tick.
        assert tick() == []
        with platform.warehouse.transactions.begin() as connection:
            connection.execute("UPDATE registry_mirror SET next_try_at = now()")
        assert len(tick()) == 1
    platform.close()
