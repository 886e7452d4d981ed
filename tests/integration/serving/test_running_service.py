"""``anomaly api`` with two workers, as it is started in production, seen from outside."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.builders.services import Service, running_service

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def service(
    module_database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    with running_service(tmp_path_factory.mktemp("service"), module_database_url) as found:
        yield found


def test_a_key_from_the_command_line_opens_and_its_revocation_reaches_every_worker(
    service: Service,
) -> None:
    key = service.command("keys", "create", "shift A", "--scope", "ml:read", "--expires", "2h")
    assert {service.get("/metrics", key).status_code for _ in range(10)} == {200}
    assert key.partition(".")[0] in service.command("keys", "list")
    assert service.get("/api/v1/keys", key).status_code == 403
    said = service.command("keys", "revoke", key)
    assert key.partition(".")[2] not in said
    time.sleep(1)
    assert {service.get("/metrics", key).status_code for _ in range(20)} == {401}


def test_numbers_are_those_of_all_workers_and_outlive_them(service: Service) -> None:
    key = service.new_key()
    live = {"route": "/health/live"}
    before = service.sample(key, "anomaly_http_requests_total", **live)
    for _ in range(40):
        assert service.get("/health/live").status_code == 200
    assert service.sample(key, "anomaly_http_requests_total", **live) == before + 40
    assert service.sample(key, "anomaly_http_request_duration_seconds_count", **live) >= 40
    victim = service.workers[0]
    victim.kill()
    while len(service.workers) < 2 or victim in service.workers:
        time.sleep(0.05)
    assert service.sample(key, "anomaly_http_requests_total", **live) == before + 40


def test_labels_have_few_values_whatever_is_asked(service: Service) -> None:
    key = service.new_key()
    for number in range(12):
        service.get(f"/nothing/{number}", key)
        httpx.request(f"ODD{number}", service.url + "/health/live", verify=False)
        service.get(f"/api/v1/ml/models/{number}", key)
    text = service.get("/metrics", key).text
    for family in text_string_to_metric_families(text):
        for label in ("route", "method", "stream"):
            values = {s.labels[label] for s in family.samples if label in s.labels}
            assert len(values) < 60
            assert not any("nothing" in value or "ODD" in value for value in values)


def test_log_lines_are_objects_with_the_request_id_and_no_secret(service: Service) -> None:
    key = service.new_key()
    answer = service.get("/metrics", key, **{"X-Request-ID": "from-outside-1"})
    assert answer.headers["X-Request-ID"] == "from-outside-1"
    forged = service.get("/metrics", key, **{"X-Request-ID": 'a" b'})
    assert len(forged.headers["X-Request-ID"]) == 32
    text = service.log.read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    mine = [line for line in lines if line.get("request_id") == "from-outside-1"]
    assert [line["event"] for line in mine] == ["request"]
    assert (mine[0]["status"], mine[0]["route"], mine[0]["key"]) == (200, "/metrics", "test")
    assert key.partition(".")[2] not in text
    # Each worker says so once; one was killed before, and another one came.
    events = [line["event"] for line in lines]
    begun = sum(event.startswith("Started server process") for event in events)
    assert 2 <= events.count("Application startup complete.") <= begun


def test_heads_are_bounded_in_every_worker(service: Service) -> None:
    for _ in range(8):
        assert service.get("/health/live", **{"X-Large": "x" * 60_000}).status_code == 200
        refused = service.get("/health/live", **{"X-Large": "x" * 70_000})
        assert refused.status_code == 431
        assert refused.headers["content-type"] == "application/problem+json"


def test_answers_say_what_a_browser_must_not_do(service: Service) -> None:
    headers = service.get("/health/live").headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert "server" not in headers
    asked = httpx.options(
        service.url + "/api/v1/keys",
        headers={"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "GET"},
    )
    assert "access-control-allow-origin" not in asked.headers


def test_a_body_without_end_is_cut_off(service: Service) -> None:
    key = service.new_key("ml:write")
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while True:
            sent += 1
            yield b"x" * 2**20

    try:
        answer = httpx.post(
            service.url + "/api/v1/telemetry",
            content=endless(),
            headers={"X-API-Key": key, "Content-Type": "application/json"},
            timeout=30,
        )
        assert answer.status_code == 413
        assert answer.json()["most_bytes"] == 16 * 2**20
    except httpx.TransportError:
        # The service closes the connection, which a client that goes on sending may see first.
        pass
    assert 16 <= sent < 64
    assert service.get("/health/live").status_code == 200
