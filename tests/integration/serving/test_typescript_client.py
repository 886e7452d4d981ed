"""A client in TypeScript, generated from the document that the API serves, talks to the API."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from anomaly_platform.platform import Platform
from tests.builders.waiting import free_port, wait_until

pytestmark = pytest.mark.integration

EXAMPLE = Path(__file__).parents[3] / "clients" / "typescript"


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the example with its packages."""
    if shutil.which("npm") is None:
        pytest.skip("needs npm, which comes with Node.js (Debian: apt-get install npm)")
    folder = tmp_path_factory.mktemp("typescript")
    for name in ("package.json", "tsconfig.json", "example.ts"):
        shutil.copy(EXAMPLE / name, folder)
    options = ("--no-package-lock", "--no-audit", "--no-fund")
    done = run(folder, "npm", "install", *options)
    if done.returncode != 0:
        pytest.skip(f"npm does not get the packages: {done.stderr.strip()[-300:]}")
    return folder


@pytest.fixture
def service(platform: Platform) -> Iterator[str]:
    """The address of ``anomaly api`` over the test's database."""
    assert platform.settings.database_url is not None
    port = free_port()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ANOMALY_")}
    environment |= {
        "ANOMALY_HOME": str(platform.settings.home),
        "ANOMALY_DATABASE_URL": platform.settings.database_url.get_secret_value(),
    }
    command = [sys.executable, "-m", "anomaly_platform", "api", "--workers", "1", "--port"]
    process = subprocess.Popen([*command, str(port)], env=environment)
    url = f"http://127.0.0.1:{port}"

    def is_ready() -> bool:
        assert process.poll() is None
        try:
            return httpx.get(f"{url}/health/ready").status_code == 200
        except httpx.TransportError:
            return False

    try:
        wait_until(is_ready, 120)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def run(folder: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_the_example_compiles_against_the_document_and_runs(
    example: Path, service: str, platform: Platform
) -> None:
    scopes = ["ml:read", "ml:write"]
    _, key = platform.warehouse.api_keys.create("typescript", scopes, created_by="test")
    document = httpx.get(f"{service}/openapi.json", headers={"Authorization": f"Bearer {key}"})
    (example / "openapi.json").write_bytes(document.raise_for_status().content)
    for step in ("generate", "build"):
        done = run(example, "npm", "run", step)
        assert done.returncode == 0, done.stdout + done.stderr
    done = run(example, "npm", "run", "--silent", "start", ANOMALY_URL=service, ANOMALY_KEY=key)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines() == ["stored null insufficient_history", "0 anomalies"]
    refused = run(example, "npm", "run", "start", ANOMALY_URL=service, ANOMALY_KEY="wrong")
    assert refused.returncode != 0
    assert "key" in refused.stderr

    text = (example / "example.ts").read_text()
    (example / "example.ts").write_text(text.replace("verdict.status", "verdict.state"))
    wrong = run(example, "npm", "run", "build")
    assert wrong.returncode != 0
    assert "'state' does not exist" in wrong.stdout
