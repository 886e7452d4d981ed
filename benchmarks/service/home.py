"""A service to measure: devices and a supply network that it knows, and `anomaly api` over them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import polars as pl

from anomaly_platform.platform import Platform
from anomaly_platform.settings import get_settings
from anomaly_platform.simulator.supply_network import simulate_supply_network
from anomaly_platform.storage.tables.api_keys import SCOPES
from anomaly_platform.streams import BARCODE, EMS, IIOT

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
#: Models of the usual size, trained for a minute: how well they judge is measured elsewhere.
BRIEFLY = replace(
    BARCODE,
    sequence={"max_epochs": 1},
    search={"nu": (0.1,), "gamma": (1.0,), "kernel": ("rbf",)},
)
TRAINED_ON, DAYS = 20_000, 10


@dataclass(frozen=True)
class Home:
    """What is to be served.

    Attributes
    ----------
    folder
        ``ANOMALY_HOME``.
    key
        An API key that opens everything and has no rate limit.
    database_url
        Of the platform's tables.
    scans
        Of the network that the service knows, later than those it has learned from.
    """

    folder: Path
    key: str
    database_url: str
    scans: pl.DataFrame


@contextmanager
def prepared(folder: Path) -> Iterator[Home]:
    """Simulate, import and train; the database runs until the block ends."""
    platform = Platform(get_settings(home=folder), streams=(BRIEFLY, EMS, IIOT))
    network = simulate_supply_network(events=TRAINED_ON, days=DAYS, seed=5)
    try:
        _train_devices(folder)
        network.world.write_reference(platform.reference_folder(BRIEFLY))
        _train_scans(platform, network.scans)
        _, key = platform.warehouse.api_keys.create(
            "benchmark", SCOPES, created_by="benchmark", predictions_per_minute=0
        )
        asked = simulate_supply_network(events=TRAINED_ON // 5, days=DAYS, seed=6).scans
        yield Home(folder, key, platform.urls.application, asked)
    finally:
        platform.close()
        platform.release()


def _train_devices(folder: Path) -> None:
    simulated = folder / "simulated"
    _anomaly(folder, "simulate", "iiot", "--out", str(simulated), "--days", "4")
    _anomaly(folder, "import", "iiot", *map(str, sorted(simulated.glob("iiot-*.csv"))))
    _anomaly(folder, "run", "iiot")


def _anomaly(folder: Path, *arguments: str) -> None:
    environment = {**os.environ, "ANOMALY_HOME": str(folder)}
    command = [str(BIN / "anomaly"), *arguments]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)


def _train_scans(platform: Platform, scans: pl.DataFrame) -> None:
    from dagster import DagsterInstance
    from rich.console import Console

    from anomaly_platform.cli.runtime import Runtime
    from anomaly_platform.cli.streams.run import run_stream

    path = Path(platform.landing.folder("barcode")) / "scans.csv"
    scans.drop("entity", strict=False).rename({"label": "is_anomaly"}).write_csv(
        path, datetime_format="%Y-%m-%d %H:%M:%S"
    )
    with DagsterInstance.ephemeral() as instance:
        runtime = Runtime(platform, instance, {})
        run_stream(runtime, BRIEFLY, Console(quiet=True))


def service(home: Home, workers: int) -> AbstractContextManager[str]:
    """Run `anomaly api`, as people run it; yield its address."""
    return running([str(BIN / "anomaly"), "api"], home.folder, workers)


def echo(home: Home, workers: int) -> AbstractContextManager[str]:
    """Run the bare route under the same server with the same settings; yield its address."""
    return running(_bare("echo"), home.folder, workers)


def least(home: Home, workers: int) -> AbstractContextManager[str]:
    """Run the least that takes readings in, in the same way; yield its address."""
    return running(_bare("least"), home.folder, workers, LEAST_DATABASE_URL=home.database_url)


def _bare(name: str) -> list[str]:
    return [
        *(str(BIN / "uvicorn"), f"benchmarks.service.{name}:app", "--loop", "uvloop"),
        *("--http", "httptools", "--no-access-log", "--no-server-header", "--log-level", "warning"),
    ]


@contextmanager
def running(command: Sequence[str], folder: Path, workers: int, **more: str) -> Iterator[str]:
    """Run a server in a home, with more variables in its environment; yield its address."""
    port = free_port()
    environment = {**os.environ, "ANOMALY_HOME": str(folder), "PYTHONPATH": str(ROOT), **more}
    options = ["--port", str(port), "--workers", str(workers)]
    process = subprocess.Popen([*command, *options], env=environment, cwd=ROOT)
    try:
        _wait_for(f"http://127.0.0.1:{port}/")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        with suppress(httpx.HTTPError):
            httpx.get(url, timeout=5)
            return
        time.sleep(0.2)
    raise TimeoutError(url)
