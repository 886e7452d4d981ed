"""The console over HTTP, and a real browser that looks at it."""

from __future__ import annotations

import contextlib
import datetime as dt
import random
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.builders.console import (
    DAY,
    MARKUP,
    add_readings,
    add_scan,
    add_version,
    refuse_row,
)
from tests.builders.waiting import free_port

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

    from anomaly_platform.platform import Platform

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@dataclass
class Console:
    """A console that runs, and the platform behind it."""

    url: str
    platform: Platform
    keys: dict[str, str] = field(default_factory=dict)


def fill(platform: Platform) -> None:
    """Store a week of readings with a peak, a journey, an alert, a version, and bad names."""
    rng = random.Random(3)
    values = [50 + rng.gauss(0, 2) for _ in range(2_016)]
    values[1_900] = 120.0
    add_readings(platform, "press-1", "flow", values, flagged=[1_900], causes=["flow", "heat"])
    late = DAY + dt.timedelta(days=6, hours=6)
    add_readings(platform, "press-2", "flow", values[:200], flagged=[40, 41], start=late)
    add_readings(platform, MARKUP, MARKUP, [1.0, 2.0, 3.0], flagged=[1], causes=[MARKUP])
    for n, (place, latitude, longitude) in enumerate((("A", 36.0, 128.0), ("B", 37.5, 127.0))):
        where = {"place": place, "latitude": latitude, "longitude": longitude}
        add_scan(platform, "code-1", DAY.replace(hour=6 + n), **where, product_name=MARKUP)
    add_scan(platform, MARKUP, place=MARKUP, place_name=MARKUP, explanation=MARKUP)
    add_version(platform, 1)
    add_version(platform, 2, reason=MARKUP, serves=False)
    refuse_row(platform, source=MARKUP, reason=MARKUP)
    with platform.warehouse.transactions.begin() as connection:
        for fingerprint in ("run failed", MARKUP):
            connection.execute(
                "SELECT raise_alert(%(f)s, 'run_failed', 'iiot', %(f)s, 'critical', %(f)s, "
                "'{}', 'r1', '1 hour', true)",
                {"f": fingerprint},
            )


@pytest.fixture(scope="module")
def console(
    module_database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Console]:
    """A console with some data, served over HTTP."""
    import uvicorn

    from anomaly_platform.console.app import create_app
    from anomaly_platform.platform import Platform
    from anomaly_platform.settings import get_settings
    from anomaly_platform.storage.tables.api_keys import SCOPES

    settings = get_settings(
        home=tmp_path_factory.mktemp("console"), database_url=module_database_url
    )
    with contextlib.closing(Platform(settings)) as platform:
        fill(platform)
        port = free_port()
        server = uvicorn.Server(
            uvicorn.Config(create_app(platform), port=port, log_level="warning", ws="none")
        )
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.05)
        found = Console(f"http://127.0.0.1:{port}", platform)
        for name, scopes in (("admin", SCOPES), ("reader", ["ml:read"])):
            _, key = platform.warehouse.api_keys.create(name, scopes, created_by="test")
            found.keys[name] = key
        yield found
        server.should_exit = True
        thread.join(20)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    playwright = pytest.importorskip("playwright.sync_api")
    program = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if program is None:
        pytest.skip("needs chromium: install the Debian package chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class Visitor:
    """Somebody in front of a browser, and what went wrong on the pages that they saw."""

    page: Page
    url: str
    wrong: list[str]

    def go(self, path: str) -> Page:
        self.page.goto(self.url + path)
        return self.page

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).first.click()


Visit = Callable[..., Visitor]


@pytest.fixture
def visit(chromium: Browser, console: Console) -> Iterator[Visit]:
    """Open a window in which somebody is logged in; whatever a page complains about is an error."""
    opened: list[tuple[BrowserContext, Visitor]] = []

    def open_window(who: str = "admin", **options: Any) -> Visitor:
        context = chromium.new_context(**{"viewport": {"width": 1440, "height": 900}, **options})
        context.set_default_timeout(30_000)
        page = context.new_page()
        visitor = Visitor(page, console.url, [])
        page.on(
            "console",
            lambda said: visitor.wrong.append(said.text) if said.type == "error" else None,
        )
        page.on("pageerror", lambda error: visitor.wrong.append(str(error)))
        page.on("dialog", lambda dialog: visitor.wrong.append(f"dialog {dialog.message}"))
        page.on(
            "request",
            lambda asked: (
                None
                if asked.url.startswith((console.url, "blob:", "data:"))
                else visitor.wrong.append(f"another host: {asked.url}")
            ),
        )
        if who:
            visitor.go("/console/log-in")
            page.fill("input[name=key]", console.keys[who])
            visitor.press("Log in")
            page.wait_for_url(f"{console.url}/console")
        opened.append((context, visitor))
        return visitor

    yield open_window
    for context, visitor in opened:
        context.close()
        assert visitor.wrong == []


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core, from npm; kept between runs."""
    from hatch_build import Library, fetch

    folder = Path(__file__).parents[2] / ".cache" / "axe-core"
    kit = Library(
        "axe-core",
        "4.14.1",
        "sha512-FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==",
        ("axe.min.js", "LICENSE"),
    )
    try:
        fetch(kit, folder)
    except OSError as error:
        pytest.skip(f"axe-core is not to be had: {error}")
    return (folder / "axe.min.js").read_text()
