"""``anomaly api`` as it is started in production, seen from outside."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families

from anomaly_platform.warehouse import Warehouse

from .waiting import free_port

ANOMALY = str(Path(sys.executable).with_name("anomaly"))


@dataclass
class Service:
    url: str
    environment: dict[str, str]
    log: Path
    process: subprocess.Popen[bytes]

    def command(self, *arguments: str) -> str:
        done = subprocess.run(
            [ANOMALY, *arguments], env=self.environment, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    def get(self, path: str, key: str = "", **headers: str) -> httpx.Response:
        """Ask over a new connection, so that any worker may answer."""
        if key:
            headers["Authorization"] = f"Bearer {key}"
        return httpx.get(self.url + path, headers=headers, timeout=30, verify=False)

    def sample(self, key: str, name: str, **labels: str) -> float:
        text = self.get("/metrics", key).text
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def new_key(self, *scopes: str, per_minute: int | None = None) -> str:
        with contextlib.closing(Warehouse(self.environment["ANOMALY_DATABASE_URL"])) as warehouse:
            return warehouse.api_keys.create(
                "test",
                scopes or ["ml:read"],
                created_by="test",
                predictions_per_minute=per_minute,
            )[1]

    @property
    def workers(self) -> list[psutil.Process]:
        """The processes that listen, the one that only watches them left out."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        found = []
        for child in children:
            # One that was just killed has no command line any more.
            with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                # Beside it runs the process that they are forked from.
                parent = child.parent()
                if parent is not None and "forkserver" in " ".join(parent.cmdline()):
                    found.append(child)
        return found


@contextlib.contextmanager
def running_service(home: Path, database_url: str, **settings: object) -> Iterator[Service]:
    """Run ``anomaly api`` with two workers, unless the settings say otherwise, until the end."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ANOMALY_")}
    environment |= {
        "ANOMALY_HOME": str(home),
        "ANOMALY_DATABASE_URL": database_url,
        "ANOMALY_API_PORT": str(free_port()),
        "ANOMALY_API_WORKERS": "2",
        "ANOMALY_LOG_FORMAT": "json",
        "ANOMALY_LOG_LEVEL": "INFO",
    }
    environment |= {f"ANOMALY_{name.upper()}": str(value) for name, value in settings.items()}
    log = home / "api.log"
    with log.open("wb") as sink:
        process = subprocess.Popen([ANOMALY, "api"], env=environment, stdout=sink, stderr=sink)
    url = f"http://127.0.0.1:{environment['ANOMALY_API_PORT']}"
    found = Service(url, environment, log, process)
    wanted = int(environment["ANOMALY_API_WORKERS"])
    try:
        for _ in range(1_200):
            try:
                ready = httpx.get(f"{url}/health/ready", timeout=10).status_code == 200
                if ready and log.read_text().count("Application startup complete") >= wanted:
                    break
            except httpx.TransportError:
                assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        yield found
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
