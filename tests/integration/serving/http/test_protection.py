"""What browsers, foreign host names and a database that is gone get for an answer."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from anomaly_platform.platform import Platform
from anomaly_platform.serving.app import create_app
from anomaly_platform.serving.auth import key_ring
from anomaly_platform.serving.health import report as health_module
from anomaly_platform.settings import Settings, SettingsError, get_settings

pytestmark = pytest.mark.integration

NewKey = Callable[..., str]


def application(settings: Settings, **changed: object) -> FastAPI:
    url = settings.database_url
    assert url is not None
    return create_app(
        Platform(get_settings(home=settings.home, database_url=url.get_secret_value(), **changed))
    )


def test_only_named_origins_may_call_from_a_browser(settings: Settings) -> None:
    app = application(settings, api_cors_origins="https://a.example, https://b.example:8443")
    asking = {"Access-Control-Request-Method": "POST"}
    with TestClient(app) as client:
        for origin, allowed in (
            ("https://a.example", True),
            ("https://b.example:8443", True),
            ("https://b.example", False),
            ("https://a.example.evil.example", False),
            ("null", False),
        ):
            answer = client.options("/api/v1/keys", headers={"Origin": origin, **asking})
            granted = answer.headers.get("access-control-allow-origin")
            assert granted == (origin if allowed else None)
            assert "access-control-allow-credentials" not in answer.headers
            assert answer.status_code == (200 if allowed else 403)
            assert "Origin" in answer.headers["vary"]
            if not allowed:
                assert answer.headers["content-type"] == "application/problem+json"
                assert answer.json()["detail"].endswith("origin")
        # Permission to ask is no permission to see: the key is still needed.
        asked = client.get("/api/v1/keys", headers={"Origin": "https://a.example"})
        assert asked.status_code == 401
        assert asked.headers["access-control-allow-origin"] == "https://a.example"
        shown = set(asked.headers["access-control-expose-headers"].split(", "))
        assert {"X-Request-ID", "X-Model-Version", "X-Left-Out", "X-Quarantined"} <= shown
        assert {"X-Duplicates", "Retry-After", "Location", "RateLimit"} <= shown


def test_only_named_hosts_are_answered(settings: Settings) -> None:
    app = application(settings, api_trusted_hosts="api.example, *.plant.example, [::1]")
    with TestClient(app) as client:
        for host, status in (
            ("api.example", 200),
            ("API.example:8000", 200),
            ("line3.plant.example", 200),
            ("[::1]:8000", 200),
            ("plant.example", 400),
            ("evilplant.example", 400),
            ("api.example.evil.example", 400),
            ("", 400),
        ):
            answer = client.get("/health/live", headers={"Host": host})
            assert answer.status_code == status, host
        assert answer.headers["content-type"] == "application/problem+json"
        assert "x-request-id" in answer.headers


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("api_cors_origins", "*"),
        ("api_cors_origins", "https://a.example/path"),
        ("api_trusted_hosts", "https://a.example"),
        ("redis_url", "http://:hunter2@host"),
        ("redis_url", "redis://"),
    ],
)
def test_settings_that_cannot_be_used(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        get_settings(**{name: value})
    assert f"ANOMALY_{name.upper()}" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_database_that_is_gone(
    anonymous: TestClient, new_key: NewKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No key can be checked: 503, but for metrics, which tell about it."""
    monkeypatch.setattr(health_module, "_LIFETIME_S", 0.0)
    monkeypatch.setattr(key_ring, "_LIFETIME_S", 0.0)
    monkeypatch.setattr(key_ring, "_REFRESH_S", 0.0)
    good = {"X-API-Key": new_key("ml:read", "ml:admin")}
    assert anonymous.get("/metrics", headers=good).status_code == 200

    async def gone(*_: object) -> None:
        raise psycopg.OperationalError("connection refused: password=hunter2")

    monkeypatch.setattr(key_ring, "find", gone)
    monkeypatch.setattr(health_module, "read_queues", gone)
    monkeypatch.setattr("anomaly_platform.serving.metrics.database.DatabaseMetrics.families", gone)
    refused = anonymous.get("/api/v1/keys", headers=good)
    assert refused.status_code == 503
    assert refused.headers["Retry-After"] == "5"
    told = anonymous.get("/metrics", headers=good)
    assert told.status_code == 200
    assert "anomaly_database_up 0.0" in told.text
    assert anonymous.get("/metrics", headers={"X-API-Key": new_key()}).status_code == 503
    assert anonymous.get("/health/live").status_code == 200
    assert anonymous.get("/health/ready").status_code == 503
    health = anonymous.get("/api/v1/health")
    assert health.status_code == 503
    assert health.json()["health"]["parts"]["database"]["fix"]
    assert "hunter2" not in refused.text + told.text + health.text


def test_an_error_of_the_service_is_a_problem_with_its_request_id(
    platform: Platform, new_key: NewKey
) -> None:
    app = create_app(platform)

    async def broken() -> None:
        raise RuntimeError("hunter2")

    app.get("/broken")(broken)
    with TestClient(app) as client:
        headers = {"X-API-Key": new_key(), "X-Request-ID": "r-7"}
        answer = client.get("/broken", headers=headers)
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["X-Request-ID"] == "r-7"
    assert "hunter2" not in answer.text
