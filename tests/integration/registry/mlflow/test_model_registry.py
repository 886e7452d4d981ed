"""MLflow mirrors the tables: once per version, late when it is down, never in the way."""

from __future__ import annotations

import datetime as dt
import json
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from anomaly_platform.platform import Platform
from anomaly_platform.registry.mlflow.model_registry import tracking_uri
from anomaly_platform.settings import Settings, get_settings
from anomaly_platform.storage.postgres.embedded import EmbeddedPostgres
from tests.builders.models import ALL_SCANS, path_of, publish, register

pytestmark = pytest.mark.integration

NOW = dt.datetime(2026, 1, 6, tzinfo=dt.UTC)
HISTORY = [{"epoch": n, "loss": 3.0 / n, "validation_loss": 3.5 / n} for n in (1, 2, 3)]


@pytest.fixture(scope="module")
def mlflow_database(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """Name of a database for MLflow's tables, which take seconds to be made."""
    name = f"mlflow_{uuid.uuid4().hex[:12]}"
    yield name
    with psycopg.connect(postgres_server.url("postgres"), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.fixture
def platform(tmp_path: Path, database_url: str, mlflow_database: str) -> Iterator[Platform]:
    opened = Platform(
        get_settings(home=tmp_path, database_url=database_url, mlflow_database=mlflow_database)
    )
    yield opened
    opened.close()


def register_lstm(platform: Platform, stream: str) -> int:
    """Enter a version of a sequence model, with what its manifest says of the training."""
    version = register(
        platform.warehouse,
        stream,
        "lstm",
        window_start=NOW - dt.timedelta(days=30),
        window_end=NOW,
        metrics={"auc_roc": 0.9, "by_kind": {"jump": 0.8}},
        parameters={"hidden": 64, "run_id": "run-1", "cause": "drift", "reason": "PSI 0.4"},
        series=ALL_SCANS,
    )
    manifest = {
        "feature_schema": {"version": "7", "features": ["place"]},
        "training_seconds": 12.5,
        "data": {"training_samples": 900, "history": HISTORY},
    }
    publish(
        platform.lake, path_of(stream, "lstm", version), {"manifest.json": json.dumps(manifest)}
    )
    return version


def client(platform: Platform) -> Any:
    from mlflow.tracking import MlflowClient

    uri = tracking_uri(platform.settings)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def runs_of(mlflow: Any, stream: str) -> dict[str, Any]:
    experiment = mlflow.get_experiment_by_name(stream)
    found = mlflow.search_runs([experiment.experiment_id])
    by_key = {run.data.tags["anomaly.key"]: run for run in found}
    assert len(by_key) == len(found)
    return by_key


def test_runs_versions_and_aliases_follow_the_tables(platform: Platform) -> None:
    bundles, stream = platform.warehouse.bundles, "follow"
    first, second = register_lstm(platform, stream), register_lstm(platform, stream)
    gate = {"gate": "minimum quality", "value": "0.9", "bound": "0.6", "passed": True}
    bundles.promote_set(stream, {"lstm": first}, "good", gates=[gate])
    assert platform.mlflow_mirror.drain().waiting == 0
    mlflow = client(platform)
    runs = runs_of(mlflow, stream)
    run = runs[f"{stream}/lstm/{first}"]
    assert run.info.status == "FINISHED"
    assert run.data.params["hidden"] == "64"
    assert run.data.metrics["auc_roc"] == 0.9
    assert run.data.metrics["by_kind.jump"] == 0.8
    losses = mlflow.get_metric_history(run.info.run_id, "validation_loss")
    assert [(m.step, m.value) for m in losses] == [
        (h["epoch"], h["validation_loss"]) for h in HISTORY
    ]
    assert run.data.tags["anomaly.run_id"] == "run-1"
    assert run.data.tags["anomaly.reason"] == "PSI 0.4"
    assert run.data.tags["anomaly.gates"] == "minimum quality: passed (0.9)"
    files = {file.path for file in mlflow.list_artifacts(run.info.run_id)}
    assert files == {"manifest.json", "feature_schema.json", "loss.png"}

    def aliases() -> dict[str, str]:
        model = mlflow.get_registered_model(f"{stream}.lstm")
        return {
            alias: mlflow.get_model_version(model.name, version).tags["anomaly.version"]
            for alias, version in model.aliases.items()
        }

    assert aliases() == {"champion": str(first), "challenger": str(second)}
    bundles.promote_set(stream, {"lstm": second}, "better")
    platform.mlflow_mirror.drain()
    assert aliases() == {"champion": str(second)}
    fates = {
        key: run.data.tags["anomaly.status_reason"] for key, run in runs_of(mlflow, stream).items()
    }
    assert fates == {
        f"{stream}/lstm/{first}": "another version was promoted",
        f"{stream}/lstm/{second}": "better",
    }
    bundles.promote_set(stream, {"lstm": first}, "rolled back")
    bundles.delete(stream, "lstm", second, "of no use")
    platform.mlflow_mirror.drain()
    assert aliases() == {"champion": str(first)}
    assert (
        runs_of(mlflow, stream)[f"{stream}/lstm/{second}"].data.tags["anomaly.status"] == "deleted"
    )


def test_a_broken_off_run_is_written_anew_and_nothing_comes_twice(platform: Platform) -> None:
    stream = "broken"
    version = register_lstm(platform, stream)
    platform.mlflow_mirror.drain()
    mlflow = client(platform)
    (run,) = runs_of(mlflow, stream).values()
    mlflow.update_run(run.info.run_id, status="RUNNING")
    with platform.warehouse.transactions.begin() as connection:
        connection.execute("UPDATE registry_mirror SET status = 'waiting'")
    platform.mlflow_mirror.drain()
    platform.mlflow_mirror.drain()
    (again,) = runs_of(mlflow, stream).values()
    assert again.info.run_id != run.info.run_id
    with platform.warehouse.transactions.begin() as connection:
        connection.execute("UPDATE registry_mirror SET status = 'waiting'")
    platform.mlflow_mirror.drain()
    (same,) = runs_of(mlflow, stream).values()
    assert same.info.run_id == again.info.run_id
    versions = mlflow.search_model_versions(f"name = '{stream}.lstm'")
    assert [v.run_id for v in versions if v.run_id == same.info.run_id] == [same.info.run_id]
    assert same.data.tags["anomaly.version"] == str(version)


def test_failed_trainings_have_a_page(platform: Platform) -> None:
    bundles, stream = platform.warehouse.bundles, "failing"
    version = bundles.reserve_version(stream, "lstm")
    bundles.fail(stream, "lstm", version, "out of memory")
    assert platform.mlflow_mirror.drain().waiting == 0
    (run,) = runs_of(client(platform), stream).values()
    assert run.info.status == "FAILED"
    assert run.data.tags["anomaly.status_reason"] == "out of memory"


def test_mlflow_down_delays_the_mirror_and_never_a_promotion(
    platform: Platform, tmp_path: Path, database_url: str
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nowhere = f"http://someone:secret@127.0.0.1:{closed.getsockname()[1]}"
    settings = get_settings(home=tmp_path, database_url=database_url, mlflow_url=nowhere)
    cut_off = Platform(settings)
    version = register_lstm(cut_off, "late")
    cut_off.warehouse.bundles.promote_set("late", {"lstm": version}, "good")
    assert cut_off.warehouse.bundles.champions("late") == {"lstm": version}
    stopped = cut_off.mlflow_mirror.drain()
    assert (stopped.done, stopped.waiting) == (0, 2)
    assert stopped.error
    assert "secret" not in stopped.error
    # Not tried again at once, …
    assert cut_off.mlflow_mirror.drain().error == ""
    with cut_off.warehouse.transactions.begin() as connection:
        (row,) = connection.execute(
            "SELECT min(attempts), min(next_try_at) > now(), min(last_error) FROM registry_mirror"
        ).fetchall()
    assert row[:2] == (1, True)
    assert "secret" not in row[2]
    cut_off.close()
    # … but everything is there once MLflow answers.
    with platform.warehouse.transactions.begin() as connection:
        connection.execute("UPDATE registry_mirror SET next_try_at = now()")
    assert platform.mlflow_mirror.drain().waiting == 0
    assert list(runs_of(client(platform), "late")) == [f"late/lstm/{version}"]


def test_neither_the_graph_nor_the_tables_import_mlflow(local_settings: Settings) -> None:
    program = (
        "import sys, anomaly_platform.definitions as d; d.defs;"
        "import anomaly_platform.registry.mlflow.model_registry, anomaly_platform.sensors.registry;"
        "import anomaly_platform.serving.app, anomaly_platform.ml.scoring.batch;"
        "print('mlflow' in sys.modules)"
    )
    out = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == "False"
