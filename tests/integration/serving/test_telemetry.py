"""Telemetry over HTTP: what is kept, what is refused, and what the answer says."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from starlette.testclient import TestClient

from anomaly_platform.ingest.online.readings import Reading
from anomaly_platform.platform import Platform
from anomaly_platform.serving.champions.served import LANES
from anomaly_platform.serving.telemetry.ingest import WORTH_SHARING, open_ingestion
from anomaly_platform.settings import Settings
from anomaly_platform.streams import IIOT
from tests.builders.tables import count

pytestmark = pytest.mark.integration

URL = "/api/v1/telemetry"
START = datetime(2026, 3, 2, tzinfo=UTC)


def reading(n: int = 0, value: float = 1.0, **more: Any) -> dict[str, Any]:
    time = (START + timedelta(minutes=5 * n)).isoformat()
    return {
        "device_id": "pump", "metric_name": "temp", "value": value, "timestamp": time, **more
    }  # fmt: skip


def test_one_reading_of_a_new_device(client: TestClient, platform: Platform) -> None:
    answer = client.post(URL, json=reading(metadata={"line": 3}))
    assert answer.status_code == 200
    said = answer.json()
    assert (said["accepted"], said["refused"], said["anomalies"]) == (1, 0, 0)
    (verdict,) = said["readings"]
    assert verdict["status"] == "stored"
    assert verdict["series_status"] == "insufficient_history"
    assert verdict["is_anomaly"] is None
    assert verdict["timestamp"] == START.isoformat()
    assert (
        count(platform.warehouse, "online_readings", "metadata ->> 'line' = '3' AND source = 'api'")
        == 1
    )


def test_the_time_is_now_when_nobody_says_otherwise(client: TestClient) -> None:
    before = datetime.now(UTC)
    answer = client.post(URL, json={"device_id": "d", "metric_name": "m", "value": 1})
    time = datetime.fromisoformat(answer.json()["readings"][0]["timestamp"])
    assert before <= time <= datetime.now(UTC)


def test_the_ends_of_the_scale_flag_all_that_has_a_score_and_nothing(
    client: TestClient, platform: Platform
) -> None:
    store, devices = platform.warehouse.labels.thresholds, {"all": 0.0, "none": 1.0}
    with platform.warehouse.transactions.begin() as connection:
        for device, threshold in devices.items():
            store.set(connection, "iiot", device, "temp", threshold, origin="person", set_by="me")
    for device, threshold in devices.items():
        sent = [reading(n, 900.0 if n == 59 else 50.0 + n % 7, device_id=device) for n in range(60)]
        said = client.post(URL, json=sent).json()["readings"]
        assert {one["threshold"] for one in said} == {threshold}
        flagged = [one["is_anomaly"] is True for one in said]
        assert any(one["score"] is not None for one in said)
        assert flagged == [one["score"] is not None and threshold == 0.0 for one in said]
    listed = client.get("/api/v1/ml/anomalies", params={"limit": 100}).json()
    assert {one["device_id"] for one in listed["anomalies"]} == {"all"}
    assert all(one["anomaly_score"] == -one["unit_score"] for one in listed["anomalies"])
    assert all(one["confidence"] == one["unit_score"] for one in listed["anomalies"])


def test_a_device_and_an_asset_may_be_numbers(client: TestClient) -> None:
    one = {**reading(), "device_id": 17}
    assert client.post(URL, json=one).json()["accepted"] == 1
    assert client.post(URL, json=[{**reading(1), "device_id": 17}, reading(1)]).status_code == 200
    assert client.post(URL, json={**reading(2), "device_id": True}).status_code == 422
    asset = {name: value for name, value in reading().items() if name != "device_id"}
    path = "/api/v1/streams/ems/telemetry"
    assert client.post(path, json={**asset, "asset_id": 17}).json()["accepted"] == 1
    for device in (17, "17"):
        series = {"device_id": device, "metric_name": "temp"}
        found = client.post("/api/v1/ml/predict", json={**series, "value": 1.0}).json()
        assert found["device_id"] == "17"
        many = client.post("/api/v1/ml/predict/batch", json={**series, "values": [1.0]})
        assert many.status_code == 200
        assert client.post("/api/v1/ml/models/train", json=series).status_code == 409
        asked = {"asset_id": device, "hours": 1}
        assert client.post("/api/v1/anomaly/detect", json=asked).json()["asset_id"] == "17"
        label = {"stream": "iiot", "entity": device, "metric_name": "temp", "is_anomaly": False}
        label |= {"timestamp": START.isoformat()}
        assert client.post("/api/v1/feedback", json=label).status_code < 300


def test_what_no_model_said_is_called_statistical(client: TestClient) -> None:
    for stream, member in (("iiot", "device_id"), ("ems", "asset_id")):
        sent = [
            {**reading(n, 900.0 if n == 59 else 50.0 + n % 7), member: "pump"} for n in range(60)
        ]
        if member != "device_id":
            sent = [{k: v for k, v in one.items() if k != "device_id"} for one in sent]
        answer = client.post(f"/api/v1/streams/{stream}/telemetry", json=sent).json()
        assert answer["readings"][-1]["is_anomaly"] is True
    (found,) = client.get("/api/v1/ml/anomalies").json()["anomalies"]
    assert found["metadata"]["detector"] == "statistical"
    scores = client.get("/api/v1/anomaly/scores/pump").json()["scores"]
    assert {one["metadata"]["detector"] for one in scores} == {"statistical"}


def test_bad_readings_stop_no_good_ones(client: TestClient, platform: Platform) -> None:
    far = (datetime.now(UTC) + timedelta(days=2)).isoformat()
    sent = [
        reading(0),
        reading(1, timestamp=far),
        reading(2, device_id=" "),
        reading(3, event_id="seven"),
        reading(4, timestamp="1969-01-01T00:00:00Z"),
        reading(0, 2.0),
        reading(0),
    ]
    answer = client.post(URL, json=sent)
    assert answer.status_code == 200
    verdicts = answer.json()["readings"]
    assert [one["status"] for one in verdicts] == [
        *("stored", "refused", "refused", "refused", "refused", "conflict", "repeated"),
    ]
    fields = [one["error"] and one["error"]["field"] for one in verdicts]
    assert fields == [None, "timestamp", "device_id", "event_id", "timestamp", "value", None]
    assert verdicts[1]["error"]["reason"] == "in the future"
    assert "not a UUID such as 6f1c2a34-" in verdicts[3]["error"]["reason"]
    assert count(platform.warehouse, "online_readings") == 1


def test_readings_that_do_not_fit_the_schema_stop_no_others(
    client: TestClient, platform: Platform
) -> None:
    sent = [
        reading(0),
        reading(1, None),
        {**reading(2), "vaule": 2},
        {"device_id": "press-001", "metric_name": "temp"},
        reading(4, "warm"),
        reading(5, device_id=True),
        7,
        None,
        reading(8),
    ]
    answer = client.post(URL, json=sent)
    assert answer.status_code == 200, answer.text
    verdicts = answer.json()["readings"]
    assert [one["status"] for one in verdicts] == ["stored", *["refused"] * 7, "stored"]
    assert [one["error"]["field"] for one in verdicts[1:-1]] == [
        *("value", "vaule", "value", "value", "device_id", None, None),
    ]
    assert verdicts[1]["error"]["reason"] == "the reading is missing: its value is null"
    assert "the members are device_id" in verdicts[2]["error"]["reason"]
    assert count(platform.warehouse, "online_readings") == 2


@pytest.mark.parametrize("many", [True, False])
def test_a_number_since_1970_is_the_time_that_its_text_is(client: TestClient, many: bool) -> None:
    for n, said in enumerate((1_764_360_000, 1_764_360_000_000, 1_764_360_000.0)):
        one = reading(0, timestamp=said, device_id=f"d{n}")
        answer = client.post(URL, json=[one] if many else one)
        assert answer.status_code == 200, answer.text
        assert answer.json()["readings"][0]["timestamp"] == "2025-11-28T20:00:00+00:00"
    for said in (True, [], 12):
        assert client.post(URL, json=reading(0, timestamp=said)).status_code == 422


@pytest.mark.parametrize(
    ("sent", "status", "location"),
    [
        ([], 422, "body"),
        ({"device_id": "d", "metric_name": "m"}, 422, "body.value"),
        ([{**reading(1), "vaule": 2}] * 2, 422, "body.0.vaule"),
        ({**reading(), "value": "warm"}, 422, "body.value"),
        ({**reading(), "value": "5"}, 422, "body.value"),
        ({**reading(), "value": True}, 422, "body.value"),
        ({**reading(), "timestamp": "soon"}, 422, "body.timestamp"),
        ([{**reading(), "timestamp": "soon"}], 422, "body.0.timestamp"),
        ("text", 422, "body"),
        ([reading(n) for n in range(10_001)], 422, "body"),
    ],
)
def test_a_request_that_cannot_be_used_keeps_nothing(
    client: TestClient, platform: Platform, sent: Any, status: int, location: str
) -> None:
    answer = client.post(URL, json=sent)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["errors"][0]["location"].startswith(location)
    assert count(platform.warehouse, "online_readings") == 0


@pytest.mark.parametrize("body", [b"", b"{", b"[NaN]", b'{"a":1},{"b":2}', b"\xff\xfe"])
def test_no_json_is_a_problem_document(client: TestClient, body: bytes) -> None:
    answer = client.post(URL, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_retry_gets_the_same_answer(client: TestClient, platform: Platform) -> None:
    sent = [reading(n, event_id=str(uuid4())) for n in range(3)]
    first = client.post(URL, json=sent).json()
    again = client.post(URL, json=sent).json()
    assert {one.pop("status") for one in again["readings"]} == {"repeated"}
    assert {one.pop("status") for one in first["readings"]} == {"stored"}
    assert again == first
    assert count(platform.warehouse, "online_readings") == 3


def test_a_contradiction_alone_is_a_conflict(client: TestClient) -> None:
    client.post(URL, json=reading(0, 1.0))
    answer = client.post(URL, json=reading(0, 2.0))
    assert answer.status_code == 409
    assert "another value" in answer.json()["detail"]
    assert answer.json()["errors"][0]["location"] == "body.value"


def test_an_id_of_another_reading_is_a_conflict_at_its_own_place(client: TestClient) -> None:
    own = {"event_id": str(uuid4())}
    client.post(URL, json=reading(0, **own))
    alone = client.post(URL, json=reading(1, **own))
    assert alone.status_code == 409
    assert [one["location"] for one in alone.json()["errors"]] == ["body.event_id"]
    many = client.post(URL, json=[reading(1, **own), reading(2, **own)])
    assert many.status_code == 409
    found = [one["location"] for one in many.json()["errors"]]
    assert found == ["body.0.event_id", "body.1.event_id"]


def test_an_id_of_a_reading_yet_to_come_costs_none_of_both(
    client: TestClient, platform: Platform
) -> None:
    derived = [
        one["event_id"]
        for one in client.post(URL, json=[reading(0), reading(1)]).json()["readings"]
    ]
    platform.warehouse.transactions.execute("DELETE FROM online_readings")
    platform.warehouse.transactions.execute("DELETE FROM series_state")
    many = client.post(URL, json=[reading(0, event_id=derived[1]), reading(1)]).json()["readings"]
    assert [one["status"] for one in many] == ["refused", "stored"]
    assert many[1]["event_id"] == derived[1]
    alone = client.post(URL, json=reading(0, event_id=derived[1]))
    assert alone.status_code == 422
    assert [one["location"] for one in alone.json()["errors"]] == ["body.event_id"]
    again = client.post(URL, json=reading(1, event_id=derived[1])).json()["readings"]
    assert [one["status"] for one in again] == ["repeated"]


def test_another_stream_under_its_own_names(client: TestClient, platform: Platform) -> None:
    sent = {"asset_id": "host-1", "metric_name": "cpu", "value": 12.5}
    answer = client.post("/api/v1/streams/ems/telemetry", json=sent)
    assert answer.status_code == 200
    assert count(platform.warehouse, "online_readings", "stream = 'ems' AND entity = 'host-1'") == 1
    wrong = client.post("/api/v1/streams/ems/telemetry", json=reading())
    assert wrong.status_code == 422
    for name in ("barcode", "nowhere"):
        missing = client.post(f"/api/v1/streams/{name}/telemetry", json=sent)
        assert missing.status_code == 404
        assert "ems" in missing.json()["detail"]


@pytest.fixture
def boilers(settings: Settings) -> None:
    """A stream of one's own, whose columns have blanks; before the platform is opened."""
    settings.streams_dir.mkdir()
    (settings.streams_dir / "boilers.yaml").write_text(
        "name: boilers\nfrequency: 10m\ncolumns:\n  entity: Boiler No\n  time: read at\n"
    )


def boiler(n: int, entity: str, time: str, **more: Any) -> dict[str, Any]:
    at = (START + timedelta(minutes=10 * n)).isoformat()
    return {entity: "B1", time: at, "metric_name": "pressure", "value": 20.1, **more}


@pytest.mark.usefixtures("boilers")
def test_a_stream_of_ones_own_knows_its_columns_as_written_and_as_identifiers(
    client: TestClient, platform: Platform
) -> None:
    url = "/api/v1/streams/boilers/telemetry"
    names = [(one, at) for one in ("Boiler No", "boiler_no") for at in ("read at", "read_at")]
    names.append(("Boiler No", "timestamp"))
    for n, (entity, time) in enumerate(names):
        alone = client.post(url, json=boiler(n, entity, time))
        assert alone.status_code == 200, alone.text
    mixed = [boiler(10 + n, *name, metadata={"n": n}) for n, name in enumerate(names)]
    assert client.post(url, json=mixed).json()["accepted"] == len(names)
    assert count(
        platform.warehouse, "online_readings", "stream = 'boilers' AND entity = 'B1'"
    ) == 2 * len(names)
    again = client.post(url, json=boiler(0, "boiler_no", "timestamp"))
    assert again.json()["readings"][0]["status"] == "repeated"


@pytest.mark.usefixtures("boilers")
def test_a_refusal_says_what_the_members_are(client: TestClient) -> None:
    url = "/api/v1/streams/boilers/telemetry"
    answer = client.post(url, json=boiler(0, "Boiler No", "when"))
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["location"] == "body.when"
    assert answer.json()["detail"].endswith(
        "; the members are boiler_no or Boiler No, metric_name, value, "
        "read at or read_at or timestamp, event_id, metadata"
    )
    late = client.post(url, json=boiler(0, "Boiler No", "read_at") | {"read_at": "soon"})
    assert [one["location"] for one in late.json()["errors"]] == ["body.read_at"]
    text = client.post(url, json=boiler(0, "Boiler No", "read at", value="warm"))
    assert "members" not in text.json()["detail"]


def test_readings_need_the_scope_to_write(
    anonymous: TestClient, new_key: Callable[..., str]
) -> None:
    assert anonymous.post(URL, json=reading()).status_code == 401
    key = new_key("ml:read")
    answer = anonymous.post(URL, json=reading(), headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == 403


def test_requests_at_once_share_transactions_and_get_their_own_answers(
    platform: Platform,
) -> None:
    async def send() -> list[Any]:
        async with open_ingestion(platform) as ingestion:
            parts = [
                [
                    Reading(f"d{k}", "m", int(START.timestamp() * 1e6) + n, float(100 * k + n))
                    for n in range(k + 1)
                ]
                for k in range(30)
            ]
            return await asyncio.gather(
                *(ingestion.ingest(IIOT, part, source="api") for part in parts)
            )

    answers = asyncio.run(send())
    for k, mine in enumerate(answers):
        assert [one.reading.value for one in mine] == [100 * k + n for n in range(k + 1)]
    with platform.warehouse.transactions.begin() as connection:
        found = connection.execute(
            "SELECT count(*), count(DISTINCT xmin::text) FROM online_readings"
        ).fetchone()
    assert found is not None
    assert found[0] == sum(range(31))
    assert found[1] < 30


@pytest.mark.parametrize("readings", [WORTH_SHARING - 1, WORTH_SHARING])
def test_what_comes_together_is_one_transaction_unless_it_is_large(
    platform: Platform, readings: int
) -> None:
    async def send() -> None:
        async with open_ingestion(platform) as ingestion:
            for n in range(2):
                time = int(START.timestamp() * 1e6) + n
                part = [Reading(f"d{k}", "m", time, 1.0) for k in range(readings)]
                await ingestion.ingest(IIOT, part, source="api")

    asyncio.run(send())
    with platform.warehouse.transactions.begin() as connection:
        found = connection.execute(
            "SELECT event_time, count(DISTINCT xmin::text) FROM online_readings GROUP BY 1"
        ).fetchall()
    writers = min(LANES, len(os.sched_getaffinity(0))) if readings == WORTH_SHARING else 1
    assert [transactions for _, transactions in found] == [writers, writers]
