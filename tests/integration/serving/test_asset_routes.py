"""Assets: what was found, scores in pages, readings with what is usual in them."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Trained

pytestmark = pytest.mark.integration


def test_detect_finds_the_spike_and_says_how_the_asset_is(trained: Trained) -> None:
    answer = trained.client.post("/api/v1/anomaly/detect", json={"asset_id": "host-1"}).json()
    assert answer["readings"] == 2 * 288
    values = [one["value"] for one in answer["anomalies"]]
    assert 500.0 in values
    scores = [one["score"] for one in answer["anomalies"]]
    assert scores == sorted(scores, reverse=True)
    assert answer["anomaly_count"] == len(values)
    assert answer["entity"]["is_anomaly"] is True
    assert answer["window_end"].startswith("2026-01-09T23:55:00")


def test_detect_with_a_threshold_judges_anew(trained: Trained) -> None:
    body = {"asset_id": "host-1", "metric_name": "cpu", "hours": 24}
    path = "/api/v1/anomaly/detect"
    every = trained.client.post(path, json={**body, "threshold": 1e-9}).json()
    none = trained.client.post(path, json={**body, "threshold": 1 - 1e-6}).json()
    assert every["anomaly_count"] == every["readings"] == 288
    assert all(one["isAnomaly"] and one["threshold"] == 1e-9 for one in every["anomalies"])
    assert none["anomaly_count"] == 0
    ends = [trained.client.post(path, json={**body, "threshold": end}).json() for end in (0, 1)]
    assert [one["anomaly_count"] for one in ends] == [288, 0]
    for outside in (-0.1, 1.1):
        answer = trained.client.post(path, json={**body, "threshold": outside})
        assert answer.status_code == 422
        assert "from 0" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/v1/anomaly/detect", {"asset_id": "nobody"}),
        ("POST", "/api/v1/anomaly/detect", {"asset_id": "host-1", "metric_name": "humidity"}),
        ("GET", "/api/v1/anomaly/scores/nobody", None),
        ("GET", "/api/v1/metrics/nobody", None),
        ("GET", "/api/v1/metrics/host-1?metric_name=humidity", None),
        ("GET", "/api/v1/models?stream=nope", None),
        ("POST", "/api/v1/anomaly/train", {"asset_ids": ["nobody"]}),
        ("POST", "/api/v1/anomaly/train", {"metric_names": ["humidity"]}),
    ],
)
def test_unknown_names_are_404(
    trained: Trained, method: str, path: str, body: dict[str, object] | None
) -> None:
    assert trained.client.request(method, path, json=body).status_code == 404


def test_scores_come_in_pages_each_once(trained: Trained) -> None:
    path = "/api/v1/anomaly/scores/host-1"
    seen = []
    cursor = None
    while True:
        query = {"hours": 6, "limit": 50} | ({"cursor": cursor} if cursor else {})
        page = trained.client.get(path, params=query).json()
        seen += [(one["timestamp"], one["metricName"]) for one in page["scores"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert len(seen) == len(set(seen)) == 2 * 72
    times = [time for time, _ in seen]
    assert times == sorted(times, reverse=True)


@pytest.mark.parametrize(
    ("asset", "query"),
    [
        ("host-2", {}),
        ("host-1", {"metric_name": "cpu"}),
        ("host-1", {"hours": 24}),
    ],
)
def test_a_cursor_is_of_what_was_asked(
    trained: Trained, asset: str, query: dict[str, object]
) -> None:
    asked = {"hours": 6, "limit": 5}
    first = trained.client.get("/api/v1/anomaly/scores/host-1", params=asked).json()
    path, more = f"/api/v1/anomaly/scores/{asset}", {"cursor": first["next_cursor"]}
    answer = trained.client.get(path, params=asked | query | more)
    assert answer.status_code == 422
    assert "another asset, metric or window" in answer.json()["detail"]


@pytest.mark.parametrize("since", ["0001-01-01T00:00:00+00:00", "2020-01-01T00:00:00+00:00"])
def test_an_edited_cursor_widens_no_window(trained: Trained, since: str) -> None:
    path, asked = "/api/v1/anomaly/scores/host-1", {"hours": 6, "limit": 5}
    cursor = trained.client.get(path, params=asked).json()["next_cursor"]
    parts = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    (place, *_) = (n for n, part in enumerate(parts) if part.startswith("20"))
    parts[place] = since
    edited = base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()
    assert trained.client.get(path, params=asked | {"cursor": edited}).status_code == 422


def test_scores_are_those_of_the_batch(trained: Trained) -> None:
    path = "/api/v1/anomaly/scores/host-2"
    page = trained.client.get(path, params={"hours": 24}).json()
    with trained.platform.warehouse.transactions.begin() as connection:
        rows = connection.execute(
            'SELECT "assetId", "metricName", score, "isAnomaly" FROM anomaly_scores '
            'WHERE "assetId" = \'host-2\' ORDER BY "timestamp" DESC LIMIT 288'
        ).fetchall()
    shown = [
        (one["assetId"], one["metricName"], one["score"], one["isAnomaly"])
        for one in page["scores"]
    ]
    assert shown == rows


def test_metrics_have_values_and_what_is_usual(trained: Trained) -> None:
    found = trained.client.get("/api/v1/metrics/host-1", params={"hours": 24}).json()
    cpu, memory = found["metrics"]
    assert (cpu["metric_name"], memory["metric_name"]) == ("cpu", "memory")
    assert cpu["count"] == len(cpu["values"]) == 288
    assert cpu["max"] == 500.0
    assert cpu["min"] < cpu["percentiles"]["p5"] < cpu["percentiles"]["p50"] < cpu["mean"] + 10
    assert found["truncated"] is False
    one = trained.client.get("/api/v1/metrics/host-1", params={"metric_name": "cpu"}).json()
    assert [metric["metric_name"] for metric in one["metrics"]] == ["cpu"]
