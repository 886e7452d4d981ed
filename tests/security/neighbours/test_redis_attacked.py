"""A real Redis that somebody else commands in the middle: no request fails, and it heals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis
from starlette.testclient import TestClient

from anomaly_platform.platform import Platform
from anomaly_platform.serving.app import create_app
from anomaly_platform.settings import Settings
from anomaly_platform.storage.tables.api_keys import SCOPES
from tests.builders.servers import RedisServer
from tests.builders.waiting import wait_until

pytestmark = pytest.mark.integration

READING = {"device_id": "press-1", "metric_name": "temperature", "value": 21.5}
LIMIT = 40


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def intruder(redis_server: RedisServer) -> Iterator[Any]:
    """Whoever else reaches the same Redis."""
    with closing(redis.Redis.from_url(redis_server.url)) as client:
        yield client


@pytest.fixture
def client(
    settings: Settings, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[TestClient]:
    monkeypatch.setattr("anomaly_platform.serving.health.report._LIFETIME_S", 0.0)
    monkeypatch.setenv("ANOMALY_REDIS_URL", redis_server.url)
    from anomaly_platform.settings import get_settings

    assert settings.database_url is not None
    platform = Platform(
        get_settings(home=settings.home, database_url=settings.database_url.get_secret_value())
    )
    _, key = platform.warehouse.api_keys.create(
        "t", SCOPES, created_by="t", predictions_per_minute=LIMIT
    )
    with TestClient(create_app(platform), raise_server_exceptions=False) as opened:
        opened.headers["X-API-Key"] = key
        assert opened.post("/api/v1/telemetry", json=READING).status_code < 300
        yield opened
    platform.close()


def spoil(intruder: Any) -> None:
    """Put something of another kind under every name that the platform uses."""
    own = ("ml:predictions:press-1:temperature:latest", "ml:anomalies:press-1:count:24h",
           "ml:model:press-1:temperature")  # fmt: skip
    # In one step: a worker may write the name again in between.
    with intruder.pipeline() as step:
        for number, name in enumerate(intruder.keys("ml:*")):
            step.delete(name)
            if number % 2:
                step.hset(name, "a", "b")
            else:
                step.sadd(name, "x")
        for name in own:
            step.delete(name)
            step.rpush(name, "x")
        step.execute()


#: What is commanded, and how it is taken back.
ATTACKS: dict[str, tuple[Callable[[Any], object], Callable[[Any], object]]] = {
    "everything away": (lambda r: r.flushall(), lambda r: None),
    "scripts away": (lambda r: r.script_flush(), lambda r: None),
    "other kinds of values": (spoil, lambda r: r.flushall()),
    "connections cut": (lambda r: r.client_kill_filter(_type="normal"), lambda r: None),
    "no memory": (
        lambda r: r.config_set("maxmemory", "1"), lambda r: r.config_set("maxmemory", "0"),
    ),
    "a password": (
        lambda r: (r.config_set("requirepass", "x"), r.client_kill_filter(_type="normal")),
        lambda r: (r.execute_command("AUTH", "x"), r.config_set("requirepass", "")),
    ),
    "a master that is not there": (
        lambda r: r.replicaof("127.0.0.1", "1"), lambda r: r.replicaof("NO", "ONE"),
    ),
    "a pause": (lambda r: r.client_pause(2000), lambda r: r.client_unpause()),
    "another protocol's limits": (
        lambda r: r.config_set("proto-max-bulk-len", str(1 << 20)),
        lambda r: r.config_set("proto-max-bulk-len", str(512 << 20)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.replace(" ", "-"))
def test_no_request_fails_and_afterwards_all_is_well(
    client: TestClient, intruder: Any, attack: str
) -> None:
    begin, end = ATTACKS[attack]

    def ask() -> list[int]:
        return [
            client.post("/api/v1/ml/predict", json=READING).status_code,
            client.get("/api/v1/ml/devices/press-1").status_code,
            client.post("/api/v1/telemetry", json=READING | {"value": 22.0}).status_code,
            client.get("/health/ready").status_code,
            client.get("/api/v1/health").status_code,
        ]

    before = ask()
    assert max(before) < 300
    begin(intruder)
    for _ in range(8):
        assert ask() == before
    end(intruder)

    def part() -> str:
        said: str = client.get("/api/v1/health").json()["parts"]["redis"]["status"]
        return said

    wait_until(lambda: part() == "ok", 30)
    assert ask() == before


def test_limits_that_somebody_spoils_still_hold_in_each_worker(
    client: TestClient, intruder: Any
) -> None:
    statuses = []
    # More than two minutes' worth: a minute may end in between.
    for _ in range(2 * LIMIT + 20):
        spoil(intruder)
        statuses.append(client.post("/api/v1/ml/predict", json=READING).status_code)
    assert set(statuses) == {200, 429}
    assert statuses.count(200) <= 2 * LIMIT
