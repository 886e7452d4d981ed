"""Every route is closed without a key, opens with the scope it declares, and with no other."""

from __future__ import annotations

import base64
import datetime as dt
import itertools
import logging
import re
from collections.abc import Callable

import psycopg
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from anomaly_platform.platform import Platform
from anomaly_platform.serving.app import create_app
from anomaly_platform.serving.auth.security import DOCUMENTATION_PATHS, PUBLIC_PATHS
from anomaly_platform.serving.http.openapi import scopes_by_path
from anomaly_platform.storage.tables.api_keys import SCOPES, ApiKeyError, digest_of, prefix_of

pytestmark = pytest.mark.integration

NewKey = Callable[..., str]
SOME_ID = "3f0c0b6e-6d0f-4e5b-8f8a-0f8e3f1d2c3b"


def concrete(path: str) -> str:
    return re.sub(r"{[^}]*}", SOME_ID, path)


def routes_of(app: FastAPI) -> list[tuple[str, str, str | None]]:
    """Return method, path and declared scope of everything that the application answers."""
    return [(method, path, scope) for (method, path), scope in scopes_by_path(app).items()]


def test_every_route_declares_a_scope_or_is_known_to_need_none(anonymous: TestClient) -> None:
    routes = routes_of(anonymous.app)  # type: ignore[arg-type]
    without = {path for _, path, scope in routes if scope is None}
    assert without == PUBLIC_PATHS | DOCUMENTATION_PATHS
    assert {scope for *_, scope in routes} >= {None, "ml:read", "ml:admin"}


def test_scope_matrix(anonymous: TestClient, new_key: NewKey) -> None:
    """Every route with no key and with every set of scopes: refused exactly where it should be."""
    sets = [s for n in range(1, 4) for s in itertools.combinations(SCOPES, n)]
    keys = {scopes: new_key(*scopes) for scopes in sets}
    tried = 0
    for method, path, scope in routes_of(anonymous.app):  # type: ignore[arg-type]
        url = concrete(path)
        bare = anonymous.request(method, url)
        if path in PUBLIC_PATHS:
            assert bare.status_code in (200, 503), path
            continue
        assert bare.status_code == 401, f"{method} {path} is open"
        assert "Bearer" in bare.headers["WWW-Authenticate"]
        for scopes, key in keys.items():
            answer = anonymous.request(method, url, headers={"Authorization": f"Bearer {key}"})
            tried += 1
            if scope is None or scope in scopes:
                assert answer.status_code not in (401, 403), (method, path, scopes, answer.text)
                assert answer.status_code < 500, (method, path, answer.text)
            else:
                assert answer.status_code == 403, (method, path, scopes)
                assert answer.json()["missing_scope"] == scope
                assert scope in answer.json()["detail"]
    assert tried > 30


def test_a_path_that_does_not_exist_tells_a_stranger_nothing(
    anonymous: TestClient, new_key: NewKey
) -> None:
    assert anonymous.get("/api/v1/nothing").status_code == 401
    header = {"X-API-Key": new_key("ml:read")}
    assert anonymous.get("/api/v1/nothing", headers=header).status_code == 404


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer {key}"},
        {"Authorization": "bearer  {key}"},
        {"X-API-Key": "{key}"},
        {"Authorization": "Negotiate abc", "X-API-Key": "{key}"},
    ],
)
def test_ways_to_present_a_key(
    anonymous: TestClient, new_key: NewKey, headers: dict[str, str]
) -> None:
    key = new_key("ml:admin")
    sent = {name: value.format(key=key) for name, value in headers.items()}
    assert anonymous.get("/api/v1/keys", headers=sent).status_code == 200


@pytest.mark.parametrize(
    "bad",
    [
        "",
        ".",
        "nothing",
        "anomaly_000000000000.secret",
        "anomaly_000000000000" + "." * 300,
        "anomaly_zz' OR 1=1 --.x",
        "\xff\xfe.\xff",
    ],
)
def test_what_is_no_key_is_refused(anonymous: TestClient, bad: str) -> None:
    for name, value in (("Authorization", f"Bearer {bad}"), ("X-API-Key", bad)):
        answer = anonymous.get("/api/v1/keys", headers={name.encode(): value.encode("latin-1")})
        assert answer.status_code == 401
        assert answer.headers["content-type"] == "application/problem+json"


def test_half_of_a_key_opens_nothing(anonymous: TestClient, new_key: NewKey) -> None:
    key = new_key()
    prefix, _, secret = key.partition(".")
    other = new_key().partition(".")[2]
    for wrong in (f"{prefix}.{secret[:-1]}", f"{prefix}.{other}", f"{prefix}.", prefix, secret):
        answer = anonymous.get("/api/v1/keys", headers={"X-API-Key": wrong})
        assert answer.status_code == 401, wrong
    assert anonymous.get("/api/v1/keys", headers={"X-API-Key": key}).status_code == 200


def test_only_the_digest_is_stored(platform: Platform, new_key: NewKey, database_url: str) -> None:
    key = new_key()
    prefix, _, secret = key.partition(".")
    assert prefix_of(key) == prefix
    assert len(secret) == 43, "256 bits in base64"
    with psycopg.connect(database_url) as connection:
        row = connection.execute("SELECT api_keys::text, digest FROM api_keys").fetchone()
        audit = connection.execute("SELECT audit_log::text FROM audit_log").fetchone()
    assert row is not None
    assert audit is not None
    assert bytes(row[1]) == digest_of(key)
    assert secret not in row[0]
    assert secret not in audit[0]
    assert prefix in audit[0]


def test_keys_over_http(anonymous: TestClient, new_key: NewKey) -> None:
    admin = {"Authorization": f"Bearer {new_key('ml:admin')}"}
    wanted = {"name": "gateway", "scopes": ["ml:read"], "predictions_per_minute": 5}
    made = anonymous.post("/api/v1/keys", json=wanted, headers=admin)
    assert made.status_code == 201
    key = made.json()["key"]
    listed = anonymous.get("/api/v1/keys", headers=admin).json()
    assert listed["total"] == 2
    assert key.partition(".")[2] not in str(listed)
    assert listed["keys"][0]["state"] == "active"
    assert listed["keys"][0]["created_by"].startswith("test (")
    theirs = {"X-API-Key": key}
    assert anonymous.get("/metrics", headers=theirs).status_code == 200
    gone = anonymous.delete(f"/api/v1/keys/{made.json()['id']}", headers=admin)
    assert gone.json()["state"] == "revoked"
    refused = anonymous.get("/metrics", headers=theirs)
    assert refused.status_code == 401
    assert "revoked" in refused.json()["detail"]
    again = anonymous.delete(f"/api/v1/keys/{made.json()['id']}", headers=admin)
    assert again.json()["revoked_at"] == gone.json()["revoked_at"]
    assert anonymous.delete(f"/api/v1/keys/{SOME_ID}", headers=admin).status_code == 404


@pytest.mark.parametrize(
    "wanted",
    [
        {"name": "", "scopes": ["ml:read"]},
        {"name": "  ", "scopes": ["ml:read"]},
        {"name": "a\x00b", "scopes": ["ml:read"]},
        {"name": "a", "scopes": []},
        {"name": "a", "scopes": ["ml:root"]},
        {"name": "a", "scopes": ["ml:read"], "expires_at": "2001-01-01T00:00:00Z"},
        {"name": "a", "scopes": ["ml:read"], "predictions_per_minute": -1},
        {"name": "a", "scopes": ["ml:read"], "more": 1},
    ],
)
def test_a_key_that_cannot_be_made(client: TestClient, wanted: dict[str, object]) -> None:
    assert client.post("/api/v1/keys", json=wanted).status_code == 422


def test_the_table_refuses_what_the_program_does(platform: Platform) -> None:
    keys = platform.warehouse.api_keys
    for name, scopes in (("", ["ml:read"]), ("a\x1b[2J", ["ml:read"]), ("a", []), ("a", ["root"])):
        with pytest.raises(ApiKeyError):
            keys.create(name, scopes, created_by="test")


def test_an_expired_key_is_refused(
    anonymous: TestClient, new_key: NewKey, database_url: str
) -> None:
    key = new_key("ml:read")
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE api_keys SET expires_at = now() - interval '1 second'")
    answer = anonymous.get("/metrics", headers={"X-API-Key": key})
    assert answer.status_code == 401
    assert "expired" in answer.json()["detail"]


def test_use_is_noted(anonymous: TestClient, new_key: NewKey, platform: Platform) -> None:
    header = {"X-API-Key": new_key("ml:admin")}
    assert anonymous.get("/api/v1/keys", headers=header).status_code == 200
    for _ in range(100):
        key = anonymous.get("/api/v1/keys", headers=header).json()["keys"][0]
        if key["last_used_at"] is not None:
            return
    raise AssertionError("the use of the key was not noted")


def test_documentation_opens_with_a_key_as_password(anonymous: TestClient, new_key: NewKey) -> None:
    key = new_key("ml:read")
    asked = anonymous.get("/docs")
    assert asked.status_code == 401
    assert asked.headers["WWW-Authenticate"].startswith("Basic ")
    basic = {"Authorization": "Basic " + base64.b64encode(f"me:{key}".encode()).decode()}
    for path in DOCUMENTATION_PATHS:
        assert anonymous.get(path, headers=basic).status_code == 200
    # A browser sends such a password by itself, so that it must not be good for anything else.
    assert anonymous.get("/metrics", headers=basic).status_code == 401
    broken = {"Authorization": "Basic ???"}
    assert anonymous.get("/docs", headers=broken).status_code == 401


def test_no_key_in_logs_or_answers(
    platform: Platform, new_key: NewKey, caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    caplog.set_level(logging.DEBUG)
    secrets = []
    said = []
    with TestClient(create_app(platform), raise_server_exceptions=False) as client:
        for header in ("Authorization", "X-API-Key"):
            good, bad = new_key(), new_key() + "x"
            for key in (good, bad):
                secrets.append(key.partition(".")[2])
                value = f"Bearer {key}" if header == "Authorization" else key
                for url in ("/metrics", "/api/v1/nothing", f"/api/v1/keys?token={SOME_ID}"):
                    answer = client.get(url, headers={header: value})
                    said.append(f"{answer.headers}{answer.text}")
                    client.post("/api/v1/keys", headers={header: value}, content=b"{")
    captured = capfd.readouterr()
    written = caplog.text + captured.out + captured.err + "".join(said)
    assert len(written) > 1000
    for secret in secrets:
        assert secret not in written


def test_expiry_is_told_in_the_state(platform: Platform) -> None:
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    made, _ = platform.warehouse.api_keys.create(
        "a", ["ml:read"], created_by="test", expires_at=soon
    )
    assert made.state(soon - dt.timedelta(seconds=1)) == "active"
    assert made.state(soon) == "expired"


def test_every_scoring_route_counts_against_the_limit(
    anonymous: TestClient, new_key: NewKey
) -> None:
    scoring = {
        path
        for _, path, _ in routes_of(anonymous.app)  # type: ignore[arg-type]
        if path.endswith(("/detect", "/predict", "/predict/batch"))
    }
    assert len(scoring) >= 3
    for path in scoring:
        header = {"X-API-Key": new_key("ml:read", per_minute=1)}
        # Nobody knows the device: that is told, and counts all the same.
        body = {"device_id": "a", "asset_id": "a", "metric_name": "b", "value": 1, "values": [1]}
        statuses = [anonymous.post(path, json=body, headers=header).status_code for _ in range(2)]
        assert statuses[0] < 429, path
        assert statuses[1] == 429, path
