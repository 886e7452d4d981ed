"""Whatever is sent to the console is no error of the service: addresses, forms, cookies."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from itertools import product
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from anomaly_platform.console.sessions import COOKIE
from anomaly_platform.platform import Platform
from tests.builders.console import DAY, add_readings, add_scan, add_version, token_of

pytestmark = pytest.mark.integration

DIGITS = "9" * 5_000
FIRST, LAST = "0001-01-01T00:00:00", "9999-12-31T23:59:59.999999"
MOMENTS = [f"{day}{zone}" for day, zone in product((FIRST, LAST), ("Z", "+14:00", "-14:00"))]
TEXTS = [
    *("\x00", "%", "\\", "'", "\ud800", "a" * 30_000, DIGITS),
    *("-1", "2147483648", "9223372036854775808", "NaN", "../.."),
]


def failed(browser: TestClient, addresses: list[str]) -> list[str]:
    """Return the addresses to which the service answers that it has an error."""
    return [
        f"{one[:150]}: {answer.status_code}"
        for one in addresses
        if (answer := browser.get(one, follow_redirects=False)).status_code >= 500
    ]


def encoded(text: str) -> str:
    return quote(text.encode(errors="surrogatepass"))


@pytest.fixture
def known(platform: Platform, browser: TestClient) -> TestClient:
    """A browser over a series, a scan and a version."""
    add_readings(platform, "press", "temperature", [1.0, 2.0, 9.0], flagged=[2])
    add_scan(platform, "code-1")
    add_version(platform, 1)
    return browser


def test_times_at_the_ends_of_the_calendar(known: TestClient) -> None:
    pages = [
        "explorer?stream=iiot",
        "explorer/rows?stream=iiot&lane=press",
        "entity?stream=iiot&entity=press",
        *(
            f"series{part}?stream=iiot&entity=press&metric=temperature"
            for part in ("", "/points", "/readings.csv")
        ),
    ]
    spans = [
        *(f"until={quote(one)}" for one in MOMENTS),
        *(f"since={quote(one)}" for one in MOMENTS),
        *(
            f"since={quote(a)}&until={quote(b)}"
            for a, b in zip(MOMENTS[:3], MOMENTS[3:], strict=True)
        ),
        *(f"since={quote(MOMENTS[0])}&until=0001-01-0{n}T00:00:00Z" for n in (1, 2, 5)),
        *(f"since=9999-12-{n}T00:00:00Z&until={quote(MOMENTS[3])}" for n in (1, 31)),
        *(f"range={name}&until={quote(one)}" for one in MOMENTS for name in ("1 year", "6 h")),
    ]
    assert failed(known, [f"/console/{page}&{span}" for page in pages for span in spans]) == []


def test_texts_that_are_no_names_and_no_numbers(known: TestClient) -> None:
    places = [
        *("explorer?stream={}", "explorer?search={}", "explorer?number={}", "explorer?range={}"),
        *("explorer/rows?stream=iiot&lane={}", "entity?stream=iiot&entity={}"),
        *("series?stream=iiot&entity={}&metric=temperature", "journey?code={}"),
        *("series?stream=iiot&entity=press&metric={}", "journey?stream={}", "alerts?stream={}"),
        *("alerts?state={}", "alerts/one?alert={}", "data?stream={}", "data?source={}"),
        *("data?reason={}", "models?stream={}", "models?detector={}", "models?stream=iiot&a={}"),
        *("models/version?stream=iiot&detector={}&number=1", "models/training?asked={}"),
        *("models/version?stream=iiot&detector=isolation_forest&number={}", "log-in?next={}"),
        *("files/{}", "{}", "explorer?since={}", "explorer?until={}"),
    ]
    addresses = [f"/console/{place.format(encoded(text))}" for place in places for text in TEXTS]
    assert failed(known, addresses) == []


def test_forms(known: TestClient, platform: Platform) -> None:
    token = token_of(known, "/console/models?stream=iiot")
    forms = {
        "log-in": ["key", "next"],
        "marks": ["mark", "stream", "entity", "metric", "time", "back"],
        "marks/span": ["mark", "stream", "entity", "metric", "since", "until", "number", "back"],
        "marks/take-back": ["label", "back"],
        "alerts/acknowledge": ["alert", "back"],
        "alerts/comment": ["alert", "text", "back"],
        "alerts/resolve": ["alert", "note", "back"],
        "models/roll-back": ["stream", "reason", "back"],
        "models/promote": ["stream", "version", "reason", "back"],
        "models/train": ["stream", "entity", "metric", "window_days", "reason"],
        "keys": ["name", "days"],
        "keys/revoke": ["id"],
        "data/take": ["stream", "kept"],
    }
    usual = {
        "mark": "right",
        "stream": "iiot",
        "entity": "press",
        "metric": "temperature",
        "time": DAY.isoformat(),
        "since": DAY.isoformat(),
        "until": (DAY + dt.timedelta(hours=1)).isoformat(),
        "number": "0",
        "text": "x",
        "reason": "x",
        "version": "1",
        "name": "x",
        "alert": "x",
        "ml:read": "yes",
        "token": token,
    }
    found = []
    for path, names in forms.items():
        for name, text in product(names, [*TEXTS, *MOMENTS]):
            said = {**{one: usual[one] for one in (*names, "token", "ml:read") if one in usual}}
            body = "&".join(f"{quote(n)}={encoded(t)}" for n, t in {**said, name: text}.items())
            answer = known.post(
                f"/console/{path}",
                content=body,
                headers={"content-type": "application/x-www-form-urlencoded"},
                follow_redirects=False,
            )
            if answer.status_code >= 500:
                found.append(f"{path} {name}={text[:20]!r}: {answer.status_code}")
    assert found == []


def test_cookies_that_are_no_sessions(
    stranger: TestClient, new_key: Callable[..., str], platform: Platform
) -> None:
    prefix = new_key().partition(".")[0]
    soon = int(dt.datetime.now(dt.UTC).timestamp()) + 100
    cookies = [
        *(f"1.{prefix}.{when}.x.y" for when in (DIGITS, "²", "٣" * 12, "1" * 4_000, soon)),
        *(f"1.{prefix}.{soon}.x.{signature}" for signature in ("é", "\x7f", "=" * 1_000, "")),
        *(f"1.{name}.{soon}.x.y" for name in ("é", "%00", "a" * 9_000, "")),
        *("....", "1....", "é" * 100, "1.2.3.4.5.6"),
    ]
    for one in cookies:
        answer = stranger.get(
            "/console",
            headers={"cookie": f"{COOKIE}={one}".encode()},
            follow_redirects=False,
        )
        assert answer.status_code == 303, one[:80]


@pytest.mark.parametrize("origin", ["http://[", "http://[::1", "null", "é", "http://\u2100", ""])
def test_origins_that_are_none(stranger: TestClient, origin: str) -> None:
    answer = stranger.post(
        "/console/log-in", data={"key": "x"}, headers={"origin": origin.encode()}
    )
    assert answer.status_code in (401, 403)
