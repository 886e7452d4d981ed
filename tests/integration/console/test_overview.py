"""The first page says what works, what is wrong, what is quiet, and what serves."""

from __future__ import annotations

import datetime as dt
import re

import pytest
from starlette.testclient import TestClient

from anomaly_platform.platform import Platform
from tests.builders.console import (
    DAY,
    MARKUP,
    add_readings,
    add_scan,
    add_version,
    refuse_row,
    token_of,
)

pytestmark = pytest.mark.integration

HOUR = dt.timedelta(hours=1)


def section(text: str, name: str) -> str:
    """Return what a page shows under a heading."""
    return text[text.index(f'aria-labelledby="{name}"') :].partition("</section>")[0]


def test_an_empty_platform_says_so(browser: TestClient) -> None:
    text = browser.get("/console").text
    assert "nothing yet" in section(text, "works")
    assert "Nothing has been scored yet." in section(text, "wrong")
    assert "the statistical fallback serves" in section(text, "models")


def test_the_worst_comes_first_with_what_is_behind_it(
    platform: Platform, browser: TestClient
) -> None:
    add_readings(platform, "press-1", "flow", [1.0] * 30, flagged=[3, 9], causes=["flow", "heat"])
    add_readings(platform, "press-2", "flow", [1.0] * 30, flagged=[29])
    add_scan(platform, "code-1", explanation="653 km/h in a straight line", place_name="Suwon")
    add_version(platform, 3, reason="no worse than version 2")
    refuse_row(platform, source="bad.csv", reason="not a number")
    text = browser.get("/console").text
    wrong = section(text, "wrong")
    assert wrong.index("press-1") < wrong.index("press-2")
    assert "flow, heat" in wrong
    assert "653 km/h in a straight line" in wrong
    assert "not a number" in section(text, "works")
    assert "bad.csv" in section(text, "works")
    assert "no worse than version 2" in section(text, "models")
    assert "http://127.0.0.1:3000/assets/iiot/scored_events" in wrong
    assert "http://127.0.0.1:5000/#/models/iiot.isolation_forest" in section(text, "models")
    assert "FROM quarantine" in section(text, "works")


def test_silent_is_ten_usual_intervals_before_the_streams_newest_reading(
    platform: Platform, browser: TestClient
) -> None:
    add_readings(platform, "clock", "beat", [1.0, 2.0] * 24, step=HOUR)
    late = DAY + 47 * HOUR
    add_readings(platform, "goes-on", "m", [1.0, 2.0] * 6, start=late - 20 * HOUR, step=HOUR)
    add_readings(platform, "ended", "m", [1.0, 2.0] * 12, start=late - 40 * HOUR, step=HOUR)
    quiet = section(browser.get("/console").text, "quiet")
    assert "ended" in quiet  # 17 hours before the newest
    assert "goes-on" not in quiet  # 9 hours before it
    assert "a reading every 60 min" in quiet or "a reading every 1 h" in quiet


def test_stuck_is_one_value_for_longer_than_ever_in_the_28_days_before(
    platform: Platform, browser: TestClient
) -> None:
    moving = [float(n % 7) for n in range(60)]
    add_readings(platform, "stuck", "m", [*moving, *[5.0] * 12], step=HOUR)
    add_readings(platform, "always", "m", [5.0] * 72, step=HOUR)
    plateaus = [*[1.0] * 20, *moving[:40], *[2.0] * 12]
    add_readings(platform, "rests-often", "m", plateaus, step=HOUR)
    quiet = section(browser.get("/console").text, "quiet")
    assert re.findall(r">(stuck|always|rests-often)</a></td>", quiet) == ["stuck"]
    assert "5 for 11 h; at most 0 s before" in quiet


def test_a_mark_takes_two_clicks_and_is_taken_back_with_one(
    platform: Platform, browser: TestClient
) -> None:
    (when,) = add_readings(platform, "press-1", "flow", [1.0], flagged=[0])
    form = {
        "token": token_of(browser),
        "stream": "iiot",
        "entity": "press-1",
        "metric": "flow",
        "time": when.isoformat(),
        "back": "/console",
    }
    page = browser.post("/console/marks", data={**form, "mark": "wrong"})
    assert page.url.path == "/console"
    assert "marked wrong" in page.text
    (label,) = platform.warehouse.labels.newest("iiot")
    assert (label.is_anomaly, label.event_time) == (False, when)
    assert label.labelled_by.startswith("night shift (")
    back = {"token": form["token"], "label": str(label.id), "back": "/console"}
    page = browser.post("/console/marks/take-back", data=back)
    assert "marked wrong" not in section(page.text, "wrong")
    assert platform.warehouse.labels.newest("iiot") == []
    noted = platform.warehouse.transactions.tuples("SELECT action FROM audit_log ORDER BY id")
    assert [row[0] for row in noted][-2:] == ["feedback.add", "feedback.take_back"]
    assert browser.post("/console/marks/take-back", data=back).status_code == 404
    wrong = {**form, "time": "2026-11-27T00:00:01Z", "mark": "right"}
    assert browser.post("/console/marks", data=wrong).status_code == 404


def test_what_has_not_changed_is_not_sent_again(platform: Platform, browser: TestClient) -> None:
    add_readings(platform, "press-1", "flow", [1.0] * 30, flagged=[3])
    part = browser.get("/console", headers={"x-part": "live"})
    assert part.text.lstrip().startswith("<section")
    again = {"x-part": "live", "if-none-match": part.headers["etag"]}
    answer = browser.get("/console", headers=again)
    assert (answer.status_code, answer.text) == (304, "")
    add_readings(platform, "press-2", "flow", [1.0] * 30, flagged=[3])
    assert "press-2" in browser.get("/console", headers=again).text


def test_no_name_that_somebody_may_choose_is_markup(
    platform: Platform, browser: TestClient
) -> None:
    add_readings(platform, MARKUP, MARKUP, [1.0], flagged=[0], causes=[MARKUP])
    add_scan(platform, MARKUP, place=MARKUP, product_name=MARKUP, explanation=MARKUP)
    add_version(platform, 1, detector=MARKUP, reason=MARKUP)
    refuse_row(platform, source=MARKUP, reason=MARKUP)
    text = browser.get("/console").text
    assert "onerror" in text
    assert "<img" not in text
    assert "window.hacked=2</script>" not in text
