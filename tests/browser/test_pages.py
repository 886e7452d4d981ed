"""Every page in a real browser: nothing is blocked, nothing is run, everybody can read it."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from anomaly_platform.assets.raw import ingest_files
from anomaly_platform.streams import IIOT
from tests.builders.console import DAY, MARKUP
from tests.builders.platforms import drop_into

if TYPE_CHECKING:
    from conftest import Console, Visit

    from anomaly_platform.platform import Platform

pytestmark = pytest.mark.browser

BAD = quote(MARKUP)
PAGES = {
    "overview": "/console",
    "explorer": "/console/explorer?stream=iiot",
    "places": "/console/explorer?stream=barcode",
    "rows": "/console/explorer/rows?stream=iiot&lane=press-1&range=28+days",
    "entity": f"/console/entity?stream=iiot&entity={BAD}",
    "series": "/console/series?stream=iiot&entity=press-1&metric=flow",
    "bad-series": f"/console/series?stream=iiot&entity={BAD}&metric={BAD}",
    "alerts": "/console/alerts?state=all",
    "alert": f"/console/alerts/one?alert={BAD}",
    "journeys": "/console/journey",
    "journey": "/console/journey?code=code-1",
    "bad-journey": f"/console/journey?code={BAD}",
    "models": "/console/models?stream=iiot&a=1&b=2",
    "version": "/console/models/version?stream=iiot&detector=isolation_forest&number=2",
    "data": "/console/data?stream=iiot",
    "file": "/console/data/file?stream=iiot&source=rows.csv",
    "keys": "/console/keys",
}
LOOKS = {
    "wide-light": {"color_scheme": "light"},
    "narrow-dark": {"color_scheme": "dark", "viewport": {"width": 390, "height": 844}},
    "wide-dark": {"color_scheme": "dark"},
    "narrow-light": {"color_scheme": "light", "viewport": {"width": 390, "height": 844}},
}
#: The innermost elements beyond the right edge of a page that can be scrolled sideways.
TOO_WIDE = """
(() => {
    const edge = window.innerWidth;
    if (document.documentElement.scrollWidth <= edge) return [];
    const scrolls = e =>
        e && (getComputedStyle(e).overflowX !== "visible" || scrolls(e.parentElement));
    const beyond = e => e.getBoundingClientRect().right > edge && !scrolls(e.parentElement);
    return [...document.querySelectorAll("body *")]
        .filter(e => beyond(e) && ![...e.children].some(beyond))
        .map(e => e.outerHTML.slice(0, 160));
})()
"""
RULES = json.dumps({"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]})


def take_file_in(platform: Platform) -> None:
    """Have a file with names that nobody should choose."""
    rows = "".join(f"press-{n},'{MARKUP}',2026-11-27T00:0{n}:00Z,{n}\n" for n in (1, 2))
    content = f"device_id,metric_name,timestamp,value\n{rows}"
    drop_into(platform, IIOT, "rows.csv", content)
    waiting = platform.landing.waiting("iiot")
    assert ingest_files(platform, IIOT, waiting, DAY + dt.timedelta(days=1)).failed == {}


@pytest.mark.parametrize("look", LOOKS)
def test_every_page_is_whole_readable_and_runs_no_name(
    visit: Visit, console: Console, axe: str, look: str
) -> None:
    """Script that is blocked, an error or a request to another host fails in `visit`."""
    somebody = visit(**LOOKS[look])
    take_file_in(console.platform)
    found = {}
    for name, path in PAGES.items():
        page = somebody.go(path)
        page.wait_for_load_state("networkidle")
        assert page.locator("h1").count() == 1, name
        assert page.evaluate("window.hacked") is None, name
        assert page.evaluate(TOO_WIDE) == [], name
        # Evaluated by the debugger, which the page's policy does not bind.
        page.evaluate(axe)
        said = page.evaluate(f"axe.run(document, {RULES})")
        grave = [one for one in said["violations"] if one["impact"] in ("serious", "critical")]
        found |= {
            f"{name}: {one['id']}": [node["html"][:160] for node in one["nodes"][:3]]
            for one in grave
        }
    assert found == {}


@pytest.mark.chromium
def test_the_policy_stops_a_script_that_got_into_a_page(visit: Visit) -> None:
    somebody = visit()
    somebody.page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "window.hacked = 3";
            document.body.append(script);
            const image = '<img src="x:" onerror="window.hacked = 4">';
            document.body.insertAdjacentHTML("beforeend", image);
        }"""
    )
    somebody.page.wait_for_timeout(300)
    assert somebody.page.evaluate("window.hacked") is None
    assert any("Content Security Policy" in one for one in somebody.wrong)
    somebody.wrong.clear()


def test_without_the_libraries_pages_work_and_say_what_is_missing(
    visit: Visit, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    from anomaly_platform.console import files

    for name in files.LIBRARIES:
        monkeypatch.setitem(files.LIBRARIES, name, files.LIBRARIES[name].with_name("gone"))
    somebody = visit()
    page = somebody.go(PAGES["series"])
    assert "Not installed: htmx.min.js, uPlot.iife.min.js, uPlot.min.css" in page.inner_text("main")
    assert "Charts are not drawn" in page.inner_text("main")
    somebody.press("Right")
    page.get_by_text("marked right").first.wait_for()
    somebody.press("Undo")
    page.get_by_text("is taken back").wait_for()
    assert console.platform.warehouse.labels.newest("iiot") == []


@pytest.mark.chromium
def test_without_javascript_pages_and_buttons_work(visit: Visit, console: Console) -> None:
    somebody = visit(java_script_enabled=False)
    page = somebody.go(PAGES["series"])
    somebody.press("False alarm")
    assert "marked a false alarm" in page.inner_text("main")
    somebody.press("Undo")
    assert console.platform.warehouse.labels.newest("iiot") == []


def test_a_reader_sees_everything_and_no_button_but_those_of_the_page(visit: Visit) -> None:
    somebody = visit("reader")
    for name, path in PAGES.items():
        if name != "keys":
            page = somebody.go(path)
            assert page.locator("form[method=post]").count() == 1, name  # the log-out
    assert somebody.page.locator("nav a", has_text="Keys").count() == 0
    somebody.go("/console/keys")
    assert "lacks the scope ml:admin" in somebody.page.inner_text("main")
    somebody.wrong.clear()  # the status of that page
    somebody.press("Log out")
    somebody.page.wait_for_url("**/console/log-in")
    somebody.go("/console/alerts")
    assert "/console/log-in?next=%2Fconsole%2Falerts" in somebody.page.url


def test_keys_lead_to_pages_and_the_theme_stays(visit: Visit) -> None:
    somebody = visit()
    page = somebody.page
    page.keyboard.press("g")
    page.keyboard.press("e")
    page.wait_for_url("**/console/explorer")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "To the content"
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_label("Turn light and dark").click()
    after = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert before != after
    page.reload()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == after
