"""Who sees pages and who may press buttons; nothing without a session, a scope and a token."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import product

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.testclient import TestClient

from anomaly_platform.console.app import create_app
from anomaly_platform.console.sessions import COOKIE
from anomaly_platform.platform import Platform
from tests.builders.console import add_readings, log_in, token_of

pytestmark = pytest.mark.integration

OPEN = {"/console/log-in", "/console/log-out"}


def console_of(platform: Platform) -> FastAPI:
    """Return the console of an application."""
    (beside,) = [
        one.kwargs["applications"]
        for one in create_app(platform).user_middleware
        if "applications" in one.kwargs
    ]
    console: FastAPI = beside["/console"]
    return console


def routes_of(platform: Platform) -> list[tuple[str, str]]:
    """Return method and path of every route that needs a session."""
    return [
        (method, route.path)
        for route in console_of(platform).routes
        if isinstance(route, APIRoute) and route.path not in OPEN
        for method in route.methods
    ]


def test_without_a_session_there_is_no_page_and_no_button(
    platform: Platform, stranger: TestClient
) -> None:
    for method, path in routes_of(platform):
        answer = stranger.request(method, path, follow_redirects=False)
        if method == "GET":
            assert answer.status_code in (303, 401), path
            assert answer.headers.get("location", "").startswith("/console/log-in"), path
        else:
            assert answer.status_code in (401, 403), path


def test_the_log_in_leads_to_the_page_that_was_asked_for(
    stranger: TestClient, new_key: Callable[..., str]
) -> None:
    asked = stranger.get("/console?x=1", follow_redirects=False)
    assert asked.headers["location"] == "/console/log-in?next=%2Fconsole%3Fx%3D1"
    form = {"key": new_key(), "next": "/console?x=1"}
    assert stranger.post("/console/log-in", data=form).url.path == "/console"
    for elsewhere in (
        "https://evil.example/",
        "//evil.example",
        "/console\\..",
        "/\t/evil",
        "/api",
    ):
        answer = stranger.post(
            "/console/log-in", data={**form, "next": elsewhere}, follow_redirects=False
        )
        assert answer.headers["location"] == "/console", elsewhere


def test_a_button_after_the_session_asks_for_the_key_and_leads_back(stranger: TestClient) -> None:
    here = "http://testserver/console/series?stream=iiot&entity=a"
    plain = stranger.post("/console/marks", headers={"referer": here})
    assert plain.status_code == 401
    assert "Your session has ended" in plain.text
    assert 'value="/console/series?stream=iiot&amp;entity=a"' in plain.text
    swapped = {"hx-request": "true", "hx-current-url": here}
    goal = stranger.post("/console/marks", headers=swapped).headers["hx-redirect"]
    assert goal.startswith("/console/log-in?next=%2Fconsole%2Fseries%3Fstream")
    shown = stranger.get(goal).text
    assert "Your session has ended" in shown
    assert 'value="/console/series?stream=iiot&amp;entity=a"' in shown
    elsewhere = {"hx-request": "true", "hx-current-url": "http://testserver/api/v1/health"}
    goal = stranger.post("/console/marks", headers=elsewhere).headers["hx-redirect"]
    assert goal == "/console/log-in?next=%2Fconsole&ended=yes"


def test_an_address_that_lacks_a_part_is_answered_by_a_page(browser: TestClient) -> None:
    for path, part in (
        ("/console/entity", "stream, entity"),
        ("/console/models/version?stream=iiot&detector=a&number=x", "number"),
        ("/console/models/training?asked=x", "asked"),
    ):
        answer = browser.get(path)
        assert answer.status_code == 422
        assert f"look at its {part}" in answer.text
        assert "To the overview" in answer.text


def test_a_mistake_of_the_platform_is_answered_by_a_page(
    browser: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anomaly_platform.console.pages.explorer._ticks", lambda edges: 1 / 0)
    answer = browser.get("/console/explorer")
    assert answer.status_code == 500
    assert "Something broke" in answer.text
    assert "division" not in answer.text


def test_a_wrong_or_revoked_key_opens_nothing(
    platform: Platform, stranger: TestClient, new_key: Callable[..., str]
) -> None:
    key = new_key()
    for wrong in ("", "secret", key[:-1] + "x", key.partition(".")[0] + "."):
        assert stranger.post("/console/log-in", data={"key": wrong}).status_code == 401
    log_in(stranger, key)
    assert stranger.get("/console").status_code == 200
    platform.warehouse.api_keys.revoke(key.partition(".")[0], revoked_by="test")
    time.sleep(1.0)
    assert stranger.get("/console", follow_redirects=False).status_code == 303


def test_a_cookie_is_signed_and_out_of_reach_of_scripts(
    platform: Platform, stranger: TestClient, new_key: Callable[..., str]
) -> None:
    other = new_key("ml:read").partition(".")[0]
    answer = stranger.post("/console/log-in", data={"key": new_key()}, follow_redirects=False)
    said = answer.headers["set-cookie"].lower()
    assert "httponly" in said
    assert "samesite=lax" in said
    assert "path=/console" in said
    cookie = stranger.cookies[COOKIE]
    version, prefix, expires, nonce, signature = cookie.split(".")
    for forged in (
        ".".join((version, other, expires, nonce, signature)),
        ".".join((version, prefix, str(int(expires) + 9), nonce, signature)),
        ".".join((version, prefix, expires, nonce, "")),
        cookie[:-1] + ("A" if cookie[-1] != "A" else "B"),
    ):
        stranger.cookies.clear()
        headers = {"cookie": f"{COOKIE}={forged}"}
        assert stranger.get("/console", headers=headers, follow_redirects=False).status_code == 303
    (platform.settings.home / "console-secret").unlink()
    with TestClient(create_app(platform)) as elsewhere:
        headers = {"cookie": f"{COOKIE}={cookie}"}
        answer = elsewhere.get("/console", headers=headers, follow_redirects=False)
        assert answer.status_code == 303
    assert (platform.settings.home / "console-secret").stat().st_mode & 0o777 == 0o600


def test_over_tls_cookies_are_for_tls_alone(
    platform: Platform, new_key: Callable[..., str]
) -> None:
    with TestClient(create_app(platform), base_url="https://console.example") as browser:
        answer = browser.post("/console/log-in", data={"key": new_key()}, follow_redirects=False)
    assert "secure" in answer.headers["set-cookie"].lower()
    assert "strict-transport-security" in answer.headers


def test_a_reader_sees_no_button_and_can_press_none(
    platform: Platform, stranger: TestClient, new_key: Callable[..., str]
) -> None:
    (time_of,) = add_readings(platform, "press-1", "flow", [1.0], flagged=[0])
    log_in(stranger, new_key("ml:read"))
    text = stranger.get("/console").text
    assert "press-1" in text
    assert "/marks" not in text
    token = token_of(stranger)
    mark = {"stream": "iiot", "entity": "press-1", "metric": "flow", "mark": "right"}
    form = {**mark, "time": time_of.isoformat(), "token": token}
    for method, path in routes_of(platform):
        if method == "POST":
            answer = stranger.post(path, data=form)
            assert answer.status_code == 403, path
    assert platform.warehouse.labels.newest("iiot") == []


@pytest.mark.parametrize(
    ("headers", "token"),
    product(
        (
            {"sec-fetch-site": "cross-site"},
            {"sec-fetch-site": "same-site"},
            {"origin": "https://evil.example"},
            {},
        ),
        ("right", "wrong"),
    ),
)
def test_forms_of_other_sites_or_sessions_do_nothing(
    platform: Platform,
    browser: TestClient,
    headers: dict[str, str],
    token: str,
) -> None:
    (time_of,) = add_readings(platform, "press-1", "flow", [1.0], flagged=[0])
    form = {
        "stream": "iiot",
        "entity": "press-1",
        "metric": "flow",
        "mark": "right",
        "time": time_of.isoformat(),
        "token": token_of(browser) if token == "right" else "x",
    }
    answer = browser.post("/console/marks", data=form, headers=headers)
    is_own = not headers and token == "right"
    assert answer.status_code == (200 if is_own else 403)
    assert len(platform.warehouse.labels.newest("iiot")) == is_own


def test_logging_out_ends_the_session_of_the_browser(browser: TestClient) -> None:
    assert browser.post("/console/log-out").url.path == "/console/log-in"
    assert browser.get("/console", follow_redirects=False).status_code == 303


def test_answers_carry_a_strict_policy_and_are_kept_nowhere(browser: TestClient) -> None:
    for path in ("/console", "/console/log-in", "/console/nothing", "/console?x=<script>"):
        headers = browser.get(path).headers
        policy = headers["content-security-policy"]
        assert "unsafe" not in policy
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert headers["cache-control"] == "no-store"
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-content-type-options"] == "nosniff"
    # The API's own answers are as they were.
    assert "default-src 'none'; frame-ancestors 'none'" in browser.get("/health/live").headers.get(
        "content-security-policy", ""
    )


def test_files_are_kept_by_browsers_and_follow_the_version(stranger: TestClient) -> None:
    page = stranger.get("/console/log-in").text
    (address,) = [part for part in page.split('"') if "console.css" in part]
    assert "immutable" in stranger.get(address).headers["cache-control"]
    assert stranger.get(address.partition("?")[0]).headers["cache-control"] == "no-store"
    assert stranger.get("/console/files/../app.py").status_code == 404
    assert stranger.get("/console/files/%2e%2e/app.py").status_code == 404
