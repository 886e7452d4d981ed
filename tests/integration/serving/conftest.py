"""An application over a database of the test's own, as a client sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from anomaly_platform.resources.api_keys import SCOPES
from anomaly_platform.resources.platform import Platform
from anomaly_platform.serving.app import create_app
from anomaly_platform.settings import Settings

from .redis_server import RedisServer


@pytest.fixture
def platform(settings: Settings) -> Iterator[Platform]:
    """The built-in streams over an empty, migrated database."""
    opened = Platform(settings)
    yield opened
    opened.close()


@pytest.fixture
def new_key(platform: Platform) -> Callable[..., str]:
    """Make a key with the given scopes; every one when none is given."""

    def make(*scopes: str, per_minute: int | None = 0) -> str:
        _, key = platform.warehouse.api_keys.create(
            "test", scopes or SCOPES, created_by="test", predictions_per_minute=per_minute
        )
        return key

    return make


@pytest.fixture
def anonymous(platform: Platform) -> Iterator[TestClient]:
    """A running application; errors of the service are answers, as over a network."""
    with TestClient(create_app(platform), raise_server_exceptions=False) as opened:
        yield opened


@pytest.fixture
def client(anonymous: TestClient, new_key: Callable[..., str]) -> TestClient:
    """The running application, with a key that opens everything and has no rate limit."""
    anonymous.headers["Authorization"] = f"Bearer {new_key()}"
    return anonymous


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of the test's own, started."""
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()
