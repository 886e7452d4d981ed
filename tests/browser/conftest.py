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

from tests.browser.firefox import write_launcher
from tests.builders.console import (
    DAY,
    MARKUP,
    add_readings,
    add_scan,
    add_version,
    refuse_row,
)
from tests.builders.waiting import free_port
from tests.conftest import copy_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

    from anomaly_platform.platform import Platform
    from anomaly_platform.storage.postgres.embedded import EmbeddedPostgres

_PROGRAMS = {
    "chromium": ("chromium", "chromium-browser", "google-chrome"),
    "firefox": ("firefox-esr", "firefox"),
}


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
    platform.warehouse.partitions.publish(
        "iiot", "features", "2026-11-27", path="p", rows=2_000, watermark=1
    )
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


def allow_eval(app: Any) -> Any:
    """Serve pages whose policy allows what Playwright does to each in Firefox."""

    async def lenient(scope: Any, receive: Any, send: Any) -> None:
        async def told(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    (name, value.replace(b"script-src", b"script-src 'unsafe-eval'"))
                    for name, value in message["headers"]
                ]
            await send(message)

        await app(scope, receive, told)

    return lenient


@pytest.fixture(scope="module")
def console(
    engine: str,
    postgres_server: EmbeddedPostgres,
    migrated_template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Console]:
    """A console with some data, served over HTTP, for one of the browsers."""
    import uvicorn

    from anomaly_platform.console.app import create_app
    from anomaly_platform.platform import Platform
    from anomaly_platform.settings import get_settings
    from anomaly_platform.storage.tables.api_keys import SCOPES

    home = tmp_path_factory.mktemp("console")
    with (
        copy_of(postgres_server, migrated_template) as url,
        contextlib.closing(Platform(get_settings(home=home, database_url=url))) as platform,
    ):
        fill(platform)
        port = free_port()
        app = create_app(platform)
        served = allow_eval(app) if engine == "firefox" else app
        server = uvicorn.Server(uvicorn.Config(served, port=port, log_level="warning", ws="none"))
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


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Try each page and button in both browsers, but for what only Chromium can be asked."""
    if "engine" in metafunc.fixturenames:
        alone = metafunc.definition.get_closest_marker("chromium") is not None
        names = ["chromium"] if alone else list(_PROGRAMS)
        metafunc.parametrize("engine", names, indirect=True, scope="module")


@pytest.fixture(scope="module")
def engine(request: pytest.FixtureRequest) -> str:
    """The name of the browser."""
    return str(request.param)


@pytest.fixture(scope="module")
def browser(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    playwright = pytest.importorskip("playwright.sync_api")
    program = next(filter(None, map(shutil.which, _PROGRAMS[engine])), None)
    if program is None:
        pytest.skip(f"needs {engine}: install the Debian package {_PROGRAMS[engine][0]}")
    with playwright.sync_playwright() as driver:
        if engine == "chromium":
            opened = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        else:
            launcher = write_launcher(program, tmp_path_factory.mktemp("firefox"))
            opened = driver.firefox.launch(executable_path=launcher, channel="moz-firefox")
        yield opened
        opened.close()


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
def visit(browser: Browser, console: Console) -> Iterator[Visit]:
    """Open a window in which somebody is logged in; whatever a page complains about is an error."""
    opened: list[tuple[BrowserContext, Visitor]] = []

    def open_window(who: str = "admin", **options: Any) -> Visitor:
        context = browser.new_context(**{"viewport": {"width": 1440, "height": 900}, **options})
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
