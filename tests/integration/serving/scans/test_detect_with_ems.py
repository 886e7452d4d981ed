"""Detection with an EMS: what is missing is fetched, stored and scored, and told back as events."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from anomaly_platform.platform import Platform
from anomaly_platform.serving.app import create_app
from anomaly_platform.settings import get_settings
from tests.builders.tables import count

pytestmark = pytest.mark.integration

DETECT = "/api/v1/anomaly/detect"
HOST = {"asset_id": "host-1"}
Scopes = tuple[str, ...]


@pytest.fixture
def served(platform: Platform, fake_ems: Any) -> Iterator[Any]:
    """Return how to get a client of an API with settings of its own and a key of some scopes."""
    opened: list[Any] = []

    def serve(*scopes: str, **more: Any) -> TestClient:
        own = {"ems_core_url": fake_ems.url, **more}
        settings = get_settings(
            home=platform.settings.home,
            database_url=platform.settings.database_url,
            **{name: value for name, value in own.items() if value is not None},
        )
        app = create_app(Platform(settings))
        client = TestClient(app, raise_server_exceptions=False)
        client.__enter__()
        opened.append(client)
        _, key = platform.warehouse.api_keys.create("t", scopes, created_by="t")
        client.headers["Authorization"] = f"Bearer {key}"
        return client

    yield serve
    for client in opened:
        client.__exit__(None, None, None)


def readings(fake_ems: Any, rows: int = 120, odd: float = 900.0) -> None:
    """Give the EMS an asset's readings of the last hours, the newest of which is odd."""
    first = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=5 * rows + 90)
    for n in range(rows):
        fake_ems.metrics.append(
            {
                "id": n + 1,
                "assetId": "host-1",
                "metricName": "cpu",
                "value": odd if n == rows - 1 else 50.0 + n % 7,
                "timestamp": (first + dt.timedelta(minutes=5 * n)).isoformat(),
            }
        )


def left_out(answer: dict[str, Any]) -> dict[str, str]:
    return {one["step"]: one["reason"] for one in answer["left_out"]}


def test_what_is_missing_is_fetched_scored_and_told_back(
    served: Any, fake_ems: Any, platform: Platform
) -> None:
    readings(fake_ems)
    fake_ems.metrics[3]["value"] = "broken"
    client = served("ml:read", "ml:write")
    first = client.post(DETECT, json=HOST).json()
    assert (first["stored"], first["refused"], first["readings"]) == (119, 1, 119)
    assert [one["value"] for one in first["anomalies"]] == [900.0]
    assert (first["events_created"], first["left_out"]) == (1, [])
    assert [one["assetId"] for one in fake_ems.events] == ["host-1"]
    assert fake_ems.events[0]["metadata"]["value"] == 900.0
    assert [one["severity"] for one in fake_ems.alerts] == ["critical"]
    assert count(platform.warehouse, "online_readings", "source = 'ems'") == 119
    # The same once more: nothing is missing, and nothing is told again.
    asked = len(fake_ems.requests)
    again = client.post(DETECT, json=HOST).json()
    assert (again["stored"], again["anomaly_count"], again["events_created"]) == (0, 1, 0)
    assert (len(fake_ems.events), len(fake_ems.alerts)) == (1, 1)
    assert [one.method for one in fake_ems.requests[asked:]] == ["GET"]


def test_reading_alone_fetches_stores_and_tells_nothing_and_says_so(
    served: Any, fake_ems: Any, platform: Platform
) -> None:
    readings(fake_ems)
    client = served("ml:read")
    unknown = client.post(DETECT, json=HOST)
    assert unknown.status_code == 404
    assert "nothing came from the EMS: the key has no scope ml:write" in unknown.json()["detail"]
    assert served("ml:read", "ml:write").post(DETECT, json=HOST).json()["stored"] == 120
    fake_ems.events.clear()
    fake_ems.metrics.pop()
    answer = client.post(DETECT, json=HOST).json()
    assert (answer["anomaly_count"], answer["stored"], answer["events_created"]) == (1, 0, 0)
    assert set(left_out(answer)) == {"fetching", "storing", "events"}
    assert "ml:write" in left_out(answer)["events"]
    assert fake_ems.events == []
    assert count(platform.warehouse, "online_readings") == 120


def test_no_events_where_nobody_wants_them_and_none_to_the_default_address(
    served: Any, fake_ems: Any
) -> None:
    readings(fake_ems)
    client = served("ml:read", "ml:write", auto_create_alerts=False)
    answer = client.post(DETECT, json=HOST).json()
    assert (answer["stored"], answer["anomaly_count"]) == (120, 1)
    assert left_out(answer) == {"events": "ANOMALY_AUTO_CREATE_ALERTS is false"}
    assert fake_ems.events == []
    nowhere = served("ml:read", "ml:write", ems_core_url=None).post(DETECT, json=HOST).json()
    assert "no EMS is set" in left_out(nowhere)["events"]


def test_an_ems_that_fails_leaves_what_is_there(served: Any, fake_ems: Any) -> None:
    readings(fake_ems)
    served("ml:read", "ml:write", auto_create_alerts=False).post(DETECT, json=HOST)
    client = served("ml:read", "ml:write", ems_core_token="hunter2")
    fake_ems.token = "another"
    answer = client.post(DETECT, json=HOST)
    assert answer.status_code == 200
    said = left_out(answer.json())
    assert answer.json()["anomaly_count"] == 1
    assert "401" in said["fetching"]
    assert "401" in said["events"]
    assert "hunter2" not in answer.text
    # What it was not told then, it is told when it answers again.
    assert answer.json()["events_created"] == 0
    fake_ems.token = "hunter2"
    assert client.post(DETECT, json=HOST).json()["events_created"] == 1


def test_health_asks_the_ems_that_detections_ask(served: Any, fake_ems: Any) -> None:
    asked = served("ml:read")
    assert asked.get("/api/v1/health").json()["parts"]["ems_core"]["status"] == "ok"
    assert [one.path for one in fake_ems.requests] == ["/health"]
    nowhere = served("ml:read", ems_core_url=None).get("/api/v1/health").json()
    assert nowhere["parts"]["ems_core"]["status"] == "off"
    assert len(fake_ems.requests) == 1
