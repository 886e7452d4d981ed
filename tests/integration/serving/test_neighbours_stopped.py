"""Redis and the MQTT broker are killed under load and come back: nobody fails, nothing is lost."""

from __future__ import annotations

import collections
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from anomaly_platform.notifications.outbox import Alert
from anomaly_platform.platform import Platform
from anomaly_platform.settings import get_settings
from tests.builders.servers import Broker, RedisServer
from tests.builders.waiting import free_port

pytestmark = [pytest.mark.integration, pytest.mark.stress]

ANOMALY = str(Path(sys.executable).with_name("anomaly"))
DEVICE = {"device_id": "press-1", "metric_name": "temperature"}


@dataclass
class Load:
    """Clients that predict without pause, and messages that are written meanwhile."""

    url: str
    key: str
    platform: Platform
    statuses: collections.Counter[int] = field(default_factory=collections.Counter)
    messages: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        self._threads = [threading.Thread(target=self._predict) for _ in range(3)]
        self._threads.append(threading.Thread(target=self._tell))
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _predict(self) -> None:
        with httpx.Client(headers={"X-API-Key": self.key}, timeout=30) as client:
            while not self._stop.is_set():
                answer = client.post(f"{self.url}/api/v1/ml/predict", json={**DEVICE, "value": 5})
                self.statuses[answer.status_code] += 1

    def _tell(self) -> None:
        while not self._stop.is_set():
            with self.platform.warehouse.transactions.begin() as connection:
                alert = Alert(
                    kind="model_trained", fingerprint=f"load-{self.messages}", subject="iiot",
                    severity="info", title="trained", stream="iiot",
                )  # fmt: skip
                assert self.platform.outbox.raise_alert(connection, alert) is not None
            self.messages += 1
            time.sleep(0.05)


@dataclass
class Trial:
    load: Load
    redis: RedisServer
    broker: Broker

    def parts(self) -> tuple[str, str]:
        told = httpx.get(f"{self.load.url}/api/v1/health", timeout=30).json()
        return told["parts"]["redis"]["status"], told["parts"]["mqtt"]["status"]

    def deliveries(self) -> dict[str, int]:
        with self.load.platform.warehouse.transactions.begin() as connection:
            rows = connection.execute("SELECT status, count(*) FROM deliveries GROUP BY status")
            return dict(rows.fetchall())

    def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            time.sleep(0.1)


@pytest.fixture
def trial(database_url: str, tmp_path: Path) -> Iterator[Trial]:
    redis, broker = RedisServer(tmp_path), Broker(tmp_path)
    redis.start()
    broker.start()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ANOMALY_")} | {
        "ANOMALY_HOME": str(tmp_path),
        "ANOMALY_DATABASE_URL": database_url,
        "ANOMALY_API_PORT": str(free_port()),
        "ANOMALY_REDIS_URL": redis.url,
        "ANOMALY_MQTT_URL": f"mqtt://127.0.0.1:{broker.port}",
    }
    platform = Platform(
        get_settings(
            home=tmp_path, database_url=database_url, mqtt_url=environment["ANOMALY_MQTT_URL"]
        )
    )
    _, key = platform.warehouse.api_keys.create(
        # A limit that is never reached is counted in Redis as any other.
        "load", ["ml:read", "ml:write"], created_by="test", predictions_per_minute=1_000_000,
    )  # fmt: skip
    url = f"http://127.0.0.1:{environment['ANOMALY_API_PORT']}"
    with (tmp_path / "log").open("wb") as log:
        processes = [
            subprocess.Popen([ANOMALY, command], env=environment, stdout=log, stderr=log)
            for command in ("api", "dispatch")
        ]
    load = Load(url, key, platform)
    try:
        while True:
            try:
                if httpx.get(f"{url}/health/ready").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.1)
        reading = {**DEVICE, "value": 5.0}
        sent = httpx.post(f"{url}/api/v1/telemetry", json=reading, headers={"X-API-Key": key})
        assert sent.status_code == 200, sent.text
        yield Trial(load, redis, broker)
    finally:
        load.stop()
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            process.wait(30)
        broker.stop()
        redis.stop()
        platform.close()


def test_nobody_fails_and_the_outbox_drains(trial: Trial) -> None:
    load = trial.load
    assert trial.parts() == ("ok", "ok")
    load.start()
    time.sleep(3)
    for _ in range(3):
        trial.redis.stop()
        trial.broker.stop()
        trial.until(lambda: trial.parts() == ("down", "down"))
        before = load.statuses[200]
        trial.until(lambda: load.statuses[200] > before + 50)  # noqa: B023 - called at once
        assert trial.deliveries().get("waiting", 0) > 0
        trial.redis.start()
        trial.broker.start()
        trial.until(lambda: trial.parts() == ("ok", "ok"))
        before = load.statuses[200]
        trial.until(lambda: load.statuses[200] > before + 50)  # noqa: B023
    load.stop()
    assert set(load.statuses) == {200}, load.statuses
    trial.until(lambda: "waiting" not in trial.deliveries())
    assert trial.deliveries() == {"delivered": load.messages}
    print(f"predictions {load.statuses[200]}, messages {load.messages}")  # noqa: T201
