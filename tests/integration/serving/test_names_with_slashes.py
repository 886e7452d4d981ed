"""Names with a slash are asked about as any other."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

pytestmark = pytest.mark.integration

NAMES = ("rack/1", "a//b/", "/", "x/scores/y", "rack-1")
DEVICES, METRICS, SCORES = "/api/v1/ml/devices", "/api/v1/metrics", "/api/v1/anomaly/scores"


@pytest.fixture
def known(client: TestClient) -> TestClient:
    """An application that knows devices and assets of these names."""
    for stream, member in (("iiot", "device_id"), ("ems", "asset_id")):
        sent: list[dict[str, Any]] = [
            {member: name, "metric_name": "temp", "value": 1.0} for name in NAMES
        ]
        answer = client.post(f"/api/v1/streams/{stream}/telemetry", json=sent)
        assert answer.json()["accepted"] == len(NAMES)
    return client


def test_every_name_can_be_asked_about(known: TestClient) -> None:
    for path, member in ((DEVICES, "device_id"), (METRICS, "asset_id"), (SCORES, "asset_id")):
        for name in NAMES:
            answer = known.get(f"{path}/{quote(name, safe='')}")
            assert answer.status_code == 200, (path, name)
            assert answer.json()[member] == name
        unknown = known.get(f"{path}/rack%2F2")
        assert unknown.status_code == 404
        assert "rack/2" in unknown.json()["detail"]
        # A list of nothing is no name.
        assert known.get(f"{path}/").status_code in (404, 422)


def test_documents_and_metrics_call_the_routes_what_they_did(known: TestClient) -> None:
    paths = known.get("/openapi.json").json()["paths"]
    wanted = {f"{DEVICES}/{{device_id}}", f"{METRICS}/{{asset_id}}", f"{SCORES}/{{asset_id}}"}
    assert wanted <= set(paths)
    assert not [path for path in paths if ":" in path]
    known.get(f"{METRICS}/rack%2F1")
    counted = known.get("/metrics").text
    assert f'route="{METRICS}/{{asset_id}}"' in counted
    assert ":path" not in counted
