"""Where pages lead on: from alerts, trainings, files and codes to what they are about."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable

import pytest
from starlette.testclient import TestClient

from anomaly_platform.platform import Platform
from tests.builders.console import DAY, MARKUP, add_readings, add_scan, add_version, log_in

pytestmark = pytest.mark.integration

RUN = "0b6d5f4e-1111-2222-3333-444455556666"


def raise_about(platform: Platform, fingerprint: str, stream: str, **details: str) -> None:
    """Raise an alert with such details."""
    with platform.warehouse.transactions.begin() as connection:
        connection.execute(
            "SELECT raise_alert(%s, 'anomaly', %s, 'a subject', 'warning', 'a title', %s, 'r1', "
            "'1 hour', true)",
            (fingerprint, stream, json.dumps(details)),
        )


def test_an_alert_leads_to_its_entity_its_metric_and_its_run(
    platform: Platform, browser: TestClient
) -> None:
    raise_about(platform, "one", "iiot", entity="press 1", metric="flow", run=RUN)
    text = browser.get("/console/alerts/one?alert=one").text
    assert 'href="/console/entity?stream=iiot&amp;entity=press+1"' in text
    assert 'href="/console/series?stream=iiot&amp;entity=press+1&amp;metric=flow"' in text
    assert f'href="{platform.settings.dagster_ui_url.rstrip("/")}/runs/{RUN}"' in text
    raise_about(platform, "two", "barcode", entity=MARKUP)
    text = browser.get("/console/alerts/one?alert=two").text
    assert "/console/journey?stream=barcode&amp;code=%3Cimg" in text
    assert "<img" not in text


def test_a_training_leads_to_its_run(platform: Platform, browser: TestClient) -> None:
    ask = platform.warehouse.training_requests.ask
    asked = ask("iiot", cause="request", reason="new tool", requested_by="test")
    platform.warehouse.transactions.execute(
        "UPDATE training_requests SET run_id = %s WHERE id = %s", (RUN, asked)
    )
    text = browser.get(f"/console/models/training?asked={asked}").text
    assert f'/runs/{RUN}" rel="noreferrer">{RUN}</a>' in text
    assert "data-over" not in text
    platform.warehouse.transactions.execute(
        "UPDATE training_requests SET status = 'failed', finished_at = now() WHERE id = %s",
        (asked,),
    )
    assert "data-over" in browser.get(f"/console/models/training?asked={asked}").text


def test_a_code_is_found_by_a_part_of_it(platform: Platform, browser: TestClient) -> None:
    hour = dt.timedelta(hours=1)
    for n, code in enumerate(("urn:epc:1.0017", "urn:epc:2.0017", "urn:epc:1.0018")):
        add_scan(platform, code, DAY + n * hour, place="Seoul")
    add_scan(platform, "urn:epc:0.0017", DAY - dt.timedelta(days=40))
    asked = browser.get("/console/journey", params={"stream": "barcode", "code": "0017"})
    assert asked.status_code == 200
    found = asked.text.partition('id="found"')[2].partition("</section>")[0]
    # The one scanned last comes first; what was scanned long ago is not looked through.
    assert found.index("2.0017") < found.index("1.0017")
    assert "0.0017" not in found
    assert "1.0018" not in found
    every = browser.get("/console/journey", params={"stream": "barcode", "code": "URN:EPC"}).text
    assert "1.0018" in every.partition('id="found"')[2].partition("</section>")[0]
    none = browser.get("/console/journey", params={"stream": "barcode", "code": "%"})
    assert none.status_code == 404
    assert "No scan of the code %" in none.text
    # From one code to the next.
    whole = browser.get("/console/journey", params={"stream": "barcode", "code": "urn:epc:1.0018"})
    assert 'name="code"' in whole.text


def test_who_may_not_mark_is_not_told_how(
    platform: Platform, stranger: TestClient, new_key: Callable[..., str]
) -> None:
    add_readings(platform, "press-1", "flow", [1.0, 2.0])
    series = "/console/series?stream=iiot&entity=press-1&metric=flow"
    log_in(stranger, new_key("ml:read"))
    assert "to mark it" not in stranger.get(series).text
    log_in(stranger, new_key("ml:read", "ml:write"))
    assert "click a flagged point to mark it." in stranger.get(series).text


def test_versions_are_compared_once_both_are_chosen(
    platform: Platform, browser: TestClient
) -> None:
    add_version(platform, 1)
    add_version(platform, 2, serves=False)
    text = browser.get("/console/models?stream=iiot").text
    assert text.count('form="compare" required') == 4
