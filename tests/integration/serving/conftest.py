"""An application over a database of the test's own, as a client sees it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from anomaly_platform.resources.platform import Platform
from anomaly_platform.serving.app import create_app
from anomaly_platform.settings import Settings


@pytest.fixture
def platform(settings: Settings) -> Iterator[Platform]:
    """The built-in streams over an empty, migrated database."""
    opened = Platform(settings)
    yield opened
    opened.close()


@pytest.fixture
def client(platform: Platform) -> Iterator[TestClient]:
    """A running application; errors of the service are answers, as over a network."""
    with TestClient(create_app(platform), raise_server_exceptions=False) as opened:
        yield opened
