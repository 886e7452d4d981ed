"""Health of the pipeline, from what Dagster itself writes, and of a database that goes down."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from anomaly_platform.platform import Platform
from anomaly_platform.serving.app import create_app
from anomaly_platform.serving.health import pipeline as health_pipeline
from anomaly_platform.serving.health import report as health_module
from anomaly_platform.settings import Settings, get_settings
from anomaly_platform.storage.postgres.embedded import EmbeddedPostgres
from anomaly_platform.streams import BARCODE, BUILT_IN, IIOT, Stream
from tests.builders.waiting import wait_until


@pytest.fixture
def client(
    settings: Settings, empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[TestClient]:
    """An application with a database for Dagster, still empty; answers are not kept."""
    monkeypatch.setattr(health_module, "_LIFETIME_S", 0.0)
    monkeypatch.setattr(health_pipeline, "_LOOK_EVERY_S", 0.0)
    name = empty_database_url.split("?", maxsplit=1)[0].rsplit("/", 1)[-1]
    platform = Platform(settings.model_copy(update={"dagster_database": name}))
    with closing(platform), TestClient(create_app(platform)) as opened:
        yield opened


def test_the_pipeline(client: TestClient) -> None:
    from dagster import DagsterEvent, DagsterEventType, DagsterRun
    from dagster._core.storage.dagster_run import DagsterRunStatus
    from dagster._daemon.types import DaemonHeartbeat
    from dagster_postgres import PostgresRunStorage

    platform: Platform = client.app.state.serving.platform  # type: ignore[attr-defined]

    def told() -> tuple[str, dict[str, str]]:
        health = client.get("/api/v1/health").json()
        return health["status"], health["parts"]["pipeline"]

    assert told()[1]["status"] == "off"
    waiting = Path(platform.landing.folder("iiot")) / "old.csv"
    waiting.write_text("device_id,metric_name,timestamp,value\n")
    os.utime(waiting, (0, 0))
    status, part = told()
    assert status == "degraded"
    assert part["status"] == "degraded"
    assert "no daemon" in part["detail"]
    assert "50 years" not in part["detail"]
    waiting.unlink()

    storage = PostgresRunStorage.create_clean_storage(platform.urls.dagster)

    def beat(ago: float) -> None:
        for kind in ("SENSOR", "SCHEDULER", "QUEUED_RUN_COORDINATOR"):
            storage.add_daemon_heartbeat(DaemonHeartbeat(time.time() - ago, kind, "one", []))

    beat(10)
    assert told()[1]["status"] == "ok"
    for work, status in (
        ("refresh", DagsterRunStatus.FAILURE),
        ("refresh", DagsterRunStatus.SUCCESS),
        ("train", DagsterRunStatus.FAILURE),
    ):
        tags = {"anomaly/stream": "iiot", "anomaly/work": work}
        run = storage.add_run(DagsterRun(job_name="job", tags=tags))
        kind = DagsterEventType[f"RUN_{status.value}"]
        storage.handle_run_event(run.run_id, DagsterEvent(kind.value, "job", message="hunter2"))
    part = told()[1]
    assert part["status"] == "degraded"
    assert "iiot train failed" in part["detail"]
    assert "refresh" not in part["detail"]
    beat(3600)
    assert "60 min ago" in told()[1]["detail"]


@pytest.mark.parametrize(
    ("streams", "serving"),
    [
        ((IIOT,), "the statistical fallback serves"),
        ((BARCODE,), "rules serve"),
        (BUILT_IN, "the statistical fallback serves metrics, and rules serve scans"),
    ],
)
def test_what_serves_streams_without_models_is_named(
    settings: Settings, streams: tuple[Stream, ...], serving: str
) -> None:
    with (
        closing(Platform(settings, streams)) as platform,
        TestClient(create_app(platform)) as open_,
    ):
        told = open_.get("/api/v1/health").json()["parts"]["models"]["detail"]
    assert told == f"no stream has a model yet; {serving}"


def test_a_server_that_waits_for_its_users_to_leave_is_told_of_as_down(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_module, "_LIFETIME_S", 0.0)
    platform = Platform(get_settings(home=folder))
    server = EmbeddedPostgres(folder)
    try:
        with TestClient(create_app(platform)) as client:
            assert client.get("/health/ready").status_code == 200
            os.kill(int((server.data / "postmaster.pid").read_text().split()[0]), signal.SIGTERM)
            wait_until(lambda: not server.is_running())
            assert client.get("/health/ready").status_code == 503
            told = client.get("/api/v1/health").json()["health"]["parts"]["database"]
            assert told["detail"] == "does not answer"
            server.ensure_running()
            wait_until(lambda: client.get("/health/ready").status_code == 200)
    finally:
        server.release()
        platform.close()
        platform.release()
