"""What people do in the console: triage, decide which model serves, put files in, make keys."""

from __future__ import annotations

import datetime as dt
import io
import re
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from anomaly_platform.ingest.layout.mapping import ColumnMapping, content_digest
from anomaly_platform.kinds.training import FIRST_TRAINING, OF_ITS_OWN_ROWS
from anomaly_platform.platform import Platform
from anomaly_platform.streams import IIOT
from tests.builders.console import (
    DAY,
    MARKUP,
    add_readings,
    add_scan,
    add_version,
    log_in,
    token_of,
)
from tests.builders.models import FOREST, register

pytestmark = pytest.mark.integration

HOUR = dt.timedelta(hours=1)


def raise_alert(platform: Platform, fingerprint: str, severity: str = "warning") -> None:
    with platform.warehouse.transactions.begin() as connection:
        connection.execute(
            "SELECT raise_alert(%s, 'run_failed', 'iiot', %s, %s, %s, %s, 'r1', '1 hour', true)",
            (fingerprint, fingerprint, severity, f"{fingerprint} failed", '{"note": "n"}'),
        )


def test_an_alert_is_acknowledged_commented_on_and_resolved(
    platform: Platform, browser: TestClient
) -> None:
    raise_alert(platform, "calm")
    raise_alert(platform, "grave", "critical")
    text = browser.get("/console/alerts").text
    assert text.index("grave failed") < text.index("calm failed")
    token = token_of(browser)
    form = {"token": token, "alert": "grave", "back": "/console/alerts/one?alert=grave"}
    page = browser.post("/console/alerts/acknowledge", data=form)
    assert "You look after grave." in page.text
    # What somebody looks after comes after what nobody does.
    text = browser.get("/console/alerts").text
    assert text.index("calm failed") < text.index("grave failed")
    page = browser.post("/console/alerts/comment", data={**form, "text": MARKUP})
    assert "&lt;img src=x" in page.text
    assert "<img" not in page.text
    page = browser.post("/console/alerts/resolve", data={**form, "note": "mended"})
    assert "mended" in page.text
    assert "grave failed" not in browser.get("/console/alerts").text
    assert "grave failed" in browser.get("/console/alerts?state=all").text
    assert browser.post("/console/alerts/resolve", data=form).status_code == 409
    assert browser.post("/console/alerts/acknowledge", data=form).status_code == 409
    told = platform.warehouse.transactions.tuples("SELECT state FROM notifications ORDER BY seq")
    assert [row[0] for row in told] == ["firing", "firing", "resolved"]
    # An alert that comes back is looked after by nobody.
    platform.warehouse.transactions.execute("UPDATE alerts SET last_occurrence = 'r0'")
    raise_alert(platform, "grave", "critical")
    assert "Acknowledge" in browser.get("/console/alerts/one?alert=grave").text


def test_nobody_is_replaced_who_looks_after_an_alert_without_being_named(
    platform: Platform, browser: TestClient, new_key: Callable[..., str]
) -> None:
    raise_alert(platform, "grave")
    form = {"token": token_of(browser), "alert": "grave"}
    browser.post("/console/alerts/acknowledge", data={**form, "instead_of": ""})
    # Once more changes nothing.
    assert "You look after grave." in browser.post("/console/alerts/acknowledge", data=form).text
    acknowledged = "SELECT actor FROM audit_log WHERE action = 'alert.acknowledge' ORDER BY id"
    ((first,),) = platform.warehouse.transactions.tuples(acknowledged)

    log_in(browser, new_key(name="day shift"))
    stale = {"token": token_of(browser), "alert": "grave", "instead_of": ""}
    page = browser.post("/console/alerts/acknowledge", data=stale).text
    assert "night shift looks after grave already." in page
    assert "Take over</button>" in page
    assert len(platform.warehouse.transactions.tuples(acknowledged)) == 1
    page = browser.post("/console/alerts/acknowledge", data={**stale, "instead_of": first}).text
    assert "You look after grave." in page
    assert "Take over</button>" not in page
    assert len(platform.warehouse.transactions.tuples(acknowledged)) == 2


def test_a_refused_form_leads_back_with_what_was_typed(
    platform: Platform, browser: TestClient
) -> None:
    where = "/console/models?stream=iiot"
    typed = {"entity": "no-such", "reason": MARKUP}
    form = {"token": token_of(browser), "stream": "iiot", **typed}
    address = {"referer": f"{browser.base_url}{where}"}
    for headers in (address, {"hx-request": "true", "hx-current-url": address["referer"]}):
        page = browser.post("/console/models/train", data=form, headers=headers)
        assert page.status_code == 404
        assert f'href="{where}"' in page.text
        assert "<dd>no-such</dd>" in page.text
        assert "<dd>&lt;img src=x" in page.text
        assert page.headers["hx-push-url"] == "false"
    elsewhere = {"referer": f"https://example.com{where}"}
    page = browser.post("/console/models/train", data=form, headers=elsewhere)
    assert where not in page.text


@pytest.mark.parametrize(
    ("button", "place"),
    [
        ("/console/models/roll-back", "/console/models"),
        ("/console/alerts/resolve", "/console/alerts"),
        ("/console/marks/span", "/console"),
    ],
)
def test_the_address_of_a_button_leads_to_its_page(
    browser: TestClient, button: str, place: str
) -> None:
    assert browser.get(button).url.path == place
    assert browser.get(button, headers={"x-part": "live"}).status_code == 405


def test_resolving_asks_once_more_and_says_that_nobody_is_told(
    platform: Platform, browser: TestClient
) -> None:
    raise_alert(platform, "grave")
    assert "<summary>Resolve</summary>" in browser.get("/console/alerts").text
    assert "Told nobody: no channel is set." in browser.get("/console/alerts/one?alert=grave").text
    form = {"token": token_of(browser), "alert": "grave"}
    page = browser.post("/console/alerts/resolve", data=form)
    assert "grave is resolved; nobody is told: no channel is set." in page.text


def test_alerts_are_on_the_overview_with_their_buttons(
    platform: Platform, browser: TestClient
) -> None:
    raise_alert(platform, MARKUP)
    text = browser.get("/console").text
    assert "Acknowledge" in text
    assert "<img" not in text


def test_a_version_is_promoted_and_rolled_back_with_a_reason(
    platform: Platform, browser: TestClient
) -> None:
    bundles = platform.warehouse.bundles
    for _ in range(2):
        number = register(platform.warehouse, "iiot")
        path = f"models/iiot/isolation_forest/{number:06d}"
        folder = Path(platform.settings.lake_url) / path
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text("{}")
    token = token_of(browser)
    form = {"token": token, "stream": "iiot", "back": "/console/models?stream=iiot"}
    promote = {**form, "version": "1", "reason": "the better one"}
    page = browser.post("/console/models/promote", data=promote)
    assert "isolation_forest 1 is in service" in page.text
    assert browser.post("/console/models/promote", data={**form, "version": "2"}).status_code == 422
    browser.post("/console/models/promote", data={**promote, "version": "2"})
    assert "Roll back to 1" in browser.get("/console").text
    stale = {**form, "reason": "late", "before": "2"}
    assert browser.post("/console/models/roll-back", data=stale).status_code == 409
    page = browser.post("/console/models/roll-back", data={**form, "before": "1", "reason": MARKUP})
    # Back from version 2: nothing served before version 1.
    assert "Roll back to" not in page.text
    assert "There is no step back from here" in page.text
    assert bundles.champions("iiot") == {"isolation_forest": 1}
    assert "rolled back by night shift" in page.text
    assert "<img" not in page.text
    for wrong in ("9", "x", "-1", "99999999999"):
        answer = browser.post("/console/models/promote", data={**promote, "version": wrong})
        assert answer.status_code in (409, 422), wrong
    compared = browser.get("/console/models?stream=iiot&a=1&b=2").text
    assert "Version 1" in compared
    assert "Version 2" in compared


def test_a_training_is_asked_for_and_followed(platform: Platform, browser: TestClient) -> None:
    add_readings(platform, "press-1", "flow", [1.0, 2.0])
    form = {"token": token_of(browser), "stream": "iiot", "reason": "new tool"}
    series = {"entity": "press-1", "metric": "flow", "window_days": "7"}
    refused = browser.post("/console/models/train", data={**form, **series})
    assert (refused.status_code, "no rows to train on" in refused.text) == (409, True)
    platform.warehouse.partitions.publish(
        "iiot", "features", "2026-11-27", path="p", rows=2, watermark=1
    )
    page = browser.post("/console/models/train", data={**form, **series})
    assert page.url.path == "/console/models/training"
    assert "it waits for the daemon: " in page.text
    (asked,) = platform.warehouse.training_requests.waiting("iiot")
    assert (asked.subject, asked.window_days) == ("iiot press-1 flow", 7)
    assert asked.requested_by.startswith("night shift (")
    (claimed,) = platform.warehouse.training_requests.claim("iiot")
    assert claimed.batch is not None
    number = register(platform.warehouse, "iiot")
    platform.warehouse.training_requests.finish(
        claimed.batch,
        status="done",
        outcome="promoted",
        detector="isolation_forest",
        version=number,
    )
    page = browser.get(f"/console/models/training?asked={asked.id}")
    assert "promoted" in page.text
    assert "isolation_forest 1" in page.text
    for wrong in ({"metric": "flow"}, {"window_days": "0"}, {"entity": "none"}):
        answer = browser.post("/console/models/train", data={**form, **wrong})
        assert answer.status_code in (404, 422), wrong


def test_a_file_is_looked_at_and_then_taken(platform: Platform, browser: TestClient) -> None:
    text = "device_id,metric_name,timestamp,value\n" + "".join(
        f"{'p' if n else MARKUP.replace(',', '')},t,2026-11-27T00:0{n}:00Z,{n}.5\n"
        for n in range(5)
    ).replace('"', "'")
    token = token_of(browser)
    headers = {"x-token": token, "content-type": "application/octet-stream"}
    asked = {"stream": "iiot", "name": "C:\\tmp\\<img src=x>.csv"}
    look = browser.post("/console/data/look", params=asked, content=text, headers=headers)
    assert look.status_code == 200, look.text
    assert "the entity" in look.text
    assert "<img" not in look.text
    assert platform.landing.waiting("iiot") == []
    kept = re.search(r'name="kept" value="([^"]+)"', look.text)
    assert kept
    form = {"token": token, "stream": "iiot", "kept": kept[1]}
    page = browser.post("/console/data/take", data=form)
    assert "is in landing" in page.text
    (waits,) = platform.landing.waiting("iiot")
    assert waits.name == "<img src=x>.csv"
    assert Path(waits.path).read_text() == text
    assert browser.post("/console/data/take", data=form).status_code == 404


def test_a_file_whose_content_came_before_says_so(platform: Platform, browser: TestClient) -> None:
    text = "device_id,metric_name,timestamp,value\np,t,2026-11-27T00:00:00Z,1.5\n"
    headers = {"x-token": token_of(browser), "content-type": "application/octet-stream"}
    path = "/console/data/look"
    asked = {"stream": "iiot", "name": "again.csv"}
    look = browser.post(path, params=asked, content=text, headers=headers)
    assert "came before" not in look.text
    digest = content_digest(io.BytesIO(text.encode()), ColumnMapping(), "iiot")
    platform.warehouse.ledger.record_ingest(
        "iiot", digest, source="first.csv", raw_path="r", rows_in=1, days={DAY.date(): 1}
    )
    platform.warehouse.ledger.record_repeat("iiot", digest)
    look = browser.post(path, params=asked, content=text, headers=headers)
    assert "This content came before, as <a" in look.text
    kept = re.search(r'name="kept" value="([^"]+)"', look.text)
    assert kept
    form = {"token": headers["x-token"], "stream": "iiot", "kept": kept[1]}
    page = browser.post("/console/data/take", data=form)
    assert page.url.params["source"] == "first.csv"
    assert "Its content came 2 times: first on" in page.text


def test_a_file_that_cannot_be_read_says_why_and_is_kept_nowhere(
    platform: Platform, browser: TestClient
) -> None:
    headers = {"x-token": token_of(browser), "content-type": "application/octet-stream"}
    asked = {"stream": "iiot", "name": "a.csv"}
    look = browser.post("/console/data/look", params=asked, content="a,b\n1,2\n", headers=headers)
    assert 'role="alert"' in look.text
    assert list((platform.settings.home / "uploads").glob("*/*")) == []
    for name in ("", "..", ".hidden", "a.part", "a\x07.csv", "x" * 300):
        wrong = {"stream": "iiot", "name": name}
        answer = browser.post("/console/data/look", params=wrong, content="a", headers=headers)
        assert answer.status_code == 422, name
    headers = {"content-type": "application/octet-stream"}
    answer = browser.post("/console/data/look", params=asked, content="a", headers=headers)
    assert answer.status_code == 403


def test_the_data_page_says_what_came_and_what_was_refused(
    platform: Platform, browser: TestClient
) -> None:
    platform.warehouse.ledger.record_ingest(
        IIOT.name, "d1", source=MARKUP, raw_path="r", rows_in=7, days={DAY.date(): 7}
    )
    platform.warehouse.transactions.execute(
        "INSERT INTO quarantine (stream, digest, row_number, stage, source, reason, raw) "
        "VALUES ('iiot', 'd1', 3, 'raw_events', %(m)s, %(m)s, %(m)s), "
        "('iiot', 'd2', 1, 'raw_events', 'other.csv', 'not a time', 'x')",
        {"m": MARKUP},
    )
    text = browser.get("/console/data?stream=iiot").text
    assert "2026-11-27" in text
    assert "other.csv" in text
    assert "<img" not in text
    asked = {"stream": "iiot", "reason": "not a time"}
    rows = browser.get("/console/data", params=asked).text.partition('id="refused"')[2]
    assert "other.csv" in rows
    assert rows.count("&lt;img") == 1  # the reason's button


def test_of_a_first_model_the_page_says_what_it_has_learned_from(
    platform: Platform, browser: TestClient
) -> None:
    bundles, where = platform.warehouse.bundles, "/console/models?stream=iiot"
    register(platform.warehouse, "iiot", parameters={"cause": FIRST_TRAINING})
    assert OF_ITS_OWN_ROWS not in browser.get(where).text
    bundles.promote_set("iiot", {FOREST: 1}, "all gates passed")
    assert f"No model served before: {OF_ITS_OWN_ROWS}." in browser.get(where).text
    later = register(platform.warehouse, "iiot")
    bundles.promote_set("iiot", {FOREST: later}, "all gates passed")
    assert OF_ITS_OWN_ROWS not in browser.get(where).text


def test_a_journey_has_its_scans_what_was_expected_and_companions(
    platform: Platform, browser: TestClient
) -> None:
    places = {
        "A": {"place": "A", "place_name": "Gumi", "latitude": 36.1, "longitude": 128.3},
        "B": {"place": "B", "place_name": "Busan", "latitude": 35.1, "longitude": 129.0},
        "C": {"place": "C", "place_name": MARKUP, "latitude": 37.2, "longitude": 127.0},
    }
    quiet = {"final_confidence": 2.0, "is_anomaly": False, "severity": "NONE", "jump_score": 0.0}
    for n in range(8):
        start = DAY - 24 * HOUR + n * dt.timedelta(minutes=3)
        add_scan(platform, f"usual-{n}", start, **places["A"], **quiet)
        add_scan(platform, f"usual-{n}", start + 4 * HOUR, **places["B"], **quiet)
    add_scan(platform, "friend", DAY + dt.timedelta(minutes=5), **places["A"], **quiet)
    add_scan(platform, "stolen", DAY, **places["A"], **quiet)
    # Of the same second, and listed after it.
    ids = [str(uuid.UUID(int=number)) for number in (2, 1)]
    jumps = {**places["C"], "event_id": ids[0], "explanation": "653 km/h"}
    add_scan(platform, "stolen", DAY + HOUR, **jumps)
    also = {**places["C"], **quiet, "event_id": ids[1], "event_type": "OBSERVE"}
    add_scan(platform, "stolen", DAY + HOUR, **also)
    page = browser.get("/console/journey", params={"stream": "barcode", "code": "stolen"})
    text = page.text
    assert "Busan after 4 h" in text
    assert "100% of 8" in text
    assert "nobody came here" in text
    assert "impossible jump" in text
    assert "653 km/h" in text
    assert "friend" in text
    assert 'class="map"' in text
    axis = text.partition('class="axis"')[2].partition("</svg>")[0]
    assert re.findall(r'class="(plain|flagged)"', axis) == ["plain", "plain", "flagged"]
    assert "<img" not in text
    listed = browser.get("/console/journey").text
    assert "stolen" in listed
    assert "usual-1" not in listed
    unknown = browser.get("/console/journey", params={"code": "<none>"})
    assert unknown.status_code == 404
    assert "No scan of the code &lt;none&gt; is known here." in unknown.text
    assert 'value="&lt;none&gt;"' in unknown.text
    assert "Codes with the worst scans" in unknown.text
    for wrong in ({"code": "none"}, {"stream": "iiot"}, {"code": "\x00"}):
        assert browser.get("/console/journey", params=wrong).status_code in (404, 422)


def test_keys_are_made_shown_once_and_revoked_by_administrators_alone(
    platform: Platform, browser: TestClient, new_key: Callable[..., str]
) -> None:
    form = {"token": token_of(browser), "name": MARKUP, "ml:read": "yes", "days": "30"}
    page = browser.post("/console/keys", data=form).text
    shown = re.search(r"data-made>([^<]+)<", page)
    assert shown
    assert "<img" not in page
    assert shown[1] not in browser.get("/console/keys").text
    found = platform.warehouse.api_keys.all()[0]
    assert (found.name, found.scopes) == (MARKUP, ["ml:read"])
    assert browser.post("/console/keys", data={**form, "ml:read": ""}).status_code == 422
    revoke = {"token": form["token"], "id": str(found.id)}
    assert "is revoked" in browser.post("/console/keys/revoke", data=revoke).text
    browser.cookies.clear()
    log_in(browser, new_key("ml:read", "ml:write"))
    assert browser.get("/console/keys").status_code == 403
    assert "/console/keys" not in browser.get("/console").text


def test_versions_show_what_they_were_trained_on(platform: Platform, browser: TestClient) -> None:
    add_version(platform, 4, reason=MARKUP)
    asked = {"stream": "iiot", "detector": "isolation_forest", "number": 4}
    text = browser.get("/console/models/version", params=asked).text
    assert "30 Oct 00:00" in text
    assert "27 Nov 00:00" in text
    assert "auc roc" in text
    assert "<img" not in text
    assert browser.get("/console/models/version", params={**asked, "number": 9}).status_code == 404
