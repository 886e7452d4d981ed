"""What people press in a real browser, and what becomes of it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.builders.models import register
from tests.builders.waiting import wait_until

if TYPE_CHECKING:
    from conftest import Console, Visit

pytestmark = pytest.mark.browser

SERIES = "/console/series?stream=iiot&entity=press-1&metric=flow"


def drawn(visitor: object, path: str = SERIES) -> object:
    """Open a series and wait until it is drawn."""
    page = visitor.go(path)  # type: ignore[attr-defined]
    page.locator('[data-part="series"][data-drawn]').wait_for()
    return page


def position_of(page: object, which: int) -> tuple[float, float]:
    """Return where a reading of the week is on the chart of values."""
    box = page.locator("[data-values] .u-over").bounding_box()  # type: ignore[attr-defined]
    return box["x"] + box["width"] * (which + 1) / 2_016, box["y"] + box["height"] / 2


def test_a_flagged_point_says_why_and_is_marked_in_two_clicks(
    visit: Visit, console: Console
) -> None:
    somebody = visit()
    page = drawn(somebody)
    x, y = position_of(page, 1_900)
    page.mouse.move(x, y)
    page.locator(".hover").wait_for()
    said = page.locator(".hover").inner_text()
    assert "because of flow, heat" in said
    assert "expected" in said
    page.mouse.click(x, y)
    began = time.monotonic()
    page.locator(".picked").get_by_role("button", name="False alarm").click()
    page.get_by_text("is marked a false alarm").wait_for()
    assert time.monotonic() - began < 5
    (label,) = console.platform.warehouse.labels.newest("iiot")
    assert (label.entity, label.is_anomaly) == ("press-1", False)
    assert label.labelled_by.startswith("admin (")
    # The chart is drawn again, with the mark.
    page.locator('[data-part="series"][data-drawn]').wait_for()
    somebody.press("Undo")
    page.get_by_text("is taken back").wait_for()
    assert console.platform.warehouse.labels.newest("iiot") == []


def test_a_button_that_does_nothing_says_so(visit: Visit, console: Console) -> None:
    somebody = visit()
    page = drawn(somebody)
    page.route("**/console/marks", lambda route: route.abort())
    somebody.press("False alarm")
    page.get_by_text("The platform does not answer: nothing was done.").wait_for()
    page.unroute("**/console/marks")
    page.route("**/console/marks", lambda route: route.fulfill(status=502, body="bad gateway"))
    somebody.press("False alarm")
    page.get_by_text("answered with an error (502)").wait_for()
    assert page.url.endswith(SERIES)
    page.unroute("**/console/marks")
    page.context.clear_cookies()
    somebody.press("False alarm")
    page.get_by_text("Your session has ended; what you pressed after that was not done").wait_for()
    page.fill("input[name=key]", console.keys["admin"])
    somebody.press("Log in")
    page.wait_for_url(f"{console.url}{SERIES}")
    assert console.platform.warehouse.labels.newest("iiot") == []
    somebody.wrong.clear()  # the errors that were provoked


def test_zoom_loads_detail_and_the_address_shows_it(visit: Visit) -> None:
    somebody = visit()
    page = drawn(somebody)
    before = int(page.locator("[data-drawn]").get_attribute("data-drawn"))
    page.mouse.click(*position_of(page, 1_900))
    page.locator(".picked").wait_for()
    (left, y), (right, _) = position_of(page, 1_800), position_of(page, 2_000)
    page.mouse.move(left, y)
    page.mouse.down()
    page.mouse.move(right, y, steps=4)
    page.mouse.up()
    wait_until(lambda: "since=" in page.evaluate("location.search"), 20)
    chart = page.locator("[data-drawn]")
    wait_until(lambda: int(chart.get_attribute("data-drawn")) < before, 20)
    near = int(chart.get_attribute("data-drawn"))
    assert 180 <= near <= 220
    # What stands around the charts is about the same span.
    page.locator("[aria-label='Span of time'] .chosen").wait_for(state="detached")
    assert page.inner_text("[data-span]").startswith("03 Dec 0")
    assert page.locator("[data-flagged] tbody tr").count() == 1
    assert not page.locator(".picked").is_visible()
    address = page.evaluate("location.href")
    # Back is the whole span, however often somebody has zoomed; forward what was zoomed to.
    somebody.press("Closer")
    wait_until(lambda: page.evaluate("location.href") != address, 20)
    # A zoom loads no page, so that going back ends with no event that could be waited for.
    page.evaluate("history.back()")
    wait_until(lambda: int(chart.get_attribute("data-drawn")) == before, 20)
    assert "since=" not in page.evaluate("location.search")
    page.evaluate("history.forward()")
    wait_until(lambda: "since=" in page.evaluate("location.search"), 20)
    # The address is there before the span is.
    wait_until(lambda: int(chart.get_attribute("data-drawn")) < near, 20)
    somebody.press("Further")
    wait_until(lambda: int(chart.get_attribute("data-drawn")) == near, 20)
    # What somebody else sees who is sent the address.
    other = visit("reader")
    page = drawn(other, address.removeprefix(other.url))
    assert int(page.locator("[data-drawn]").get_attribute("data-drawn")) == near
    # One crosshair over both charts.
    x, y = position_of(page, 1_000)
    page.mouse.move(x, y)
    lines = page.locator(".u-cursor-x")
    places = [lines.nth(n).evaluate("e => e.style.transform") for n in range(2)]
    assert places[0] == places[1] != ""


@pytest.mark.chromium
def test_what_is_shown_can_be_taken_away(visit: Visit, tmp_path: Path) -> None:
    somebody = visit()
    page = drawn(somebody)
    with page.expect_download() as csv:
        page.get_by_text("CSV").click()
    csv.value.save_as(tmp_path / "a.csv")
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 2_017
    with page.expect_download() as png:
        somebody.press("PNG")
    png.value.save_as(tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_one_person_sees_what_another_does(visit: Visit, console: Console) -> None:
    one, other = visit(), visit()
    row = "tr:has-text('press-2')"
    other.go("/console")
    one.go("/console")
    one.page.locator(row).get_by_role("button", name="Right").first.click()
    one.page.locator(row).get_by_text("marked right").wait_for()
    other.page.locator(row).get_by_text("marked right").wait_for(timeout=15_000)
    other.page.locator(row).get_by_role("button", name="Undo").click()
    other.page.get_by_text("is taken back").wait_for()
    one.page.locator(row).get_by_role("button", name="Right").first.wait_for(timeout=15_000)
    assert console.platform.warehouse.labels.newest("iiot") == []


def test_an_alert_is_triaged(visit: Visit) -> None:
    somebody = visit()
    page = somebody.go("/console/alerts")
    row = page.locator("tr", has_text="run failed")
    row.get_by_role("button", name="Acknowledge").click()
    page.get_by_text("You look after run failed").wait_for()
    page.locator("tr", has_text="run failed").get_by_role("link").first.click()
    page.get_by_label("Comment").fill("the disk is full")
    somebody.press("Note it")
    page.get_by_text("the disk is full").wait_for()
    page.get_by_label("Why it is over").fill("cleaned")
    page.locator("form", has_text="Why it is over").get_by_role("button").click()
    page.get_by_text("is resolved").wait_for()


def test_versions_are_decided_about_and_trainings_followed(visit: Visit, console: Console) -> None:
    platform = console.platform
    platform.warehouse.transactions.execute("UPDATE bundles SET path = 'models/' || version")
    for number in (1, 2):
        folder = Path(platform.settings.lake_url) / f"models/{number}"
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text("{}")
    somebody = visit()
    page = somebody.go("/console/models?stream=iiot")
    somebody.press("Compare A and B")
    assert page.evaluate("document.activeElement.name") == "a"
    page.locator("summary", has_text="Promote").click()
    page.get_by_label("Why version 2 is promoted").fill("tried in the field")
    page.get_by_role("button", name="Promote", exact=True).click()
    page.get_by_text("isolation_forest 2 is in service").wait_for()
    page = somebody.go("/console/models?stream=iiot")
    page.get_by_label("Why iiot is rolled back").fill("too loud")
    somebody.press("Roll back to 1")
    page.get_by_text("isolation_forest 1 is in service").wait_for()
    page.get_by_label("Entity").fill("press-1")
    somebody.press("Ask for a training")
    page.get_by_text("it waits for the daemon").wait_for()
    (claimed,) = platform.warehouse.training_requests.claim("iiot")
    page.locator("dd", has_text="it waits").wait_for(state="detached", timeout=15_000)
    assert claimed.batch is not None
    version = register(platform.warehouse, "iiot")
    platform.warehouse.training_requests.finish(
        claimed.batch,
        status="done",
        outcome="it serves now",
        detector="isolation_forest",
        version=version,
    )
    page.get_by_text("it serves now").wait_for(timeout=15_000)
    page.locator(".live").wait_for(state="detached")


def test_a_file_is_dropped_looked_at_and_taken(visit: Visit, console: Console) -> None:
    somebody = visit()
    page = somebody.go("/console/data?stream=iiot")
    page.evaluate(
        """() => {
            const dropped = new DataTransfer();
            const rows = "device_id,metric_name,timestamp,value\\n"
                + "press-9,heat,2026-11-27T00:00:00Z,1.5\\n";
            dropped.items.add(new File([rows], "dropped.csv"));
            document.querySelector(".drop").dispatchEvent(
                new DragEvent("drop", { dataTransfer: dropped, bubbles: true, cancelable: true }));
        }"""
    )
    page.get_by_text("press-9").first.wait_for()
    assert "the entity" in page.inner_text("[data-preview]")
    assert console.platform.landing.waiting("iiot") == []
    somebody.press("Take it in")
    page.get_by_text("dropped.csv is in landing").wait_for()
    page.get_by_text("A running platform takes it in within a minute").wait_for()
    assert [one.name for one in console.platform.landing.waiting("iiot")] == ["dropped.csv"]


def test_a_key_is_made_and_revoked(visit: Visit) -> None:
    somebody = visit()
    page = somebody.go("/console/keys")
    page.get_by_label("Whose it is").fill("the late shift")
    somebody.press("Make it")
    made = page.locator("[data-made]").inner_text()
    page.evaluate("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
    somebody.press("Copy")
    page.get_by_role("button", name="Copied").wait_for()
    assert page.evaluate("window.copied") == made
    row = page.locator("tr", has_text="the late shift")
    row.locator("summary", has_text="Revoke").click()
    row.get_by_role("button", name="Revoke for good").click()
    page.get_by_text("The key of the late shift is revoked").wait_for()
