"""Every error is a problem document, the framework's own included."""

from __future__ import annotations

import gzip
import uuid

import pytest
from starlette.testclient import TestClient

from anomaly_platform.platform import Platform


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", f"/api/v1/ml/models/{uuid.UUID(int=0)}", 404),
        ("GET", "/api/v1/ml/models/seven", 422),
        ("GET", "/nowhere", 404),
        ("PATCH", f"/api/v1/ml/models/{uuid.UUID(int=0)}", 405),
    ],
)
def test_errors_are_problem_documents(
    client: TestClient, method: str, path: str, status: int
) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document["status"] == status
    assert document["instance"] == path
    assert document["title"]
    assert document["detail"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/v1/streams/boilers/telemetry"),
        ("POST", "/api/v1/scans/boilers/detect"),
        ("GET", "/api/v1/models?stream=boilers"),
    ],
)
def test_a_stream_that_was_described_after_the_start_needs_a_restart(
    platform: Platform, client: TestClient, method: str, path: str
) -> None:
    scan = {"epc_code": "1", "event_time": "2026-01-05 00:00:00"}
    body = {"json": {"data": [scan]}} if method == "POST" else {}
    unknown = client.request(method, path, **body)
    assert unknown.status_code == 404
    assert "restart" not in unknown.json()["detail"]
    folder = platform.settings.streams_dir
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "boilers.yaml").write_text("name: boilers\n")
    described = client.request(method, path, **body)
    assert described.status_code == 404
    assert "boilers.yaml was not there" in described.json()["detail"]
    assert "a restart takes it in" in described.json()["detail"]


def test_the_openapi_document_names_problem_documents(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert "Problem" in document["components"]["schemas"]
    assert "HTTPValidationError" not in document["components"]["schemas"]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for status in ("422", "503"):
                content = operation["responses"][status]["content"]
                assert list(content) == ["application/problem+json"], (method, path)


def test_reasons_are_said_without_the_validators_words(client: TestClient) -> None:
    answer = client.post("/api/v1/feedback", json={"correct": True})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["message"].startswith("send detection_id and correct")
    assert "Value error" not in answer.text


@pytest.mark.parametrize("path", ["/api/v1/telemetry", "/api/v1/ml/predict", "/api/v1/feedback"])
def test_bodies_that_say_a_thing_twice_or_are_compressed(client: TestClient, path: str) -> None:
    json = {"Content-Type": "application/json"}
    twice = client.post(path, content=b'{"value": 1, "value": 2}', headers=json)
    assert twice.status_code == 400
    assert '"value" occurs twice' in twice.json()["detail"]
    packed = client.post(
        path, content=gzip.compress(b"{}"), headers={**json, "Content-Encoding": "gzip"}
    )
    assert packed.status_code == 415
    assert "compressed" in packed.json()["detail"]
    for answer in (twice, packed):
        assert answer.headers["content-type"] == "application/problem+json"
    documented = client.get("/openapi.json").json()["paths"][path]["post"]["responses"]
    assert {"400", "415"} <= set(documented)


@pytest.mark.parametrize(
    ("media_type", "accepted"),
    [
        ("application/json", True),
        ('APPLICATION/JSON ; charset="UTF-8"', True),
        ("application/json;charset=utf-8;version=1", True),
        (None, True),
        ("text/plain", False),
        ("application/vnd.api+json", False),
        ("application/jsonx", False),
        ("application/json, text/plain", False),
        ("application/json; charset=utf-16", False),
    ],
)
@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/telemetry",
        "/api/v1/streams/iiot/telemetry",
        "/api/v1/ml/predict",
        "/api/v1/anomaly/detect",
    ],
)
def test_a_body_is_json_by_whatever_name_that_has(
    client: TestClient, path: str, media_type: str | None, accepted: bool
) -> None:
    headers = {} if media_type is None else {"Content-Type": media_type}
    answer = client.post(path, content=b'{"strange": 1}', headers=headers)
    assert answer.status_code == (422 if accepted else 415)
    assert answer.headers["content-type"] == "application/problem+json"
    if accepted:
        # The schema has seen a document, and misses its members.
        assert any("strange" in one["location"] for one in answer.json()["errors"])
    else:
        assert answer.headers["accept"] == "application/json"


def test_every_route_with_a_body_documents_other_media_types(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    takes_body = [one for path in paths.values() for one in path.values() if "requestBody" in one]
    assert len(takes_body) > 5
    assert all("415" in one["responses"] for one in takes_body)


@pytest.mark.parametrize("path", ["/health/live/", "/api/v1/feedback/", "/api/v1/ml/models/"])
def test_a_slash_too_many_is_no_way_to_another_host(client: TestClient, path: str) -> None:
    answer = client.get(path, headers={"Host": "evil.example"}, follow_redirects=False)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert "location" not in answer.headers


@pytest.mark.parametrize(
    ("path", "instance"),
    [
        ("/no%00where", "/no%00where"),
        ("/no%20where%3Fx%23y", "/no%20where%3Fx%23y"),
        ("/%C3%A4%22%3C", "/%C3%A4%22%3C"),
        ("/%2Fevil.example", "/%2Fevil.example"),
        ("/a:b@c/d,e", "/a:b@c/d,e"),
    ],
)
def test_instance_is_a_uri_reference(client: TestClient, path: str, instance: str) -> None:
    answer = client.get(path, headers={"Host": "host"})
    assert (answer.status_code, answer.json()["instance"]) == (404, instance)


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/api/v1/health"])
def test_health_can_be_asked_for_without_its_text(anonymous: TestClient, path: str) -> None:
    asked, told = anonymous.head(path), anonymous.get(path)
    assert (asked.status_code, asked.content) == (told.status_code, b"")
    assert asked.headers["content-type"] == told.headers["content-type"]
