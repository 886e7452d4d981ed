"""Anomalies of devices, and what people say of them."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Trained

pytestmark = pytest.mark.integration

ANOMALIES = "/api/v1/ml/anomalies"
FEEDBACK = "/api/v1/feedback"
READING = {
    "stream": "iiot",
    "entity": "press-6",
    "metric_name": "temperature",
    "timestamp": "2026-01-09T10:00:00Z",
    "is_anomaly": True,
}


def test_anomalies_are_filtered_counted_and_paged(trained: Trained) -> None:
    everything = trained.client.get(ANOMALIES, params={"limit": 1_000}).json()
    assert everything["total"] == len(everything["anomalies"])
    assert {one["device_id"] for one in everything["anomalies"]} >= {"press-1", "press-2"}
    times = [one["timestamp"] for one in everything["anomalies"]]
    assert times == sorted(times, reverse=True)
    assert all(one["anomaly_score"] <= 0 for one in everything["anomalies"])
    seen = []
    cursor = None
    while True:
        query = {"limit": 40} | ({"cursor": cursor} if cursor else {})
        page = trained.client.get(ANOMALIES, params=query).json()
        seen += [one["id"] for one in page["anomalies"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == [one["id"] for one in everything["anomalies"]]
    spike = {"device_id": "press-1", "metric_name": "temperature"}
    window = {"from": "2026-01-09T11:55:00Z", "to": "2026-01-09T12:00:00Z"}
    found = trained.client.get(ANOMALIES, params={**spike, **window}).json()
    assert [one["value"] for one in found["anomalies"]] == [500.0]
    assert trained.client.get(ANOMALIES, params={"device_id": "nobody"}).status_code == 404


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        (ANOMALIES, {"device_id": "press-1", "metric_name": "nope"}, 404),
        (ANOMALIES, {"device_id": "nope"}, 404),
        (ANOMALIES, {"metric_name": "nope"}, 404),
        # Known by its readings alone, of which none is unusual.
        (ANOMALIES, {"device_id": "new-1"}, 200),
        (ANOMALIES, {"device_id": "press-1", "to": "2020-01-01T00:00:00Z"}, 200),
        (FEEDBACK, {"stream": "nope"}, 404),
        (FEEDBACK, {"stream": "iiot", "entity": "nope"}, 404),
        (FEEDBACK, {"stream": "barcode", "entity": "press-1"}, 404),
        (FEEDBACK, {"entity": "press-1", "metric_name": "nope"}, 404),
        (FEEDBACK, {"stream": "iiot", "entity": "new-1"}, 200),
        (FEEDBACK, {"entity": "host-2", "metric_name": "cpu"}, 200),
        (FEEDBACK, {"stream": "barcode"}, 200),
    ],
)
def test_unknown_names_are_404_and_known_ones_may_have_nothing(
    trained: Trained, path: str, query: dict[str, str], status: int
) -> None:
    answer = trained.client.get(path, params=query)
    assert answer.status_code == status, answer.text
    if status == 200:
        assert answer.json()["total"] == 0


def test_a_detection_is_marked_wrong_and_the_change_is_audited(trained: Trained) -> None:
    query = {"device_id": "press-7", "limit": 1}
    (detection,) = trained.client.get(ANOMALIES, params=query).json()["anomalies"]
    body = {"detection_id": detection["id"], "correct": False, "comment": "maintenance"}
    headers = {"Idempotency-Key": "feedback"}
    answer = trained.client.post(FEEDBACK, json=body, headers=headers)
    assert answer.status_code == 201
    given = answer.json()
    assert given["entity"] == "press-7"
    assert given["timestamp"] == detection["timestamp"]
    assert given["is_anomaly"] is False
    assert given["labelled_by"].startswith("tests (")
    assert trained.client.post(FEEDBACK, json=body, headers=headers).json() == given
    listed = trained.client.get(FEEDBACK, params={"entity": "press-7"}).json()
    assert listed["feedback"] == [given]
    assert listed["total"] == 1
    model = trained.model("press-7", "temperature")
    performance = trained.client.get(f"/api/v1/ml/models/{model['id']}/performance").json()
    assert performance["labelled"] == 1
    assert performance["confirmed_share"] == 0.0
    with trained.platform.warehouse.transactions.begin() as connection:
        row = connection.execute(
            "SELECT after FROM audit_log WHERE action = 'feedback.add' "
            "AND subject = 'iiot/press-7/temperature'"
        ).fetchone()
    assert row == ({"label": given["id"], "is_anomaly": False},)


def test_a_reading_is_marked(trained: Trained) -> None:
    answer = trained.client.post(FEEDBACK, json=READING)
    assert answer.status_code == 201, answer.text
    labels = trained.platform.warehouse.labels.between("iiot")
    assert labels.filter(entity="press-6", metric="temperature")["is_anomaly"].to_list() == [True]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"detection_id": str(uuid.UUID(int=0)), "correct": True}, 404),
        ({**READING, "timestamp": "2026-01-09T10:00:01Z"}, 404),
        ({**READING, "stream": "unheard_of"}, 404),
        ({**READING, "stream": "barcode"}, 422),
        ({**READING, "correct": True}, 422),
        ({"detection_id": str(uuid.UUID(int=0))}, 422),
        ({name: READING[name] for name in ("stream", "entity")}, 422),
        ({}, 422),
    ],
)
def test_feedback_on_nothing_is_refused(
    trained: Trained, body: dict[str, object], status: int
) -> None:
    assert trained.client.post(FEEDBACK, json=body).status_code == status
