"""Every error is a problem document, the framework's own included."""

from __future__ import annotations

import gzip
import uuid

import pytest
from starlette.testclient import TestClient


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
