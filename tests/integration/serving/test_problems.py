"""Every error is a problem document, the framework's own included."""

from __future__ import annotations

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
