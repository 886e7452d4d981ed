"""Somebody who has never seen the console does what the night shift does, by what the pages say."""

from __future__ import annotations

import datetime as dt
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from anomaly_platform.assets.raw import ingest_files
from tests.builders.console import add_readings

if TYPE_CHECKING:
    from conftest import Console, Visit

    from anomaly_platform.platform import Platform

pytestmark = pytest.mark.browser

MOST_CLICKS = {
    "find the worst of the last day": 0,
    "say why": 0,
    "mark a false alarm": 1,
    "see what the model was trained on": 1,
    "roll it back": 1,
    "follow a pallet": 1,
    "put in a file": 3,
    "see its rows": 0,
}


def serve_two_versions(platform: Platform) -> None:
    """Have version 2 serve, and version 1 before it."""
    platform.warehouse.transactions.execute("UPDATE bundles SET path = 'models/' || version")
    for number in (1, 2):
        folder = Path(platform.settings.lake_url) / f"models/{number}"
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text("{}")
    iiot = platform.stream("iiot")
    platform.model_sets.put_into_service(iiot, 2, "better at drifts", overrule=False)


def take_in(platform: Platform, day: dt.datetime) -> None:
    """Take in what waits as the daemon does, and score its readings."""
    iiot = platform.stream("iiot")
    now = day + dt.timedelta(days=1)
    assert ingest_files(platform, iiot, platform.landing.waiting("iiot"), now).failed == {}
    add_readings(platform, "press-9", "heat", [1.5, 1.6, 99.0], start=day, flagged=[2])


def test_each_thing_is_found_from_the_first_page(visit: Visit, console: Console) -> None:
    serve_two_versions(console.platform)
    somebody = visit()
    page = somebody.page
    began = time.monotonic()
    clicks: dict[str, int] = {}

    # The worst of the last day, and why, are on the first page.
    wrong = page.get_by_label("What is wrong now?")
    row = wrong.locator("tr", has_text="press-1")
    assert "the worst first" in wrong.inner_text()
    assert "because of flow, heat" in row.inner_text()
    clicks |= {"find the worst of the last day": 0, "say why": 0}

    row.get_by_role("button", name="False alarm").click()
    page.get_by_text(re.compile("press-1 flow, .*, is marked a false alarm")).wait_for()
    clicks["mark a false alarm"] = 1

    models = page.get_by_label("Which model serves?")
    models.get_by_role("link", name="isolation_forest 2").click()
    page.get_by_role("heading", name="What it was trained on").wait_for()
    assert re.search(r"Data\s+30 Oct", page.get_by_label("What it was trained on").inner_text())
    clicks["see what the model was trained on"] = 1

    page.get_by_label("Why iiot is rolled back").fill("too loud")
    page.get_by_role("button", name="Roll back to 1").click()
    page.get_by_text("isolation_forest 1 is in service").wait_for()
    clicks["roll it back"] = 1

    page.get_by_role("link", name="Overview").click()
    page.get_by_label("What is wrong now?").get_by_role("link", name="code-1").click()
    page.get_by_role("heading", name="Over places").wait_for()
    assert page.get_by_label("Scans in order").locator("tbody tr").count() == 2
    clicks["follow a pallet"] = 1

    page.get_by_role("link", name="Data").click()
    page.get_by_label("Stream").select_option("iiot")
    page.wait_for_url("**stream=iiot")
    day = dt.datetime(2026, 11, 28, tzinfo=dt.UTC)
    text = "device_id,metric_name,timestamp,value\n" + "".join(
        f"press-9,heat,{(day + n * dt.timedelta(minutes=5)).isoformat()},{value}\n"
        for n, value in enumerate((1.5, 1.6, 99.0))
    )
    file = {"name": "mine.csv", "mimeType": "text/csv", "buffer": text.encode()}
    page.locator("input[type=file]").set_input_files(file)
    page.get_by_role("button", name="Take it in").click()
    page.get_by_role("heading", name="It waits").wait_for()
    clicks["put in a file"] = 3

    take_in(console.platform, day)
    page.get_by_text("3 of the first 3 are scored, 1 flagged").wait_for()
    rows = page.get_by_label("Its rows").locator("tbody tr")
    assert [one.inner_text().split()[0] for one in rows.all()] == ["3", "1", "2"]
    assert "flagged" in rows.first.inner_text()
    clicks["see its rows"] = 0

    assert clicks == MOST_CLICKS
    assert time.monotonic() - began < 60
