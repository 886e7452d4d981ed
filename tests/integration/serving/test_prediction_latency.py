"""What workers time reaches the daily upkeep, Dagster's check, health and a model's performance."""

from __future__ import annotations

import datetime as dt
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from dagster import AssetKey, AssetSelection, DagsterInstance

from anomaly_platform.definitions import build_defs
from anomaly_platform.runtime.pruning import prune_rows
from anomaly_platform.sensors.upkeep import look_after
from anomaly_platform.serving.health import report as health_module
from anomaly_platform.storage.tables.api_keys import SCOPES
from anomaly_platform.storage.tables.prediction_latency import together
from anomaly_platform.streams import IIOT
from anomaly_platform.warehouse import Warehouse
from tests.builders.waiting import free_port, wait_until

if TYPE_CHECKING:
    from conftest import Trained

    from anomaly_platform.platform import Platform

pytestmark = pytest.mark.integration

PREDICT = "/api/v1/ml/predict"
HOUR = dt.timedelta(hours=1)


def ask(trained: Trained, times: int) -> None:
    body = {"device_id": "press-5", "metric_name": "temperature", "value": 20.0}
    for _ in range(times):
        assert trained.client.post(PREDICT, json=body).status_code == 200
    # As a worker does once a minute.
    assert trained.client.portal is not None
    state = trained.client.app.state.serving  # type: ignore[attr-defined]
    trained.client.portal.call(state.latencies.write)


def requests_of(platform: Platform) -> int:
    since = dt.datetime.now(dt.UTC) - HOUR
    found = platform.warehouse.prediction_latency.since(since, "iiot")
    return found["iiot", PREDICT].requests if ("iiot", PREDICT) in found else 0


def state_of(platform: Platform, fingerprint: str) -> tuple[str, str] | None:
    rows = platform.warehouse.transactions.tuples(
        "SELECT severity, state FROM alerts WHERE fingerprint = %s", (fingerprint,)
    )
    return rows[0] if rows else None


def check(platform: Platform) -> tuple[bool, str]:
    """Run the check in Dagster; return whether it passed, and what it says."""
    stage = AssetKey(IIOT.key("monitoring_stats"))
    with DagsterInstance.ephemeral() as instance:
        definitions = build_defs(platform=platform)
        job = definitions.resolve_implicit_global_asset_job_def()
        graph = definitions.resolve_asset_graph()
        chosen = AssetSelection.checks_for_assets(stage).resolve_checks(graph)
        done = job.get_subset(asset_check_selection=chosen).execute_in_process(instance=instance)
    (found,) = (
        one for one in done.get_asset_check_evaluations() if one.check_name == "predictions_in_time"
    )
    return found.passed, found.description or ""


def test_slow_predictions_are_told_and_fast_ones_end_it(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_module, "_LIFETIME_S", 0.0)
    platform = trained.platform
    ask(trained, 0)
    before = requests_of(platform)
    ask(trained, 120)
    assert requests_of(platform) == before + 120
    name = "latency/iiot/predictions"

    # Slower than any target that could be set: no machine answers in a microsecond.
    strict = platform.prediction_target_of
    monkeypatch.setattr(type(platform), "prediction_target_of", lambda *_: 1e-6)
    found = [one for one in look_after(platform, IIOT) if one["subject"] == "predictions"]
    assert found[0]["finding"].startswith(f"{PREDICT} of iiot: p95 ")
    assert state_of(platform, name) == ("warning", "open")
    passed, said = check(platform)
    assert not passed
    assert PREDICT in said

    monkeypatch.setattr(type(platform), "prediction_target_of", lambda *_: 60.0)
    look_after(platform, IIOT)
    assert state_of(platform, name) == ("warning", "resolved")
    assert check(platform)[0]
    assert strict(IIOT) == 0.1

    part = trained.client.get("/api/v1/health").json()["parts"]["predictions"]
    assert part["status"] in {"ok", "degraded"}
    assert "p95" in part["detail"]
    model = trained.model("press-5", "temperature")
    told = trained.client.get(f"/api/v1/ml/models/{model['id']}/performance").json()
    assert 0 < told["true_positive_rate"] <= 1
    assert told["true_positive_rate"] == model["true_positive_rate"]
    assert 0 < told["event_recall"] <= 1
    assert 0 < told["prediction_p95_ms"] <= told["prediction_p99_ms"] < 60_000


def test_what_is_refused_or_unknown_is_no_prediction(trained: Trained) -> None:
    ask(trained, 0)
    before = requests_of(trained.platform)
    unknown = {"device_id": "nobody", "metric_name": "temperature", "value": 1.0}
    assert trained.client.post(PREDICT, json=unknown).status_code == 404
    assert trained.client.post(PREDICT, json={}).status_code == 422
    ask(trained, 0)
    assert requests_of(trained.platform) == before


def test_old_latencies_are_pruned(trained: Trained) -> None:
    platform, now = trained.platform, dt.datetime.now(dt.UTC)
    old = now - dt.timedelta(days=platform.settings.keep_statistics_days + 1)
    platform.warehouse.prediction_latency.add(old, {("iiot", "/old", 0.1): 3})
    list(prune_rows(platform.warehouse.transactions, platform.settings, now, dry_run=False))
    since = platform.warehouse.prediction_latency.since(old - HOUR)
    assert ("iiot", "/old") not in since
    assert requests_of(platform) > 0 or ("iiot", PREDICT) not in since


def test_what_a_worker_timed_outlives_it(database_url: str, tmp_path: Path) -> None:
    """A real process: what it had not written yet is written when it ends."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ANOMALY_")}
    port = free_port()
    environment |= {
        "ANOMALY_HOME": str(tmp_path),
        "ANOMALY_DATABASE_URL": database_url,
        "ANOMALY_API_PORT": str(port),
        "ANOMALY_API_WORKERS": "2",
    }
    warehouse = Warehouse(database_url)
    _, key = warehouse.api_keys.create("test", SCOPES, created_by="test", predictions_per_minute=0)
    anomaly = str(Path(sys.executable).with_name("anomaly"))
    process = subprocess.Popen([anomaly, "api"], env=environment)
    url = f"http://127.0.0.1:{port}"
    scans = {
        "data": [
            {
                "event_id": "1",
                "epc_code": "001.8804823.0000003.000001.20241201.000000001",
                "location_id": "1",
                "event_time": "2024-12-02 10:00:00",
            }
        ]
    }
    try:

        def is_ready() -> bool:
            try:
                return httpx.get(f"{url}/health/ready").status_code == 200
            except httpx.TransportError:
                assert process.poll() is None
                return False

        wait_until(is_ready, 60)
        for _ in range(10):
            answer = httpx.post(
                f"{url}/api/v1/barcode/detect",
                json=scans,
                headers={"Authorization": f"Bearer {key}"},
                timeout=60,
            )
            assert answer.status_code == 200, answer.text
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    found = warehouse.prediction_latency.since(dt.datetime.now(dt.UTC) - HOUR)
    assert set(found) == {("barcode", "/api/v1/barcode/detect")}
    assert together(found.values()).requests == 10
    warehouse.close()
