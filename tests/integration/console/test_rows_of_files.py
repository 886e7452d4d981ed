"""A file and its rows: it waits, it is taken, and what became of each row is said."""

from __future__ import annotations

import datetime as dt

import pytest
from starlette.testclient import TestClient

from anomaly_platform.assets.raw import ingest_files
from anomaly_platform.assets.validated import validate_day
from anomaly_platform.platform import Platform
from anomaly_platform.streams import BARCODE, IIOT, Stream
from tests.builders.console import DAY, MARKUP, add_readings, add_scan
from tests.builders.platforms import drop_into

pytestmark = pytest.mark.integration


def take(platform: Platform, stream: Stream) -> None:
    """Take everything in that waits."""
    now = DAY + dt.timedelta(days=1)
    waiting = platform.landing.waiting(stream.name)
    assert ingest_files(platform, stream, waiting, now).failed == {}


def shown(browser: TestClient, stream: str, source: str) -> str:
    """Return the page of a file."""
    asked = {"stream": stream, "source": source}
    answer = browser.get("/console/data/file", params=asked)
    assert answer.status_code == 200, answer.text
    return answer.text


def test_a_file_is_followed_until_its_rows_are_scored(
    platform: Platform, browser: TestClient
) -> None:
    name = "press <b>.csv"
    drop_into(
        platform,
        IIOT,
        name,
        "device_id,metric_name,timestamp,value\n"
        "press-1,flow,2026-11-27T00:00:00Z,1.5\n"
        "press-1,flow,2026-11-27T00:05:00Z,99\n"
        "press-1,flow,yesterday,2\n",
    )
    assert "A running platform takes it in" in shown(browser, "iiot", name)
    take(platform, IIOT)
    text = shown(browser, "iiot", name)
    assert text.count("not scored yet") == 2
    assert "0 of the first 2 are scored, 0 flagged, 0 refused" in text
    assert '#refused">1 refused</a>' in text
    add_readings(platform, "press-1", "flow", [1.5, 99.0], flagged=[1], reason="99 is a step")
    text = shown(browser, "iiot", name)
    assert "not scored yet" not in text
    assert "2 of the first 2 are scored, 1 flagged, 0 refused: those come first" in text
    assert text.index("99 is a step") < text.index("usual")
    assert text.count("99 is a step") == 1
    assert text.count("usual") == 1
    assert "/console/series?stream=iiot&amp;entity=press-1&amp;metric=flow" in text
    assert "<b>" not in text
    listed = browser.get("/console/data?stream=iiot").text
    assert "/console/data/file?stream=iiot&amp;source=press+%3Cb%3E.csv" in listed
    asked = {"stream": "iiot", "source": "other.csv"}
    assert browser.get("/console/data/file", params=asked).status_code == 404


def test_a_reading_in_quarantine_says_why(platform: Platform, browser: TestClient) -> None:
    drop_into(platform, IIOT, "wide.csv", "timestamp,flow,heat\n2026-11-27T00:00:00Z,1.5,2\n")
    take(platform, IIOT)
    ((digest,),) = platform.warehouse.transactions.tuples("SELECT digest FROM ingest_ledger")
    platform.warehouse.transactions.execute(
        "INSERT INTO quarantine (stream, digest, row_number, column_name, stage, source, reason) "
        "VALUES ('iiot', %(d)s, 1, 'heat', 'validated_events', 'wide.csv', %(m)s)",
        {"d": digest, "m": MARKUP},
    )
    text = shown(browser, "iiot", "wide.csv")
    assert text.count("not scored yet") == 1
    assert text.count("&lt;script&gt;window.hacked=2") == 1
    assert "<img" not in text


def test_scans_of_a_file_lead_to_their_journeys(platform: Platform, browser: TestClient) -> None:
    drop_into(
        platform,
        BARCODE,
        "scans.csv",
        "epc_code,event_time,location_id,business_step,event_type\n"
        "code-1,2026-11-27T00:00:00Z,L1,WMS,WMS_Inbound\n"
        "code-2,2026-11-27T00:00:00Z,L1,WMS,WMS_Inbound\n",
    )
    take(platform, BARCODE)
    add_scan(platform, "code-1", explanation="653 km/h")
    text = shown(browser, "barcode", "scans.csv")
    assert "653 km/h" in text
    assert "/console/journey?stream=barcode&amp;code=code-1" in text
    assert text.count("not scored yet") == 1


def test_each_row_has_its_own_fate(platform: Platform, browser: TestClient) -> None:
    """A refused row has no score, whatever other row is about its time; a repeat says so."""
    at = "2026-11-27T00:00:00Z"
    rows = [f"press-1,flow,{at},7", f"press-1,flow,{at},7"]
    rows += [f"press-2,flow,2026-11-27T{n // 60:02d}:{n % 60:02d}:00Z,1" for n in range(300)]
    head = "device_id,metric_name,timestamp,value\n"
    drop_into(platform, IIOT, "many.csv", head + "\n".join([*rows, f"press-1,flow,{at},abc"]))
    take(platform, IIOT)
    add_readings(platform, "press-1", "flow", [7.0])
    validate_day(platform, IIOT, DAY.date(), DAY + dt.timedelta(days=1))
    text = shown(browser, "iiot", "many.csv")
    assert "2 of the first 303 are scored, 0 flagged, 1 refused: those come first" in text
    assert text.index(">abc<") < text.index(">7<")
    assert text.count("same series and time as row") == 1
    assert "1 to 200 of the first 303" in text
    asked = {"stream": "iiot", "source": "many.csv", "number": 2}
    rest = browser.get("/console/data/file", params=asked).text
    assert "201 to 303 of the first 303" in rest
    assert rest.count(">press-2<") == 103


def test_a_file_that_cannot_be_read_says_why(platform: Platform, browser: TestClient) -> None:
    drop_into(platform, IIOT, "broken.csv", b"\x00\x01\x02" * 50)
    take(platform, IIOT)
    assert "It cannot be read" in shown(browser, "iiot", "broken.csv")


def test_a_file_whose_kept_copy_is_gone_has_a_page_that_says_so(
    platform: Platform, browser: TestClient
) -> None:
    drop_into(
        platform,
        IIOT,
        "gone.csv",
        "device_id,metric_name,timestamp,value\npress-1,flow,2026-11-27T00:00:00Z,1.5\n",
    )
    take(platform, IIOT)
    kept = platform.warehouse.transactions.value("SELECT raw_path FROM ingest_ledger")
    (platform.settings.home / "lake" / kept).unlink()
    text = shown(browser, "iiot", "gone.csv")
    assert "Its rows cannot be shown" in text
    assert kept in text
