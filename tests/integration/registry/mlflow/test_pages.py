"""MLflow's pages in a browser: they open on training runs, ask nothing, stay on the machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from anomaly_platform.cli.services.up import mlflow_command
from docgen.pictures import open_page

pytestmark = pytest.mark.integration

PATIENCE_S = 120


@contextmanager
def served(folder: Path, uri: str) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        mlflow_command(port),
        env={
            **os.environ,
            "MLFLOW_BACKEND_STORE_URI": uri,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        },
        cwd=folder,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                urllib.request.urlopen(f"{url}/health", timeout=5).close()
                break
            except OSError:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.3)
        yield url
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def test_a_first_visit_shows_training_runs_without_notices_and_without_the_internet(
    folder: Path,
) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    uri = f"sqlite:///{folder}/mlflow.db"
    subprocess.run(
        [
            sys.executable,
            "-c",
            f"""
from mlflow.tracking import MlflowClient
client = MlflowClient({uri!r})
client.create_experiment("chat")
press = client.create_experiment(
    "press", tags={{"mlflow.experimentKind": "custom_model_development"}}
)
client.create_run(press, run_name="isolation_forest 7")
""",
        ],
        check=True,
        env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
        cwd=folder,
    )
    asked: list[str] = []
    with served(folder, uri) as url, playwright.sync_playwright() as driver:
        try:
            with open_page(driver) as page:
                page.context.on("request", lambda request: asked.append(request.url))
                page.goto(url)
                page.get_by_text("isolation_forest 7").first.wait_for(timeout=PATIENCE_S * 1000)
                texts = page.inner_text("body")
                page.goto(f"{url}/#/")
                page.get_by_text("Recent Experiments").wait_for(timeout=PATIENCE_S * 1000)
                texts += page.inner_text("body")
        except LookupError as error:
            pytest.skip(str(error))
    assert "telemetry" not in texts
    assert "Ask questions about" not in texts
    assert {one for one in asked if not one.startswith((url, "data:", "blob:"))} == set()
    assert not [one for one in asked if one.endswith("ui-telemetry")]
