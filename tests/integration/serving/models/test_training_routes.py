"""Trainings: asked for once, waited for if the client wants, and told about."""

from __future__ import annotations

import datetime as dt
import json
import threading
import time
import uuid
from typing import TYPE_CHECKING

import pytest

from anomaly_platform.serving.champions.served import model_id

if TYPE_CHECKING:
    from conftest import Trained

pytestmark = pytest.mark.integration

TRAIN = "/api/v1/ml/models/train"


@pytest.fixture(autouse=True)
def _nothing_else_waits(trained: Trained) -> None:
    """End what other tests have asked of the platform that they share: it would be served first."""
    with trained.platform.warehouse.transactions.begin() as connection:
        connection.execute(
            "UPDATE training_requests SET status = 'cancelled', finished_at = now() "
            "WHERE status IN ('waiting', 'running')"
        )


def finish_soon(trained: Trained, stream: str, *, status: str, version: int | None) -> None:
    """Do what the sensor and its run do, a moment later."""

    def work() -> None:
        store = trained.platform.warehouse.training_requests
        for _ in range(400):
            found = store.claim(stream, dt.datetime.now(dt.UTC))
            if found:
                store.finish(
                    found[0].batch or uuid.uuid4(),
                    status=status,  # type: ignore[arg-type]
                    outcome="because of the test",
                    detector="isolation_forest",
                    version=version,
                )
                return
            time.sleep(0.05)

    threading.Thread(target=work, daemon=True).start()


def test_without_waiting_the_answer_says_where_to_ask_again(trained: Trained) -> None:
    body = {"device_id": "press-1", "metric_name": "temperature", "training_window": 7}
    answer = trained.client.post(TRAIN, json=body)
    assert answer.status_code == 202
    accepted = answer.json()
    assert accepted["status"] == "waiting"
    assert answer.headers["location"] == accepted["status_url"]
    shown = trained.client.get(accepted["status_url"]).json()
    assert shown["entity"] == "press-1"
    assert shown["training_window"] == 7


def test_with_waiting_the_answer_is_the_model(trained: Trained) -> None:
    body = {"device_id": "press-1", "metric_name": "pressure"}
    finish_soon(trained, "iiot", status="done", version=1)
    headers = {"Prefer": "respond-async, wait=20", "Idempotency-Key": "train"}
    answer = trained.client.post(TRAIN, json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    model = trained.model("press-1", "pressure")
    assert found["model_id"] == model["id"]
    assert found["accuracy"] == model["accuracy"]
    took = trained.platform.warehouse.bundles.get("iiot", "isolation_forest", 1)
    assert took is not None
    assert found["training_time"] == took.parameters["training_seconds"] > 0
    assert found["outcome"] == "because of the test"
    repeated = trained.client.post(TRAIN, json=body, headers=headers).json()
    assert repeated == found


def test_a_version_that_gates_refused_is_called_rejected(trained: Trained) -> None:
    model = trained.model("press-7", "temperature")
    identity = model_id("iiot", "isolation_forest", 99, "press-7", "temperature")
    with trained.platform.warehouse.transactions.begin() as connection:
        for table, changes, where in (
            ("bundles", {"version": 99, "status": "rejected"}, "stream = 'iiot' AND version = 1"),
            (
                "ml_models",
                {"id": str(identity), "bundle_version": 99, "status": "candidate"},
                f"id = '{model['id']}'",
            ),
        ):
            connection.execute(
                f"INSERT INTO {table} SELECT (jsonb_populate_record(t, %s)).* "
                f"FROM {table} t WHERE {where}",
                (json.dumps(changes),),
            )
    body = {"device_id": "press-7", "metric_name": "temperature"}
    finish_soon(trained, "iiot", status="done", version=99)
    answer = trained.client.post(TRAIN, json=body, headers={"Prefer": "wait=99999999999"}).json()
    assert (answer["model_id"], answer["model_status"]) == (str(identity), "rejected")
    models = "/api/v1/ml/models"
    assert trained.client.get(f"{models}/{identity}").json()["status"] == "rejected"
    for status, wanted in (("rejected", [str(identity)]), ("candidate", [])):
        query = {"device_id": "press-7", "status": status}
        listed = trained.client.get(models, params=query).json()
        assert [one["id"] for one in listed["models"]] == wanted
        assert listed["total"] == len(wanted)


def test_a_retraining_says_what_it_improved(trained: Trained) -> None:
    model = trained.model("press-8", "temperature")
    finish_soon(trained, "iiot", status="done", version=1)
    answer = trained.client.post(
        f"/api/v1/ml/models/{model['id']}/retrain", headers={"Prefer": "wait=20"}
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["new_model_id"] == model["id"]
    assert answer.json()["improvement_percentage"] == 0.0


def test_a_training_that_failed_says_why(trained: Trained) -> None:
    body = {"device_id": "press-1", "metric_name": "flow"}
    finish_soon(trained, "iiot", status="failed", version=None)
    answer = trained.client.post(TRAIN, json=body, headers={"Prefer": "wait=20"})
    assert answer.status_code == 409
    assert answer.json()["detail"] == "because of the test"


def test_assets_are_trained_together(trained: Trained) -> None:
    body = {"metric_names": ["cpu"], "hours": 30}
    answer = trained.client.post("/api/v1/anomaly/train", json=body)
    assert answer.status_code == 202
    assert len(answer.json()["requests"]) == 3
    store = trained.platform.warehouse.training_requests
    asked = [store.get(uuid.UUID(one["request_id"])) for one in answer.json()["requests"]]
    assert [(one.entity, one.metric, one.window_days) for one in asked if one] == [
        ("host-1", "cpu", 2),
        ("host-2", "cpu", 2),
        ("host-3", "cpu", 2),
    ]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (TRAIN, {"device_id": "nobody", "metric_name": "temperature"}),
        (TRAIN, {"device_id": "press-1", "metric_name": "humidity"}),
        (f"/api/v1/ml/models/{uuid.UUID(int=0)}/retrain", {}),
    ],
)
def test_nobody_trains_what_nobody_knows(
    trained: Trained, path: str, body: dict[str, object]
) -> None:
    assert trained.client.post(path, json=body).status_code == 404


@pytest.mark.parametrize(
    ("device", "window", "readings"), [("young-1", None, 60), ("new-1", 30, 10)]
)
def test_a_training_on_too_few_readings_is_refused_at_once(
    trained: Trained, device: str, window: int | None, readings: int
) -> None:
    store = trained.platform.warehouse.training_requests
    before = (store.waiting("iiot"), store.running("iiot"))
    body = {"device_id": device, "metric_name": "temperature", "training_window": window}
    answer = trained.client.post(TRAIN, json=body)
    assert answer.status_code == 409
    told = answer.json()
    assert (told["readings"], told["readings_needed"]) == (readings, 100)
    assert f"{device} temperature has {readings} readings" in told["detail"]
    assert (store.waiting("iiot"), store.running("iiot")) == before


def test_a_window_may_be_too_short_for_a_training(trained: Trained) -> None:
    def each_day_has(rows: int) -> None:
        with trained.platform.warehouse.transactions.begin() as connection:
            connection.execute(
                "UPDATE series_days AS d SET rows = %s FROM series AS s "
                "WHERE s.series_id = d.series_id AND s.stream = 'ems' AND s.entity = 'host-2'",
                (rows,),
            )

    path = "/api/v1/anomaly/train"
    each_day_has(40)
    try:
        short = trained.client.post(path, json={"asset_ids": ["host-2"], "hours": 24})
        whole = trained.client.post(path, json={"asset_ids": ["host-2"]})
        both = trained.client.post(path, json={"asset_ids": ["host-2", "host-1"], "hours": 24})
    finally:
        each_day_has(288)
    assert short.status_code == 409
    assert "host-2 has 80 readings in the 1 days" in short.json()["detail"]
    assert (whole.status_code, both.status_code) == (202, 202)


def test_an_unknown_training_is_404(trained: Trained) -> None:
    assert trained.client.get(f"/api/v1/ml/training/{uuid.uuid4()}").status_code == 404
