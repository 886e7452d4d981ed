"""The same ``Idempotency-Key`` with the same request: one effect and one answer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from starlette.testclient import TestClient

from anomaly_platform.platform import Platform
from anomaly_platform.serving.problems import ApiProblem
from anomaly_platform.serving.telemetry.ingest import Ingestion
from tests.builders.tables import count

pytestmark = pytest.mark.integration

TELEMETRY = ("/api/v1/telemetry", "/api/v1/streams/iiot/telemetry")
KEYS = "/api/v1/keys"


def reading(value: float = 1.0, **more: Any) -> dict[str, Any]:
    """A reading without a time: it counts as taken when it arrives."""
    return {"device_id": "pump", "metric_name": "temp", "value": value, **more}


@pytest.mark.parametrize("url", TELEMETRY)
def test_readings_sent_twice_are_answered_alike_and_stored_once(
    client: TestClient, platform: Platform, url: str
) -> None:
    sent, headers = [reading(0.1), reading(device_id="press")], {"Idempotency-Key": "batch-7"}
    first = client.post(url, json=sent, headers=headers)
    again = client.post(url, json=sent, headers=headers)
    assert first.status_code == again.status_code == 200
    assert first.json()["accepted"] == 2
    assert again.content == first.content
    assert count(platform.warehouse, "online_readings") == 2
    other = client.post(url, json=[reading(3.0)], headers=headers)
    assert other.status_code == 422
    assert "Idempotency-Key was used for another request" in other.json()["detail"]
    assert count(platform.warehouse, "online_readings") == 2


def test_a_key_is_its_callers_and_its_routes_own(
    client: TestClient, platform: Platform, new_key: Callable[..., str]
) -> None:
    headers = {"Idempotency-Key": "mine"}
    sent = {"json": reading(), "headers": headers}
    times = {client.post(url, **sent).json()["readings"][0]["timestamp"] for url in TELEMETRY}
    client.headers["Authorization"] = f"Bearer {new_key()}"
    times.add(client.post(TELEMETRY[0], **sent).json()["readings"][0]["timestamp"])
    assert len(times) == count(platform.warehouse, "online_readings") == 3


@pytest.mark.parametrize("url", TELEMETRY)
@pytest.mark.parametrize("key", ["", "two words", "x" * 256, "\u00e9"])
def test_a_key_that_cannot_be_one_is_refused(
    client: TestClient, platform: Platform, url: str, key: str
) -> None:
    headers = {"Idempotency-Key": key.encode("latin-1")}
    answer = client.post(url, json=reading(), headers=headers)  # type: ignore[arg-type]
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["location"].lower() == "header.idempotency-key"
    assert count(platform.warehouse, "online_readings") == 0


def test_what_was_refused_is_not_remembered(client: TestClient, platform: Platform) -> None:
    headers = {"Idempotency-Key": "second-try"}
    bad = client.post(TELEMETRY[0], json=reading(device_id=" "), headers=headers)
    assert bad.status_code == 422
    assert count(platform.warehouse, "idempotency_keys") == 0
    good = client.post(TELEMETRY[0], json=reading(), headers=headers)
    assert good.status_code == 200


@pytest.mark.parametrize("failed", [RuntimeError, ApiProblem])
def test_readings_whose_answer_was_lost_are_not_stored_again(
    client: TestClient,
    platform: Platform,
    monkeypatch: pytest.MonkeyPatch,
    failed: type[Exception],
) -> None:
    """The process fails after the readings are committed, before the answer is."""
    sent = [reading(), reading(), reading(2.0), reading(device_id="press")]
    headers = {"Idempotency-Key": "lost"}
    ingest = Ingestion.ingest_columns

    async def dies(*args: Any, **more: Any) -> Any:
        await ingest(*args, **more)
        raise ApiProblem(503, "lost") if failed is ApiProblem else failed("lost")

    with monkeypatch.context() as patched:
        patched.setattr(Ingestion, "ingest_columns", dies)
        lost = client.post(TELEMETRY[0], json=sent, headers=headers)
    assert lost.status_code >= 500
    assert count(platform.warehouse, "online_readings") == len(sent)
    again = client.post(TELEMETRY[0], json=sent, headers=headers)
    assert {one["status"] for one in again.json()["readings"]} == {"repeated"}
    assert count(platform.warehouse, "online_readings") == len(sent)
    assert client.post(TELEMETRY[0], json=sent, headers=headers).content == again.content


def test_the_same_at_the_same_time_waits_for_the_first(
    client: TestClient, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = 8
    gate, ingest, calls = threading.Event(), Ingestion.ingest_columns, []

    async def slowly(*args: Any, **more: Any) -> Any:
        import asyncio

        calls.append(args)
        await asyncio.to_thread(gate.wait, 10)
        return await ingest(*args, **more)

    monkeypatch.setattr(Ingestion, "ingest_columns", slowly)

    def send(n: int) -> bytes:
        if n == together - 1:
            gate.set()
        headers = {"Idempotency-Key": "at-once"}
        return client.post(TELEMETRY[0], json=reading(), headers=headers).content

    with ThreadPoolExecutor(together) as pool:
        answers = set(pool.map(send, range(together)))
    assert len(answers) == len(calls) == count(platform.warehouse, "online_readings") == 1


def test_a_key_is_made_once_and_its_secret_stored_nowhere(
    client: TestClient, platform: Platform
) -> None:
    wanted, headers = {"name": "gateway", "scopes": ["ml:read"]}, {"Idempotency-Key": "k"}
    before = count(platform.warehouse, "api_keys")
    made = client.post(KEYS, json=wanted, headers=headers)
    assert made.status_code == 201
    prefix, _, secret = made.json()["key"].partition(".")
    again = client.post(KEYS, json=wanted, headers=headers)
    assert again.status_code == 409
    assert (again.json()["prefix"], again.json()["id"]) == (prefix, made.json()["id"])
    assert prefix in again.json()["detail"]
    assert secret not in again.text
    assert count(platform.warehouse, "api_keys") == before + 1
    with platform.warehouse.transactions.begin() as connection:
        (kept,) = connection.execute("SELECT k::text FROM idempotency_keys k").fetchall()
    assert secret not in kept[0]
    other = client.post(KEYS, json={**wanted, "name": "other"}, headers=headers)
    assert other.status_code == 422
    assert client.get(KEYS, headers={"Authorization": f"Bearer {prefix}.{secret}"}).status_code == (
        403
    )


def test_a_key_is_revoked_once(client: TestClient, platform: Platform) -> None:
    url = client.post(KEYS, json={"name": "gateway", "scopes": ["ml:read"]}).json()["id"]
    headers = {"Idempotency-Key": "revoke"}
    first = client.delete(f"{KEYS}/{url}", headers=headers)
    assert first.json()["state"] == "revoked"
    assert client.delete(f"{KEYS}/{url}", headers=headers).json() == first.json()
    assert count(platform.warehouse, "idempotency_keys") == 1


@pytest.mark.parametrize("name", ["line\n3", "\x1b[2Jgone", "bell\x07", "\x85"])
def test_a_name_with_control_characters_is_refused(client: TestClient, name: str) -> None:
    answer = client.post(KEYS, json={"name": name, "scopes": ["ml:read"]})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["location"] == "body.name"
