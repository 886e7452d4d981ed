"""Others write to the same Redis: whatever they put there, no request fails by it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import redis

from tests.builders.servers import RedisServer
from tests.builders.services import Service, running_service

pytestmark = pytest.mark.integration

DEVICE = "press-1"
VALUES = [f"ml:model:{DEVICE}:t", f"ml:predictions:{DEVICE}:t:latest"]
COUNT = f"ml:anomalies:{DEVICE}:count:24h"
READING = {"device_id": DEVICE, "metric_name": "t", "value": 1.0}

TEXTS = {
    "not UTF-8": b"\xff\xfe\x00\x80",
    "empty": b"",
    "no JSON": b"no json",
    "huge": b'"' + b"x" * (64 * 2**20) + b'"',
    "huge JSON": b"[" + b"1," * 100_000 + b"1]",
    "deep JSON": b"[" * 30_000 + b"]" * 30_000,
    "NaN": b'{"value": NaN, "id": Infinity}',
    "infinite": b'{"value": 1e999}',
    "a list": b"[1, 2]",
    "a text": b'"nine"',
    "a truth value": b"true",
    "a negative number": b"-3",
    "a float": b"2.5",
    "another object": json.dumps({"id": 7, "model_version": "x", "value": {}}).encode(),
    "digits without end": b"9" * 5_000,
    "UTF-16": "[1]".encode("utf-16"),
}
KINDS: dict[str, Callable[[redis.Redis, str], object]] = {
    "list": lambda client, key: client.rpush(key, b"\xff", "x"),
    "set": lambda client, key: client.sadd(key, b"\xff", "x"),
    "hash": lambda client, key: client.hset(key, b"\xff", "x"),
    "sorted set": lambda client, key: client.zadd(key, {b"\xff": 1.0}),
    "stream": lambda client, key: client.xadd(key, {b"\xff": "x"}),
}


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def service(
    module_database_url: str,
    tmp_path_factory: pytest.TempPathFactory,
    redis_server: RedisServer,
) -> Iterator[Service]:
    home: Path = tmp_path_factory.mktemp("service")
    with running_service(home, module_database_url, redis_url=redis_server.url) as found:
        key = found.new_key("ml:read", "ml:write", per_minute=1_000)
        answer = httpx.post(
            f"{found.url}/api/v1/telemetry", json=READING, headers={"X-API-Key": key}, timeout=30
        )
        assert answer.status_code == 200
        yield found


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_server.url) as opened:
        opened.flushall()
        yield opened


def poison(client: redis.Redis, key: str, how: str) -> None:
    # At once: the service may write the key between two commands.
    with client.pipeline(transaction=True) as commands:
        commands.delete(key)
        if how in TEXTS:
            commands.set(key, TEXTS[how])
        else:
            KINDS[how](commands, key)
        commands.execute()


@pytest.mark.parametrize("how", [*TEXTS, *KINDS])
def test_what_is_no_value_of_ours_is_a_miss(
    service: Service, client: redis.Redis, how: str
) -> None:
    for key in (*VALUES, COUNT):
        poison(client, key, how)
    api_key = service.new_key("ml:read", per_minute=0)
    for _ in range(4):
        shown = service.get(f"/api/v1/ml/devices/{DEVICE}", api_key)
        assert shown.status_code == 200, shown.text
        device = shown.json()
        assert device["anomalies_24h"] == 0
        assert device["metrics"][0]["latest_prediction"] is None


@pytest.mark.parametrize("how", [*TEXTS, *KINDS])
def test_a_limit_that_was_written_over_fails_no_prediction(
    service: Service, client: redis.Redis, how: str
) -> None:
    api_key = service.new_key("ml:read", per_minute=50)
    headers = {"X-API-Key": api_key}

    def predict() -> httpx.Response:
        return httpx.post(
            f"{service.url}/api/v1/ml/predict", json=READING, headers=headers, timeout=30
        )

    assert predict().status_code == 200
    counted = [key for key in client.keys("*") if b"limits" in key]
    assert counted, client.keys("*")
    for key in counted:
        poison(client, key.decode(), how)
    for _ in range(6):
        answer = predict()
        assert answer.status_code == 200, answer.text
        assert answer.headers["RateLimit-Policy"] == '"predictions";q=50;w=60'
        assert int(answer.headers["RateLimit"].rpartition("t=")[2]) <= 60


@pytest.mark.parametrize("entry", ["nan", "inf", "-inf", "1e300", "-1e300", "x", b"\xff\xfe", ""])
def test_times_that_are_none_fail_no_prediction(
    service: Service, client: redis.Redis, entry: str | bytes
) -> None:
    headers = {"X-API-Key": service.new_key("ml:read", per_minute=50)}
    for _ in range(4):
        answer = httpx.post(
            f"{service.url}/api/v1/ml/predict", json=READING, headers=headers, timeout=30
        )
        assert answer.status_code == 200, answer.text
        for key in client.keys("*limits*"):
            client.lpush(key, entry)
    health = service.get("/api/v1/health").json()
    assert health["parts"]["redis"]["status"] == "ok"
