"""Predictions: the batch's bits, nothing stored, and never "normal" for "don't know"."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from time import sleep
from typing import TYPE_CHECKING

import pytest

from anomaly_platform.ingest.online.readings import Reading
from anomaly_platform.serving.telemetry.lane import judge_of
from anomaly_platform.streams import IIOT
from tests.builders.ingesting import take_in

if TYPE_CHECKING:
    from conftest import Trained

pytestmark = pytest.mark.integration

PREDICT = "/api/v1/ml/predict"
BATCH = "/api/v1/ml/predict/batch"
DAY = datetime(2026, 1, 9, tzinfo=UTC)


def test_a_prediction_has_the_bits_of_the_batch(trained: Trained) -> None:
    rows = trained.platform.warehouse.scores.read_day(
        "iiot", DAY.date(), ("entity", "metric", "event_time", "value", "score", "is_anomaly")
    )
    own = rows.filter((rows["entity"] == "press-1") & (rows["metric"] == "temperature"))
    assert own.height == 288
    assert own["is_anomaly"].any()
    # The newest reading and those just before it still have nearly all of their past there.
    for _, _, time, value, score, is_anomaly in own.tail(1).iter_rows():
        answer = trained.client.post(
            PREDICT,
            json={
                "device_id": "press-1",
                "metric_name": "temperature",
                "value": value,
                "timestamp": time.isoformat(),
            },
        )
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert found["unit_score"] == score
        assert found["is_anomaly"] is is_anomaly
        assert found["status"] == "trained"
        assert found["model_version"] == 1


def test_a_silent_series_is_judged_as_if_its_next_reading_came(trained: Trained) -> None:
    series = {"device_id": "press-1", "metric_name": "temperature"}
    usual = trained.client.post(PREDICT, json={**series, "value": 50.0}).json()
    odd = trained.client.post(PREDICT, json={**series, "value": 900.0}).json()
    assert usual["timestamp"].startswith("2026-01-10T00:00:00")
    assert usual["is_anomaly"] is False
    assert usual["prediction"] == 1
    assert usual["score"] > 0
    assert odd["is_anomaly"] is True
    assert odd["prediction"] == -1
    assert odd["score"] <= 0
    assert odd["unit_score"] >= odd["threshold"] == 0.7
    assert odd["confidence"] == pytest.approx(abs(odd["score"]))


def test_predicting_stores_nothing(trained: Trained) -> None:
    series = {"device_id": "press-1", "metric_name": "pressure"}
    first = trained.client.post(PREDICT, json={**series, "value": 50.0}).json()
    trained.client.post(PREDICT, json={**series, "value": 900.0})
    assert trained.client.post(PREDICT, json={**series, "value": 50.0}).json() == first
    with trained.platform.warehouse.transactions.begin() as connection:
        for table in ("online_readings", "series_state"):
            counted = connection.execute(
                f"SELECT count(*) FROM {table} WHERE metric = 'pressure'"
            ).fetchone()
            assert counted == (0,), table


@pytest.mark.parametrize(("device", "has_score"), [("young-1", True), ("new-1", False)])
def test_a_short_series_is_never_called_normal(
    trained: Trained, device: str, has_score: bool
) -> None:
    series = {"device_id": device, "metric_name": "temperature"}
    found = trained.client.post(PREDICT, json={**series, "value": 52.0}).json()
    assert found["status"] == "insufficient_history"
    assert found["is_anomaly"] is None
    assert found["prediction"] is None
    assert (found["score"] is not None) is has_score
    assert "100 readings" in found["reason"]


def test_history_that_ended_long_ago_does_not_count_and_the_answer_says_so(
    trained: Trained,
) -> None:
    series = {"device_id": "silent-1", "metric_name": "temperature"}
    before = trained.client.post(PREDICT, json={**series, "value": 50.0}).json()
    assert (before["status"], before["reason"]) == ("trained", None)
    trained.client.post("/api/v1/telemetry", json={**series, "value": 50.0})
    found = trained.client.post(PREDICT, json={**series, "value": 50.0}).json()
    assert found["is_anomaly"] is None
    assert found["score"] > 0
    assert found["status"] == "insufficient_history"
    assert "within its look-back of 24 h: 1 (" in found["reason"]
    assert "needs 192" in found["reason"]
    assert "range, level and time of day decide" in found["reason"]
    many = trained.client.post(BATCH, json={**series, "values": [50.0, 51.0]}).json()
    assert [one["reason"] for one in many["predictions"]] == [found["reason"]] * 2


def test_what_comes_after_an_outage_is_judged_stored_and_told_of(trained: Trained) -> None:
    """Months of silence, then 1e6 from two devices at once, and more of it."""
    sent = [
        {"device_id": device, "metric_name": "temperature", "value": value, "timestamp": time}
        for value, time in ((1e6, "2026-06-01T03:00:00Z"), (50.0, "2026-06-01T03:05:00Z"))
        for device in ("silent-2", "silent-3")
    ]
    predicted = [trained.client.post(PREDICT, json=one).json() for one in sent[:2]]
    answer = trained.client.post("/api/v1/telemetry", json=sent).json()
    assert [one["is_anomaly"] for one in answer["readings"]] == [True, True, None, None]
    assert [one["score"] for one in answer["readings"][:2]] == [
        one["unit_score"] for one in predicted
    ]
    listed = trained.client.get("/api/v1/ml/anomalies", params={"from": "2026-05-01T00:00:00Z"})
    found = [one for one in listed.json()["anomalies"] if one["device_id"].startswith("silent-")]
    assert {one["device_id"]: one["value"] for one in found} == {"silent-2": 1e6, "silent-3": 1e6}
    now = {"device_id": "silent-2", "metric_name": "temperature", "value": 1e6}
    told = trained.client.post("/api/v1/telemetry", json=now).json()
    assert told["anomalies"] == 1
    with trained.platform.warehouse.transactions.begin() as connection:
        alerts = connection.execute(
            "SELECT count(*) FROM alerts WHERE kind = 'anomaly' AND subject LIKE '%silent-2%'"
        ).fetchone()
    assert alerts == (1,)


def test_a_batch_judges_each_value_by_itself(trained: Trained) -> None:
    series = {"device_id": "press-1", "metric_name": "flow"}
    values = [50.0, 900.0, 51.0]
    answer = trained.client.post(BATCH, json={**series, "values": values}).json()
    alone = [trained.client.post(PREDICT, json={**series, "value": v}).json() for v in values]
    for together, one in zip(answer["predictions"], alone, strict=True):
        assert together == {name: one[name] for name in together}
    assert answer["anomaly_count"] == 1


def test_a_batch_with_times_judges_each_value_with_those_before_it(trained: Trained) -> None:
    series = {"device_id": "press-1", "metric_name": "flow"}
    times = [(DAY + timedelta(days=1, minutes=5 * n)).isoformat() for n in range(40)]
    constant = trained.client.post(
        BATCH, json={**series, "values": [57.0] * 40, "timestamps": times}
    ).json()
    found = constant["predictions"]
    assert [one["timestamp"] for one in found] == times
    # A sensor that stands still for hours is unusual; its first value alone is not.
    assert found[-1]["unit_score"] != found[0]["unit_score"]


def test_an_anomaly_has_the_reason_that_is_stored_of_it(trained: Trained) -> None:
    series = {"device_id": "press-8", "metric_name": "temperature"}
    values = [*([57.0] * 40), 900.0]
    times = [(DAY + timedelta(days=1, minutes=5 * n)).isoformat() for n in range(len(values))]
    batch = {**series, "values": values, "timestamps": times}
    predicted = trained.client.post(BATCH, json=batch).json()["predictions"]
    for value, time in zip(values[:-1], times[:-1], strict=True):
        reading = {**series, "value": value, "timestamp": time}
        assert trained.client.post("/api/v1/telemetry", json=reading).status_code < 300
    last = {**series, "value": values[-1], "timestamp": times[-1]}
    alone = trained.client.post(PREDICT, json=last).json()
    trained.client.post("/api/v1/telemetry", json=last)
    with trained.platform.warehouse.transactions.begin() as connection:
        stored = dict(
            connection.execute(
                "SELECT timestamp, metadata FROM anomaly_detections "
                "WHERE device_id = 'press-8' AND timestamp >= %s",
                (DAY + timedelta(days=1),),
            ).fetchall()
        )
    said = {
        datetime.fromisoformat(one["timestamp"]): one["reason"]
        for one in predicted
        if one["is_anomaly"]
    }
    assert {time: told["reason"] for time, told in stored.items()} == said
    numbers = {datetime.fromisoformat(one["timestamp"]): one["explanation"] for one in predicted}
    for time, told in stored.items():
        assert {name: told[name] for name in numbers[time]} == numbers[time]
    assert alone["explanation"]["direction"] == "above"
    assert sum(alone["explanation"]["explanation"]["parts"].values()) == pytest.approx(1.0)
    assert said[datetime.fromisoformat(times[39])] == "repeats 57 for 40 readings, longest before 1"
    assert alone["reason"] == said[datetime.fromisoformat(times[-1])]
    assert alone["reason"].startswith("900, expected ")


@pytest.mark.parametrize("path", [PREDICT, BATCH])
@pytest.mark.parametrize(("device", "metric"), [("nobody", "temperature"), ("press-1", "humidity")])
def test_unknown_series_are_404(trained: Trained, path: str, device: str, metric: str) -> None:
    body = {"device_id": device, "metric_name": metric}
    body |= {"value": 1.0} if path == PREDICT else {"values": [1.0]}  # type: ignore[dict-item]
    answer = trained.client.post(path, json=body)
    assert answer.status_code == 404
    assert metric in answer.json()["detail"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'{"device_id": "press-1", "metric_name": "temperature", "value": NaN}',
        b'{"device_id": "press-1", "metric_name": "temperature", "value": 1e999}',
        b'{"device_id": "press-1", "metric_name": "temperature", "value": "high"}',
        b'{"device_id": "press-1", "metric_name": "temperature", "value": 1, "more": 1}',
        b'{"device_id": "", "metric_name": "temperature", "value": 1}',
        b'{"device_id": "a\\u0000", "metric_name": "temperature", "value": 1}',
        b'{"device_id": "a\\ud800", "metric_name": "temperature", "value": 1}',
        b"\xff\xfe",
    ],
)
def test_what_is_no_reading_is_refused_in_words(trained: Trained, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    answer = trained.client.post(PREDICT, content=body, headers=headers)
    assert answer.status_code == 422
    assert answer.json()["errors"]


def test_a_stored_reading_is_part_of_the_next_prediction(trained: Trained) -> None:
    series = {"device_id": "press-3", "metric_name": "temperature"}
    before = trained.client.post(PREDICT, json={**series, "value": 50.0}).json()
    assert before["timestamp"].startswith("2026-01-10T00:00:00")
    stored = trained.client.post(
        "/api/v1/telemetry", json={**series, "value": 53.0, "timestamp": before["timestamp"]}
    )
    assert stored.status_code < 300, stored.text
    after = trained.client.post(PREDICT, json={**series, "value": 50.0}).json()
    assert after["timestamp"].startswith("2026-01-10T00:05:00")
    assert after["unit_score"] != before["unit_score"]


def test_a_prediction_looks_back_on_what_another_process_stored(trained: Trained) -> None:
    series = ("press-1", "flow")
    serving = trained.client.app.state.serving  # type: ignore[attr-defined]
    judge = judge_of(serving.models.metrics("iiot"))
    start = int(datetime(2026, 1, 10, tzinfo=UTC).timestamp() * 1e6)
    sent = [Reading(*series, start + 300_000_000 * n, 50.0 + 3 * n) for n in range(4)]
    ingest = trained.platform.online_ingest()
    try:
        take_in(ingest, IIOT, sent[:3], judge)
        # What another process stores is seen when the look-back that is held is a second old.
        sleep(1.2)
        body = {"device_id": series[0], "metric_name": series[1], "value": sent[3].value}
        predicted = trained.client.post(PREDICT, json=body).json()
        (answer,) = take_in(ingest, IIOT, sent[3:], judge)
    finally:
        ingest.close()
    assert predicted["timestamp"].startswith("2026-01-10T00:15:00")
    assert answer.reading is not None
    assert predicted["unit_score"] == answer.reading.score
