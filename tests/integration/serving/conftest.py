"""An application over a database of the test's own, as a client sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from rich.console import Console
from starlette.testclient import TestClient

from anomaly_platform.cli.streams.run import run_stream
from anomaly_platform.platform import Platform
from anomaly_platform.serving.app import create_app
from anomaly_platform.settings import get_settings
from anomaly_platform.storage.tables.api_keys import SCOPES
from anomaly_platform.streams import EMS, IIOT
from tests.builders.platforms import drop_into, open_runtime
from tests.builders.readings import PER_DAY, START, daily_cycle, file_of
from tests.builders.servers import RedisServer


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


DAYS = 5


def with_a_spike(rows: int, *, seed: int) -> npt.NDArray[np.float64]:
    """Return a daily rhythm; at noon of the last of all days, there is a spike."""
    values = daily_cycle(rows, seed)
    if rows == DAYS * PER_DAY:
        values[-PER_DAY // 2] = 500.0
    return values


@dataclass(frozen=True)
class Trained:
    """A platform with scored history and champions, and an application over it."""

    platform: Platform
    client: TestClient

    def model(self, device: str, metric: str) -> dict[str, object]:
        """Return the active model of a device and metric, as the API lists it."""
        query = {"device_id": device, "metric_name": metric, "status": "active"}
        (found,) = self.client.get("/api/v1/ml/models", params=query).json()["models"]
        return dict(found)


@pytest.fixture(scope="session")
def trained_platform(
    tmp_path_factory: pytest.TempPathFactory, session_database_url: str
) -> Iterator[Platform]:
    """Devices and hosts with a few days of history, trained and scored by the graph itself.

    Tests share it: one that changes something takes a series that no other test looks at.
    """
    home = tmp_path_factory.mktemp("trained")
    settings = get_settings(home=home, database_url=session_database_url, min_training_samples=100)
    long = DAYS * PER_DAY
    devices = [
        *(("press-1", metric, long) for metric in ("temperature", "pressure", "flow")),
        *((f"press-{n}", "temperature", long) for n in range(2, 10)),
        ("young-1", "temperature", 60),
        ("new-1", "temperature", 10),
        *((f"silent-{n}", "temperature", long) for n in (1, 2, 3)),
    ]
    hosts = [
        *(("host-1", metric, long) for metric in ("cpu", "memory")),
        # About host-3 and press-9 requests at random are made, and nothing else.
        *((f"host-{n}", "cpu", long) for n in (2, 3)),
    ]
    last_day = START + timedelta(days=DAYS - 1)
    with open_runtime(settings) as runtime:
        for stream, series in ((IIOT, devices), (EMS, hosts)):
            frame = pl.concat(
                file_of(stream, entity, metric, with_a_spike(rows, seed=n))
                for n, (entity, metric, rows) in enumerate(series)
            )
            # The last day comes after the training, which therefore knows nothing of it.
            is_new = pl.col("timestamp") >= last_day
            for part, train in ((~is_new, True), (is_new, False)):
                drop_into(runtime.platform, stream, f"trained-{train}.csv", frame.filter(part))
                run_stream(runtime, stream, Console(quiet=True), train=train)
        yield runtime.platform


@pytest.fixture(scope="session")
def trained(trained_platform: Platform) -> Iterator[Trained]:
    """The application over the trained platform, with a key that opens everything."""
    _, key = trained_platform.warehouse.api_keys.create(
        "tests", SCOPES, created_by="tests", predictions_per_minute=0
    )
    with TestClient(create_app(trained_platform), raise_server_exceptions=False) as client:
        client.headers["Authorization"] = f"Bearer {key}"
        yield Trained(trained_platform, client)
