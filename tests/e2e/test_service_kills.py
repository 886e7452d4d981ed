"""The service killed at random moments under load: a long trial, only in `make stress`.

API worker, PostgreSQL (the embedded one, durable) and dispatcher are killed with `kill -9` while
clients send readings and send again whatever was not acknowledged. The next is killed as soon as
requests are answered again, at a random moment of the half second after. Afterwards every
acknowledged reading is in the tables exactly once, and every notification has been delivered at
least once.
`ANOMALY_STRESS_KILLS` says how often (1,000 by default).
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import uuid4

import httpx
import psutil
import pytest

from anomaly_platform.platform import Platform
from anomaly_platform.settings import get_settings
from anomaly_platform.storage.postgres.embedded import EmbeddedPostgres
from tests.builders.waiting import wait_until

pytestmark = [pytest.mark.stress, pytest.mark.e2e, pytest.mark.timeout(14_400)]

#: Read before the tests' own fixture clears the environment.
KILLS = int(os.environ.get("ANOMALY_STRESS_KILLS", "1000"))
ANOMALY = str(Path(sys.executable).with_name("anomaly"))
SEED = 20260105
CLIENTS = 3
BATCH = 20
QUIET = 60
#: A dispatcher takes seconds to start, while which nothing else of it can be seen.
KINDS = {"API worker": 4, "PostgreSQL": 4, "dispatcher": 1}


class Webhook:
    """Takes messages and remembers their ids, repeats included."""

    def __init__(self) -> None:
        self.delivered: list[str] = []
        mine = self.delivered

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers.get("content-length", "0"))
                mine.append(json.loads(self.rfile.read(length))["id"])
                self.send_response(204)
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Services:
    """The API and the dispatcher, started again whenever they are gone."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self._environment = environment
        self._folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def tend(self) -> None:
        for name in ("api", "dispatch"):
            process = self._running.get(name)
            if process is not None and process.poll() is None:
                continue
            with (self._folder / f"{name}.log").open("ab") as log:
                self._running[name] = subprocess.Popen(
                    [ANOMALY, name],
                    env=self._environment,
                    stdout=log,
                    stderr=log,
                )

    def workers(self) -> list[psutil.Process]:
        """Return the oldest of the processes that serve: forked from a child of uvicorn."""
        with contextlib.suppress(psutil.Error):
            parent = psutil.Process(self._running["api"].pid)
            forked = [one for child in parent.children() for one in child.children()]
            return sorted(forked, key=psutil.Process.create_time)[:1]
        return []

    def dispatcher(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.Error):
            return [psutil.Process(self._running["dispatch"].pid)]
        return []

    def stop(self) -> None:
        for process in self._running.values():
            if process.poll() is None:
                for child in psutil.Process(process.pid).children(recursive=True):
                    child.kill()
                process.kill()
            process.wait(30)


class Client(threading.Thread):
    """Sends readings of its own devices and sends again what was not acknowledged."""

    def __init__(self, number: int, url: str, key: str) -> None:
        super().__init__(daemon=True)
        self.acknowledged: set[str] = set()
        self.requests = self.failures = self.repeats = 0
        self.wrong: list[str] = []
        self._number = number
        self._url = url
        self._headers = {"Authorization": f"Bearer {key}"}
        self.stop = threading.Event()

    def run(self) -> None:
        chance = random.Random(self._number)
        time_ = datetime.now(UTC) - timedelta(minutes=40)
        sent = 0
        while not self.stop.is_set():
            batch = []
            for _ in range(BATCH):
                sent += 1
                # Less than passes between two readings: none is ever ahead of the present.
                time_ += timedelta(milliseconds=5)
                spike = sent > QUIET and chance.random() < 0.02
                value = 900.0 + sent if spike else 20.0 + chance.random()
                batch.append(
                    {
                        "device_id": f"device-{self._number}",
                        "metric_name": "load",
                        "value": value,
                        "timestamp": time_.isoformat(),
                        "event_id": str(uuid4()),
                    }
                )
            self._send_for_sure(batch)

    def _send_for_sure(self, batch: list[dict[str, object]]) -> None:
        while True:
            self.requests += 1
            try:
                answer = httpx.post(self._url, json=batch, headers=self._headers, timeout=30)
            except httpx.HTTPError:
                self.failures += 1
                time.sleep(0.2)
                continue
            if answer.status_code == 200:
                for one, verdict in zip(batch, answer.json()["readings"], strict=True):
                    self.repeats += verdict["status"] == "repeated"
                    if verdict["status"] not in ("stored", "repeated"):
                        self.wrong.append(json.dumps(verdict))
                    self.acknowledged.add(str(one["event_id"]))
                return
            self.failures += 1
            if answer.status_code != 503:
                self.wrong.append(f"{answer.status_code}: {answer.text[:300]}")
            time.sleep(0.2)


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    opened = Webhook()
    yield opened
    opened.close()


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder that the server's own user may enter, whatever other test sessions do."""
    made = Path(tempfile.mkdtemp(prefix="anomaly-kills-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


def kill(kind: str, services: Services, database: EmbeddedPostgres, chance: random.Random) -> bool:
    """Kill one of the processes, and start PostgreSQL again; tell whether there was one."""
    if kind == "PostgreSQL":
        with contextlib.suppress(ProcessLookupError):
            os.kill(int((database.data / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)
        time.sleep(chance.uniform(0.0, 0.3))
        database.ensure_running()
        return True
    victims = services.workers() if kind == "API worker" else services.dispatcher()
    with contextlib.suppress(psutil.Error):
        for victim in victims:
            victim.kill()
            return True
    return False


def test_acknowledged_readings_are_there_once_and_notifications_arrive(  # noqa: PLR0915
    home: Path, webhook: Webhook
) -> None:
    port = httpx.URL(webhook.url).port or 0
    api_port = port + 1 if port < 60_000 else port - 1
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("ANOMALY_")},
        "ANOMALY_HOME": str(home),
        "ANOMALY_API_PORT": str(api_port),
        "ANOMALY_API_WORKERS": "3",
        "ANOMALY_WEBHOOK_URLS": webhook.url,
        "ANOMALY_WEBHOOK_ALLOW_PRIVATE": "true",
        "ANOMALY_ALERT_COOL_DOWN_MINUTES": "0",
    }
    platform = Platform(get_settings(home=home))
    _, key = platform.warehouse.api_keys.create(
        "stress", ("ml:write",), created_by="test", predictions_per_minute=0
    )
    platform.close()
    database = EmbeddedPostgres(home)
    services = Services(environment, home)
    services.tend()
    health = f"http://127.0.0.1:{api_port}/health/live"

    def healthy() -> bool:
        services.tend()
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(health, timeout=5).status_code == 200
        return False

    clients = [
        Client(n, f"http://127.0.0.1:{api_port}/api/v1/telemetry", key) for n in range(CLIENTS)
    ]
    chance = random.Random(SEED)
    killed = dict.fromkeys(KINDS, 0)
    seen = 0

    def answered() -> bool:
        services.tend()
        return sum(len(client.acknowledged) for client in clients) > seen

    began = time.monotonic()
    try:
        wait_until(healthy, 300)
        for client in clients:
            client.start()
        while sum(killed.values()) < KILLS:
            wait_until(answered, 300)
            time.sleep(chance.uniform(0.0, 0.5))
            seen = sum(len(client.acknowledged) for client in clients)
            kind = chance.choices(list(KINDS), list(KINDS.values()))[0]
            killed[kind] += kill(kind, services, database, chance)
        database.ensure_running()
        wait_until(healthy, 300)
        for client in clients:
            client.stop.set()
        for client in clients:
            client.join(300)
            assert not client.is_alive()

        def drained() -> bool:
            services.tend()
            with platform.warehouse.transactions.begin() as connection:
                row = connection.execute(
                    # Of a message that nobody has looked at yet there is no delivery either.
                    "SELECT (SELECT count(*) FROM deliveries WHERE status = 'waiting') "
                    "+ (SELECT count(*) FROM notifications WHERE routed_at IS NULL)"
                ).fetchone()
            return row is not None and row[0] == 0

        wait_until(drained, 600)
        spent = time.monotonic() - began
        with platform.warehouse.transactions.begin() as connection:
            stored = connection.execute(
                "SELECT event_id::text, count(*) FROM online_readings GROUP BY 1"
            ).fetchall()
            doubled = connection.execute(
                "SELECT count(*) FROM (SELECT FROM online_readings "
                "GROUP BY entity, metric, event_time HAVING count(*) > 1) twice"
            ).fetchone()
            notified = {row[0] for row in connection.execute("SELECT id::text FROM notifications")}
            flagged = connection.execute(
                "SELECT count(*), (SELECT count(*) FROM online_readings WHERE is_anomaly) "
                "FROM anomaly_detections WHERE source = 'realtime'"
            ).fetchone()
            states = connection.execute("SELECT count(*) FROM series_state").fetchone()
    finally:
        for client in clients:
            client.stop.set()
        services.stop()
        platform.release()
    acknowledged = set().union(*(client.acknowledged for client in clients))
    print(  # noqa: T201 - the counts are what docs/measured/stress.md tells
        f"\n{sum(killed.values())} kills {killed} in {spent:.0f} s; "
        f"{sum(c.requests for c in clients):,} requests, {sum(c.failures for c in clients):,} not "
        f"acknowledged and sent again; {len(acknowledged):,} readings acknowledged, "
        f"{len(stored):,} in the table, {sum(c.repeats for c in clients):,} found stored by a "
        f"retry; {len(notified):,} notifications, {len(webhook.delivered):,} deliveries"
    )
    assert [client.wrong for client in clients] == [[]] * CLIENTS
    assert {row[1] for row in stored} == {1}
    assert doubled == (0,)
    # Whatever was sent was acknowledged in the end, so that nothing else is there either.
    assert {row[0] for row in stored} == acknowledged
    assert all(killed.values()) or KILLS < 50
    assert flagged is not None
    assert flagged[0] == flagged[1] > 0
    assert notified
    assert notified <= set(webhook.delivered)
    assert states == (CLIENTS,)
