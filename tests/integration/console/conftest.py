"""The console over a database of the test's own, as a client sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from starlette.testclient import TestClient

from anomaly_platform.console.app import create_app
from anomaly_platform.platform import Platform
from anomaly_platform.storage.tables.api_keys import SCOPES
from tests.builders.console import log_in

NewKey = Callable[..., str]


@pytest.fixture
def new_key(platform: Platform) -> NewKey:
    """Make a key with the given scopes; every one when none is given."""

    def make(*scopes: str, name: str = "night shift") -> str:
        return platform.warehouse.api_keys.create(name, scopes or SCOPES, created_by="test")[1]

    return make


@pytest.fixture
def stranger(platform: Platform) -> Iterator[TestClient]:
    """A browser in which nobody is logged in."""
    with TestClient(create_app(platform), raise_server_exceptions=False) as opened:
        yield opened


@pytest.fixture
def browser(stranger: TestClient, new_key: NewKey) -> TestClient:
    """A browser in which somebody is logged in who may do everything."""
    log_in(stranger, new_key())
    return stranger
