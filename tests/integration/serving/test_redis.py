"""Redis shares limits and caches between workers, and may vanish without anybody failing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
from fastapi import Depends, FastAPI
from starlette.testclient import TestClient

from anomaly_platform.platform import Platform
from anomaly_platform.serving.app import create_app
from anomaly_platform.serving.auth.rate_limits import RateLimits, count_prediction
from anomaly_platform.serving.auth.security import Require
from anomaly_platform.serving.cache import Cache, count_key, latest_key, model_key
from anomaly_platform.serving.health import report as health_module
from anomaly_platform.serving.shared_redis import SharedRedis
from anomaly_platform.settings import Settings
from tests.builders.servers import RedisServer

pytestmark = pytest.mark.integration


@asynccontextmanager
async def opened(server: RedisServer) -> AsyncIterator[SharedRedis]:
    redis = SharedRedis(server.url)
    await redis.start()
    try:
        yield redis
    finally:
        await redis.stop()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what has to come; the test's own time limit ends it otherwise."""
    while not condition():
        await asyncio.sleep(0.01)


def test_limit_is_exact_over_several_workers(redis_server: RedisServer) -> None:
    async def ask() -> list[bool]:
        async with opened(redis_server) as one, opened(redis_server) as two:
            workers = [RateLimits(100, one), RateLimits(100, two)]

            async def client(number: int) -> list[bool]:
                answers = []
                for _ in range(15):
                    allowance = await workers[number % 2].take("key", None)
                    assert allowance is not None
                    answers.append(allowance.granted)
                return answers

            answers = await asyncio.gather(*map(client, range(20)))
            keys = await one.client.keys("*")
            assert keys
            assert all(str(key).startswith("ml:limits") for key in keys)
            return [granted for some in answers for granted in some]

    answers = asyncio.run(ask())
    assert len(answers) == 300
    assert sum(answers) == 100


@pytest.mark.parametrize("fault", ["stop", "freeze"])
def test_without_redis_limits_hold_per_worker_and_come_back(
    redis_server: RedisServer, fault: str
) -> None:
    async def ask() -> None:
        async with opened(redis_server) as redis:
            rates = RateLimits(10, redis)
            await rates.take("key", None)
            getattr(redis_server, fault)()
            took = [await rates.take("key", None) for _ in range(30)]
            assert sum(one.granted for one in took if one) == 10
            assert not redis.answers
            # While it is gone nobody asks it, so that it costs nothing.
            asked = 0

            async def question() -> int:
                nonlocal asked
                asked += 1
                return 1

            assert [await redis.ask(question, 0) for _ in range(100)] == [0] * 100
            assert asked == 0
            if fault == "stop":
                redis_server.start()
            else:
                redis_server.thaw()
            await until(lambda: redis.answers)
            assert await redis.ask(question, 0) == 1
            assert redis.failures == 1

    asyncio.run(ask())


def test_a_redis_that_was_never_there_is_found_when_it_comes(redis_server: RedisServer) -> None:
    redis_server.stop()

    async def ask() -> None:
        async with opened(redis_server) as redis:
            assert not redis.answers
            redis_server.start()
            await until(lambda: redis.answers)

    asyncio.run(ask())


def test_workers_share_the_cache_under_its_documented_keys(redis_server: RedisServer) -> None:
    async def ask() -> None:
        async with opened(redis_server) as one, opened(redis_server) as two:
            writer, reader = Cache(one), Cache(two)
            keys = [model_key("press-1", "t"), latest_key("press-1", "t"), count_key("press-1")]
            assert await reader.get(keys) == [None] * 3
            for number in range(50):
                writer.put(keys[0], {"version": number})
            writer.put(keys[1], {"score": 0.5})
            writer.put(keys[2], 3)
            assert await writer.get(keys) == [{"version": 49}, {"score": 0.5}, 3]
            await writer.close()
            assert await reader.get(keys) == [{"version": 49}, {"score": 0.5}, 3]
            names = {
                "ml:model:press-1:t": 3600,
                "ml:predictions:press-1:t:latest": 300,
                "ml:anomalies:press-1:count:24h": 900,
            }
            assert set(await one.client.keys("ml:*")) == set(names)
            for name, seconds in names.items():
                assert seconds - 10 <= await one.client.ttl(name) <= seconds
            await one.client.set("ml:model:press-1:t", "no json")
            assert await reader.get(keys[:1]) == [None]

    asyncio.run(ask())


def test_a_cache_without_its_redis_goes_on_for_itself(redis_server: RedisServer) -> None:
    async def ask() -> None:
        async with opened(redis_server) as redis:
            cache, key = Cache(redis), count_key("a")
            cache.put(key, 1)
            redis_server.stop()
            assert await cache.get([key]) == [1]
            cache.put(key, 2)
            assert await cache.get([key]) == [2]
            await cache.close()

    asyncio.run(ask())


def test_names_with_colons_stay_apart() -> None:
    assert latest_key("a:b", "c") != latest_key("a", "b:c")
    assert latest_key("a%3Ab", "c") != latest_key("a:b", "c")


def test_own_values_grow_old(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("anomaly_platform.serving.cache.time.monotonic", lambda: now[0])
    cache, key = Cache(), latest_key("a", "b")

    async def ask() -> list[object | None]:
        cache.put(key, 1)
        before = (await cache.get([key]))[0]
        now[0] += key.seconds
        return [before, (await cache.get([key]))[0]]

    assert asyncio.run(ask()) == [1, None]


async def _scored() -> dict[str, bool]:
    return {"scored": True}


def with_scoring_route(platform: Platform) -> FastAPI:
    app = create_app(platform)
    app.get("/probe", dependencies=[Depends(Require("ml:read")), Depends(count_prediction)])(
        _scored
    )
    return app


@pytest.fixture
def redis_client(
    settings: Settings, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[TestClient]:
    monkeypatch.setattr(health_module, "_LIFETIME_S", 0.0)
    monkeypatch.setenv("ANOMALY_REDIS_URL", redis_server.url)
    monkeypatch.setenv("ANOMALY_API_PREDICTIONS_PER_MINUTE", "5")
    from anomaly_platform.settings import get_settings

    given = settings.database_url
    assert given is not None
    platform = Platform(get_settings(home=settings.home, database_url=given.get_secret_value()))
    _, key = platform.warehouse.api_keys.create("t", ["ml:read"], created_by="t")
    with TestClient(with_scoring_route(platform)) as client:
        client.headers["X-API-Key"] = key
        yield client
    platform.close()


def test_predictions_over_the_limit_are_refused_and_say_until_when(
    redis_client: TestClient,
) -> None:
    answers = [redis_client.get("/probe") for _ in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429]
    assert answers[0].headers["RateLimit-Policy"] == '"predictions";q=5;w=60'
    assert answers[0].headers["RateLimit"].startswith('"predictions";r=4;t=')
    last = answers[-1]
    assert last.headers["content-type"] == "application/problem+json"
    assert 1 <= int(last.headers["Retry-After"]) <= 60
    assert "5 predictions in a minute" in last.json()["detail"]
    assert redis_client.get("/metrics").status_code == 200, "other routes are not limited"


def test_redis_gone_under_load_fails_no_request_and_health_tells(
    redis_client: TestClient, redis_server: RedisServer
) -> None:
    def part() -> tuple[str, str]:
        told = redis_client.get("/api/v1/health").json()
        return told["status"], told["parts"]["redis"]["status"]

    assert part()[1] == "ok"
    assert redis_client.get("/probe").status_code == 200
    redis_server.stop()
    statuses = [redis_client.get("/probe").status_code for _ in range(50)]
    assert statuses == [200] * 5 + [429] * 45, "this worker's own limit holds meanwhile"
    assert part() == ("degraded", "down")
    assert "fix" in redis_client.get("/api/v1/health").json()["parts"]["redis"]
    assert redis_client.get("/health/ready").status_code == 200
    redis_server.start()
    while part()[1] != "ok":
        pass
    assert redis_client.get("/probe").status_code == 200
