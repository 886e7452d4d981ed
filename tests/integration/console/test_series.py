"""The charts' data: no flagged point is lost, whatever is left out, and names are no markup."""

from __future__ import annotations

import datetime as dt
import json
import random
import re

import numpy as np
import pytest
from starlette.testclient import TestClient

from anomaly_platform.platform import Platform
from tests.builders.console import MARKUP, add_readings, add_version, token_of

pytestmark = pytest.mark.integration

MINUTE = dt.timedelta(minutes=1)


def where(**more: object) -> dict[str, object]:
    return {"stream": "iiot", "entity": "press-1", "metric": "flow", **more}


def test_every_flagged_point_is_drawn_and_the_picture_keeps_its_extremes(
    platform: Platform, browser: TestClient
) -> None:
    rng = random.Random(1)
    values = [rng.gauss(50, 3) for _ in range(20_000)]
    values[7_777], values[12_345] = 900.0, -900.0
    flagged = sorted(rng.sample(range(20_000), 300))
    times = add_readings(
        platform, "press-1", "flow", values, step=MINUTE, flagged=flagged, causes=["flow"]
    )
    asked = where(since="2026-11-26T00:00:00Z", until=times[-1].isoformat())
    drawn = browser.get("/console/series/points", params=asked).json()
    assert (drawn["readings"], drawn["anomalies"]) == (20_000, 300)
    assert len(drawn["times"]) < 5_300
    found = {drawn["times"][n] for n in drawn["flagged"]}
    assert found == {times[n].timestamp() for n in flagged}
    assert (max(drawn["values"]), min(drawn["values"])) == (900.0, -900.0)
    assert drawn["times"] == sorted(drawn["times"])
    assert {int(n) for n in drawn["reasons"]} == set(drawn["flagged"])
    assert {one["why"] for one in drawn["reasons"].values()} == {"because of flow"}
    # A closer look has every point.
    near = where(since=times[99].isoformat(), until=times[199].isoformat())
    drawn = browser.get("/console/series/points", params=near).json()
    assert drawn["values"] == pytest.approx(values[100:200])


def test_the_band_is_the_median_and_spread_of_the_day_before(
    platform: Platform, browser: TestClient
) -> None:
    values = [float(n % 40) for n in range(3_000)]
    times = add_readings(platform, "press-1", "flow", values, step=MINUTE)
    asked = where(since=times[2_000].isoformat(), until=times[2_100].isoformat())
    drawn = browser.get("/console/series/points", params=asked).json()
    before = values[2_001 - 1_440 : 2_001]
    low, middle, high = np.percentile(before, (25, 50, 75))
    spread = 3 * (high - low) / 1.349
    assert drawn["low"][0] == pytest.approx(middle - spread)
    assert drawn["high"][0] == pytest.approx(middle + spread)
    first = browser.get(
        "/console/series/points",
        params=where(since="2026-11-26T00:00:00Z", until=times[5].isoformat()),
    ).json()
    assert first["low"] == [None] * 6


def test_labels_and_other_models_are_noted(platform: Platform, browser: TestClient) -> None:
    times = add_readings(platform, "press-1", "flow", [1.0] * 600, flagged=[5])
    for day, version in (("2026-11-27", 3), ("2026-11-28", 4)):
        platform.warehouse.transactions.execute(
            "INSERT INTO scored_days (stream, day, watermark, detector, bundle_version, rows, "
            "anomalies) VALUES ('iiot', %s, 1, 'isolation_forest', %s, 1, 0)",
            (day, version),
        )
    form = {"token": token_of(browser), "time": times[5].isoformat(), "mark": "wrong"}
    assert browser.post("/console/marks", data={**where(), **form}).status_code == 200
    drawn = browser.get("/console/series/points", params=where()).json()
    assert [(kind, at) for at, kind, _ in drawn["notes"]] == [
        ("label", times[5].timestamp()),
        ("model", dt.datetime(2026, 11, 28, tzinfo=dt.UTC).timestamp()),
    ]
    assert drawn["notes"][1][2] == "version 4 scores from here on"
    assert next(iter(drawn["reasons"].values()))["mark"] == "a false alarm"


def test_the_table_has_every_reading_and_no_formula(
    platform: Platform, browser: TestClient
) -> None:
    add_readings(platform, "=cmd()", "@m", [1.0, None, 3.0] * 3_000, step=MINUTE)
    asked = {"stream": "iiot", "entity": "=cmd()", "metric": "@m", "range": "28 days"}
    answer = browser.get("/console/series/readings.csv", params=asked)
    rows = answer.text.splitlines()
    assert len(rows) == 9_001
    assert rows[1].startswith("2026-12-03T05:59:00Z,'=cmd(),'@m,3.0,0.2,False,0.7,")
    assert "attachment" in answer.headers["content-disposition"]


def test_addresses_that_mean_nothing_are_refused(platform: Platform, browser: TestClient) -> None:
    add_readings(platform, "press-1", "flow", [1.0])
    wrong = (
        where(since="yesterday"),
        where(since="2026-11-27"),
        where(since="2026-11-28T00:00:00Z", until="2026-11-27T00:00:00Z"),
        where(since="0001-01-01T00:00:00Z"),
        where(metric="\x00"),
    )
    for asked in wrong:
        assert browser.get("/console/series", params=asked).status_code == 422, asked
    for asked in (where(entity="none"), where(stream="none"), where(stream="barcode")):
        assert browser.get("/console/series", params=asked).status_code == 404, asked


def test_names_are_no_markup_on_these_pages(platform: Platform, browser: TestClient) -> None:
    names = {"stream": "iiot", "entity": MARKUP, "metric": MARKUP}
    (when,) = add_readings(platform, MARKUP, MARKUP, [1.0], flagged=[0], causes=[MARKUP])
    form = {"token": token_of(browser), "time": when.isoformat(), "mark": "right"}
    assert browser.post("/console/marks", data={**names, **form}).status_code == 200
    since, until = when - MINUTE, when + MINUTE
    cell = {"stream": "iiot", "lane": MARKUP, "since": since.isoformat()}
    for path, asked in (
        ("/console/series", names),
        ("/console/entity", {"stream": "iiot", "entity": MARKUP}),
        ("/console/explorer", {"stream": "iiot", "search": '"><img src=x'}),
        ("/console/explorer", {"stream": "iiot"}),
        ("/console/explorer/rows", {**cell, "until": until.isoformat()}),
    ):
        answer = browser.get(path, params=asked)
        assert answer.status_code == 200, answer.text
        assert "&lt;img src=x" in answer.text, path
        assert "<img" not in answer.text, path
    drawn = browser.get("/console/series/points", params=names)
    assert drawn.headers["content-type"] == "application/json"
    assert json.loads(drawn.text)["notes"][0][1] == "label"


def test_a_flagged_point_shows_the_models_range_and_the_evidence(
    platform: Platform, browser: TestClient
) -> None:
    values = [50.0 + n % 5 for n in range(100)]
    times = add_readings(platform, "press-7", "flow", values, flagged=[60, 61], reason="odd")
    told = {
        "unavoidable": False,
        "parts": {"forest": 0.27, "distance": 0.75, "season": -0.02},
        "features": [{"name": "z_288", "forest": 0.1, "distance": 0.9}],
    }
    with platform.warehouse.transactions.begin() as connection:
        connection.execute(
            "UPDATE scored_metrics SET expected_low = 1, expected_high = 2, explanation = %s "
            "WHERE entity = 'press-7' AND event_time = %s",
            (json.dumps(told), times[60]),
        )
    series = {"stream": "iiot", "entity": "press-7", "metric": "flow"}
    drawn = browser.get("/console/series/points", params=series).json()
    assert (drawn["low"][60], drawn["high"][60]) == (1.0, 2.0)
    # Of the whole of what makes it unusual.
    assert drawn["reasons"]["60"]["shares"] == {"distance": 74, "forest": 26}
    # Rows that were scored before have no range of their own.
    assert drawn["low"][61] not in {None, 1.0}
    assert drawn["reasons"]["61"]["shares"] == {}
    for path in ("/console/series", "/console/entity"):
        page = browser.get(path, params=series).text
        assert page.count("74 % model inputs far from their centre") == 1, path
        assert page.count("26 % a rare combination of model inputs") == 1, path
        assert page.count("less unusual, as it is not unusual for this time of day") == 1, path
        assert "input z_288: +0.90 by distance, +0.10 by the forest" in page


def test_the_entity_page_shows_a_day_with_the_worst_metric_first_and_its_peak(
    platform: Platform, browser: TestClient
) -> None:
    calm = [1.0, 2.0] * 400
    add_readings(platform, "press-1", "often", calm, flagged=[790, 795], step=MINUTE)
    peak = [*calm[:-4], 50.0, *calm[:3]]
    times = add_readings(platform, "press-1", "worst", peak, flagged=[796], step=MINUTE)
    platform.warehouse.transactions.execute(
        "UPDATE scored_metrics SET score = 0.979 WHERE metric = 'worst' AND is_anomaly"
    )
    text = browser.get("/console/entity", params={"stream": "iiot", "entity": "press-1"}).text
    assert text.index("course of worst") < text.index("course of often")
    assert f'datetime="{times[-1] - dt.timedelta(days=1):%Y-%m-%dT%H:%M}' in text
    (course,) = re.findall(r'course of worst"><path d="([^"]+)"', text)
    heights = sorted(float(y) for y in re.findall(r"[ML][\d.]+ ([\d.]+)", course))
    assert heights[1] - heights[0] > 20


@pytest.mark.parametrize(
    ("noise", "said"), [(1.0, ["its swing"]), (0.3, ["its swing", "At the same time its noise"])]
)
def test_a_wider_swing_is_one_notice_and_says_when_it_is_learned(
    platform: Platform, browser: TestClient, noise: float, said: list[str]
) -> None:
    times = add_readings(platform, "press-1", "flow", [1.0, 2.0] * 600)
    add_version(platform, 1)
    with platform.warehouse.transactions.begin() as connection:
        for n in range(4):
            connection.execute(
                "INSERT INTO series_drift (stream, day, entity, metric, rows, verdict, change, "
                "noise_ratio, swing_ratio, bundle_version) "
                "VALUES ('iiot', %s, 'press-1', 'flow', 288, 'drifted', 'wider', %s, 1.5, 1)",
                (times[-1].date() - n * dt.timedelta(days=1), noise),
            )
    text = browser.get("/console/series", params=where()).text
    (notice,) = re.findall(r'<p class="notice warn" role="status">(Changed .*?)</p>', text)
    assert notice.count("of the last 4 days") == len(said)
    assert all(one in notice for one in said)
    assert "learned again by itself after 3 such days in a row" in notice
    assert "a week" not in notice
