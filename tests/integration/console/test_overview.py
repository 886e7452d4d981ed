"""The first page says what works, what is wrong, what is quiet, and what serves."""

from __future__ import annotations

import datetime as dt
import re

import pytest
from starlette.testclient import TestClient

from anomaly_platform.incidents.silence import tell_of_silence
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
LIVE = "0f0e0d0c-0000-4000-8000-000000000001"


def section(text: str, name: str) -> str:
    """Return what a page shows under a heading."""
    return text[text.index(f'aria-labelledby="{name}"') :].partition("</section>")[0]


def test_an_empty_platform_says_so(browser: TestClient) -> None:
    text = browser.get("/console").text
    assert "nothing yet" in section(text, "works")
    assert "Nothing has been scored yet." in section(text, "wrong")
    assert "the statistical fallback serves" in section(text, "models")
    assert "No alert is open." in browser.get("/console/alerts").text


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
    assert "/#/models/" not in text, "nobody has said that MLflow has pages"
    assert "FROM quarantine" in section(text, "works")


def test_silent_is_what_alerts_say(platform: Platform, browser: TestClient) -> None:
    for entity, days in (("clock", 6), ("ended", 4)):
        add_readings(platform, entity, "m", [1.0, 2.0] * 12 * days, step=HOUR)
    assert "No series." in section(browser.get("/console").text, "quiet")
    with platform.warehouse.transactions.begin() as connection:
        tell_of_silence(connection, platform.outbox, "iiot", "Devices", DAY)
    text = browser.get("/console").text
    quiet = section(text, "quiet")
    assert re.findall(r">(clock|ended)</a></td>", quiet) == ["ended"]
    assert "not heard since 2026-11-30 23:00 UTC, usual is every 60 min" in quiet
    assert "ended" not in section(text, "wrong")
    form = {"token": token_of(browser), "alert": "silent/iiot/ended", "back": "/console"}
    quiet = section(browser.post("/console/alerts/resolve", data=form).text, "quiet")
    assert re.findall(r">(clock|ended)</a></td>", quiet) == ["ended"]
    assert "its alert was resolved by night shift" in quiet
    platform.warehouse.transactions.execute(
        "UPDATE series SET last_event = last_event + interval '5 days' WHERE entity = 'ended'"
    )
    assert "No series." in section(browser.get("/console").text, "quiet")


def test_a_stream_that_nothing_comes_of_is_not_green(
    platform: Platform, browser: TestClient
) -> None:
    now = dt.datetime.now(dt.UTC)
    last = now - 21 * HOUR
    add_readings(platform, "press-1", "flow", [1.0], start=last)
    works = section(browser.get("/console").text, "works")
    assert "nothing new for 21 h</span>" in works
    for n in range(4 * 288):
        came = last - n * dt.timedelta(minutes=5)
        platform.warehouse.transactions.execute(
            "INSERT INTO ingest_ledger (stream, digest, source, status, ingest_date, ingested_at) "
            "VALUES ('iiot', %s, 'a.csv', 'ingested', %s, %s)",
            (str(n), came.date(), came),
        )
    with platform.warehouse.transactions.begin() as connection:
        tell_of_silence(connection, platform.outbox, "iiot", "Devices", now)
    form = {"token": token_of(browser), "alert": "silent stream/iiot", "back": "/console"}
    for text in (
        browser.get("/console").text,
        browser.post("/console/alerts/resolve", data=form).text,
    ):
        works = section(text, "works")
        assert "nothing new comes</span>" in works
        assert "usual is every 5 min</a>: nothing new for 21 h" in works
        assert "Devices: nothing new comes" in section(text, "quiet")
    add_readings(platform, "press-2", "flow", [1.0], start=now)
    platform.warehouse.transactions.execute(
        "INSERT INTO ingest_ledger (stream, digest, source, status, ingest_date) "
        "VALUES ('iiot', 'new', 'a.csv', 'ingested', current_date)"
    )
    with platform.warehouse.transactions.begin() as connection:
        tell_of_silence(connection, platform.outbox, "iiot", "Devices", now)
    text = browser.get("/console").text
    assert "nothing new" not in section(text, "works")
    assert "Devices" not in section(text, "quiet")


def test_stuck_is_what_reasons_say_until_another_value_comes(
    platform: Platform, browser: TestClient
) -> None:
    told = {"step": HOUR, "flagged": [20], "reason": "at 5 for 11 h, longest before 2 h"}
    add_readings(platform, "stuck", "m", [5.0] * 22, **told)
    add_readings(platform, "moved", "m", [*[5.0] * 21, 6.0], **told)
    add_readings(platform, "odd", "m", [5.0] * 22, **{**told, "reason": "5 is a step of 4"})
    quiet = section(browser.get("/console").text, "quiet")
    assert re.findall(r">(stuck|moved|odd)</a></td>", quiet) == ["stuck"]
    assert "at 5 for 11 h, longest before 2 h" in quiet


def test_why_is_the_reason_where_there_is_one_else_the_causes(
    platform: Platform, browser: TestClient
) -> None:
    flagged = {"flagged": [1], "causes": ["flow", "heat"]}
    add_readings(platform, "press-1", "flow", [1.0, 2.0], **flagged)
    why = "9 is 12 spreads from 1, the median of 96 readings"
    (_, when) = add_readings(platform, "press-2", "flow", [1.0, 9.0], reason=why, **flagged)
    for entity, said in (("press-1", "because of flow, heat"), ("press-2", why)):
        lane = {"lane": entity, "since": DAY.isoformat(), "until": (when + HOUR).isoformat()}
        named = {"stream": "iiot", "entity": entity, "metric": "flow"}
        for path, asked in (
            ("/console", {}),
            ("/console/entity", named),
            ("/console/series", named),
            ("/console/series/points", named),
            ("/console/explorer/rows", {"stream": "iiot", **lane}),
        ):
            assert said in browser.get(path, params=asked).text, path


def test_a_reading_given_in_real_time_says_why(platform: Platform, browser: TestClient) -> None:
    platform.warehouse.transactions.execute(
        "INSERT INTO online_readings (stream, event_id, entity, metric, event_time, value, score, "
        "is_anomaly, threshold, status, provisional, source) "
        "VALUES ('iiot', %(id)s, 'press-1', 'flow', %(time)s, 9, 0.9, true, 0.7, 'trained', false, "
        "'api')",
        {"id": LIVE, "time": DAY},
    )
    platform.warehouse.transactions.execute(
        "INSERT INTO anomaly_detections (id, stream, device_id, metric_name, value, score, "
        'anomaly_score, is_anomaly, confidence, "timestamp", metadata, source, event_id, '
        "threshold, day) VALUES (%(id)s, 'iiot', 'press-1', 'flow', 9, 0.9, -0.2, true, 0.2, "
        "%(time)s, '{\"reason\": \"9 is a step of 8\"}', 'realtime', %(id)s, 0.7, %(time)s)",
        {"id": LIVE, "time": DAY},
    )
    add_readings(platform, "press-1", "flow", [1.0], start=DAY - HOUR)
    named = {"stream": "iiot", "entity": "press-1", "metric": "flow"}
    for path in ("/console/series", "/console/series/points", "/console/series/readings.csv"):
        span = {"since": "2026-11-26T00:00:00Z", "until": "2026-11-28T00:00:00Z"}
        assert "9 is a step of 8" in browser.get(path, params={**named, **span}).text, path


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
    assert "marked a false alarm" in page.text
    (label,) = platform.warehouse.labels.newest("iiot")
    assert (label.is_anomaly, label.event_time) == (False, when)
    assert label.labelled_by.startswith("night shift (")
    back = {"token": form["token"], "label": str(label.id), "back": "/console"}
    page = browser.post("/console/marks/take-back", data=back)
    assert "marked a false alarm" not in section(page.text, "wrong")
    assert platform.warehouse.labels.newest("iiot") == []
    noted = platform.warehouse.transactions.tuples("SELECT action FROM audit_log ORDER BY id")
    assert [row[0] for row in noted][-2:] == ["feedback.add", "feedback.take_back"]
    assert browser.post("/console/marks/take-back", data=back).status_code == 404
    wrong = {**form, "time": "2026-11-27T00:00:01Z", "mark": "right"}
    assert browser.post("/console/marks", data=wrong).status_code == 404


def test_all_flagged_readings_of_a_span_are_marked_with_one_button(
    platform: Platform, browser: TestClient
) -> None:
    times = add_readings(platform, "press-1", "flow", [1.0] * 6, flagged=[1, 2, 3, 5])
    span = {"since": times[0].isoformat(), "until": times[4].isoformat()}
    named = {"stream": "iiot", "entity": "press-1", "metric": "flow", **span}
    assert "Mark all 3 wrong" in browser.get("/console/series", params=named).text
    form = {**named, "token": token_of(browser), "back": "/console", "number": "3"}
    stale = browser.post("/console/marks/span", data={**form, "mark": "wrong", "number": "2"})
    assert (stale.status_code, platform.warehouse.labels.newest("iiot")) == (409, [])
    assert browser.post("/console/marks/span", data={**form, "mark": "x"}).status_code == 422
    page = browser.post("/console/marks/span", data={**form, "mark": "wrong"})
    assert page.url.path == "/console"
    marked = platform.warehouse.labels.newest("iiot")
    assert {(one.event_time, one.is_anomaly) for one in marked} == {
        (times[n], False) for n in (1, 2, 3)
    }
    assert "Take all 3 marks back" in browser.get("/console/series", params=named).text
    assert browser.post("/console/marks/span", data={**form, "mark": "back"}).status_code == 200
    assert platform.warehouse.labels.newest("iiot") == []


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
