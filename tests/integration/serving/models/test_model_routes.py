"""Models: lists, thresholds that hold at once, deletion that is a status, performance."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest

from anomaly_platform.streams import IIOT
from tests.builders.waiting import wait_until
from tests.integration.metric_models import current_fleet

if TYPE_CHECKING:
    from conftest import Trained

pytestmark = pytest.mark.integration

MODELS = "/api/v1/ml/models"


def test_models_come_in_pages_each_once(trained: Trained) -> None:
    seen: list[str] = []
    cursor = None
    while True:
        query = {"limit": 3} | ({"cursor": cursor} if cursor else {})
        page = trained.client.get(MODELS, params=query).json()
        seen += [model["id"] for model in page["models"]]
        assert len(page["models"]) <= 3
        cursor = page["next_cursor"]
        if cursor is None:
            break
    # Other tests may have entered further versions of the same twelve series.
    assert len(seen) == len(set(seen)) == page["total"] >= 12
    assert page["active_count"] >= 9


@pytest.mark.parametrize("query", [{"device_id": "nope"}, {"metric_name": "nope"}])
def test_models_of_unknown_names_are_404(trained: Trained, query: dict[str, str]) -> None:
    assert trained.client.get(MODELS, params=query).status_code == 404


def test_a_known_device_may_have_no_model_of_a_status(trained: Trained) -> None:
    query = {"device_id": "press-1", "status": "failed"}
    answer = trained.client.get(MODELS, params=query)
    assert (answer.status_code, answer.json()["total"]) == (200, 0)


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "",
        "bm8",
        "WyJtb2RlbHMiXQ",
        "WyJvdGhlciIsImEiLCJiIiwiYyIsMV0",
        "é",
        "WyJtb2RlbHMiLDEsMl",
    ],
)
def test_a_cursor_of_something_else_is_refused(trained: Trained, cursor: str) -> None:
    answer = trained.client.get(MODELS, params={"cursor": cursor})
    assert answer.status_code == (200 if cursor == "" else 422)


def test_one_model_and_its_performance(trained: Trained) -> None:
    model = trained.model("press-1", "temperature")
    shown = trained.client.get(f"{MODELS}/{model['id']}").json()
    assert shown == model
    assert shown["model_version"] == 1
    performance = trained.client.get(f"{MODELS}/{model['id']}/performance").json()
    assert performance["accuracy"] == model["accuracy"]
    assert performance["last_trained"] == model["trained_at"]
    assert performance["detections"] >= 1


@pytest.mark.parametrize("path", ["", "/performance"])
def test_an_unknown_model_is_404(trained: Trained, path: str) -> None:
    answer = trained.client.get(f"{MODELS}/{uuid.uuid4()}{path}")
    assert answer.status_code == 404


def test_a_threshold_holds_for_the_next_prediction_and_is_audited(trained: Trained) -> None:
    model = trained.model("press-2", "temperature")
    series = {"device_id": "press-2", "metric_name": "temperature"}

    def predict() -> dict[str, Any]:
        body = {**series, "value": 50.0}
        found: dict[str, Any] = trained.client.post("/api/v1/ml/predict", json=body).json()
        return found

    assert predict()["is_anomaly"] is False
    answer = trained.client.put(f"{MODELS}/{model['id']}/threshold", json={"threshold": 0.001})
    assert answer.json() == {
        "success": True, "model_id": model["id"], "threshold": 0.001, "previous": 0.7
    }  # fmt: skip
    wait_until(lambda: predict()["threshold"] == 0.001)
    found = predict()
    assert found["is_anomaly"] is True
    assert found["score"] <= 0
    assert trained.client.get(f"{MODELS}/{model['id']}").json()["threshold"] == 0.001
    with trained.platform.warehouse.transactions.begin() as connection:
        row = connection.execute(
            "SELECT actor, action, before, after FROM audit_log "
            "WHERE subject = 'iiot/press-2/temperature'"
        ).fetchone()
    assert row is not None
    assert row[0].startswith("tests (")
    back = trained.client.delete(f"{MODELS}/{model['id']}/threshold")
    assert back.json() == {
        "success": True, "model_id": model["id"], "threshold": 0.7, "previous": 0.001
    }  # fmt: skip
    wait_until(lambda: predict()["threshold"] == 0.7)
    again = trained.client.delete(f"{MODELS}/{model['id']}/threshold")
    assert again.json()["previous"] == 0.7
    with trained.platform.warehouse.transactions.begin() as connection:
        actions = connection.execute(
            "SELECT action, after FROM audit_log WHERE subject = 'iiot/press-2/temperature' "
            "ORDER BY id"
        ).fetchall()
    assert [action for action, _ in actions] == ["threshold.set", "threshold.clear"]
    assert row[1:] == ("threshold.set", None, {"threshold": 0.001, "origin": "person"})


@pytest.mark.parametrize("threshold", [-0.1, 1.1, "high", None])
def test_a_threshold_beyond_the_scale_is_refused(trained: Trained, threshold: object) -> None:
    model = trained.model("press-3", "temperature")
    answer = trained.client.put(f"{MODELS}/{model['id']}/threshold", json={"threshold": threshold})
    assert answer.status_code == 422
    (said,) = answer.json()["errors"]
    assert said["location"] == "body.threshold"
    assert "from 0, which flags everything that has a score, to 1" in said["message"]


def test_the_ends_of_the_scale_flag_everything_and_nothing(trained: Trained) -> None:
    model = trained.model("press-3", "temperature")
    url, series = f"{MODELS}/{model['id']}/threshold", ("press-3", "temperature")

    def told(threshold: float, value: float) -> dict[str, Any]:
        def predict() -> dict[str, Any]:
            body = {"device_id": series[0], "metric_name": series[1], "value": value}
            return dict(trained.client.post("/api/v1/ml/predict", json=body).json())

        answer = trained.client.put(url, json={"threshold": threshold})
        assert answer.json()["threshold"] == threshold
        wait_until(lambda: predict()["threshold"] == threshold)
        return predict()

    try:
        ordinary, wild = told(0.0, 50.0), told(1.0, 1e6)
        assert (ordinary["is_anomaly"], wild["is_anomaly"]) == (True, False)
        assert ordinary["score"] == -ordinary["unit_score"] <= 0.0 < wild["score"]
        _, scorer = current_fleet(trained.platform, IIOT)
        assert scorer.thresholds[series] == 1.0
    finally:
        trained.client.delete(url)


def test_what_a_threshold_means_is_said_of_its_own_stream(trained: Trained) -> None:
    schemas = trained.client.get("/openapi.json").json()["components"]["schemas"]
    told = schemas["ThresholdRequest"]["properties"]["threshold"]
    assert "one in 1,000" in told["description"]
    assert (told["minimum"], told["maximum"]) == (0, 1)


def test_a_deleted_model_says_no_more_and_stays_known(trained: Trained) -> None:
    model = trained.model("press-4", "temperature")
    body = {"device_id": "press-4", "metric_name": "temperature", "value": 900.0}
    assert trained.client.post("/api/v1/ml/predict", json=body).json()["status"] == "trained"
    answer = trained.client.delete(f"{MODELS}/{model['id']}")
    assert answer.json() == {"success": True, "id": model["id"], "status": "deleted"}
    wait_until(
        lambda: (
            trained.client.post("/api/v1/ml/predict", json=body).json()["status"]
            == "insufficient_history"
        )
    )
    assert trained.client.get(f"{MODELS}/{model['id']}").json()["status"] == "deleted"
    listed = trained.client.get(MODELS, params={"device_id": "press-4"}).json()
    assert model["id"] not in [one["id"] for one in listed["models"]]
    again = trained.client.delete(f"{MODELS}/{model['id']}")
    assert again.status_code == 200
    version, scorer = current_fleet(trained.platform, IIOT)
    assert version == model["model_version"]
    assert scorer.status("press-4", "temperature") == "insufficient_history"
    assert scorer.status("press-1", "temperature") == "trained"
    threshold = trained.client.put(f"{MODELS}/{model['id']}/threshold", json={"threshold": 0.5})
    assert threshold.status_code == 409


def test_the_same_key_gets_the_same_answer_and_another_request_is_refused(
    trained: Trained,
) -> None:
    model = trained.model("press-5", "temperature")
    path = f"{MODELS}/{model['id']}/threshold"
    headers = {"Idempotency-Key": "once"}
    first = trained.client.put(path, json={"threshold": 0.8}, headers=headers)
    trained.client.put(path, json={"threshold": 0.9})
    repeated = trained.client.put(path, json={"threshold": 0.8}, headers=headers)
    assert repeated.json() == first.json()
    assert trained.client.get(f"{MODELS}/{model['id']}").json()["threshold"] == 0.9
    other = trained.client.put(path, json={"threshold": 0.1}, headers=headers)
    assert other.status_code == 422
    assert "Idempotency-Key" in other.json()["detail"]


def test_bundles_are_listed_newest_first(trained: Trained) -> None:
    path = "/api/v1/models"
    first = trained.client.get(path, params={"limit": 1}).json()
    second = trained.client.get(path, params={"limit": 1, "cursor": first["next_cursor"]}).json()
    (newer,), (older,) = first["models"], second["models"]
    assert newer["id"] != older["id"]
    assert newer["createdAt"] >= older["createdAt"]
    hosts = trained.client.get(path, params={"stream": "ems"}).json()
    assert hosts["total"] == 1
    assert [one["metadata"]["stream"] for one in hosts["models"]] == ["ems"]
    assert hosts["next_cursor"] is None
