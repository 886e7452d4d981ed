"""The number in a cell is the number of rows in the list behind it."""

from __future__ import annotations

import asyncio
import datetime as dt
import html
import random
import re
from urllib.parse import parse_qsl, urlsplit

import pytest
from psycopg import AsyncConnection
from starlette.testclient import TestClient

from anomaly_platform.console.windows import moment_of
from anomaly_platform.platform import Platform
from anomaly_platform.queries.operation.swimlanes import Window, flagged_rows
from tests.builders.console import DAY, add_readings, add_scan, token_of

pytestmark = pytest.mark.integration

HOUR = dt.timedelta(hours=1)


def cells_of(text: str) -> list[tuple[str, int]]:
    """Return address and number of each cell that has one."""
    found = re.findall(r'<td class="s\d"><a href="([^"]+)"[^>]*>(\d+)</a>', text)
    return [(html.unescape(address), int(number)) for address, number in found]


async def compare(platform: Platform, cells: list[tuple[str, int]]) -> None:
    """Look up the rows behind each cell, by what its address asks for."""
    async with await AsyncConnection.connect(platform.urls.application) as connection:
        for address, number in cells:
            asked = dict(parse_qsl(urlsplit(address).query))
            window = Window("iiot", True, moment_of(asked["since"]), moment_of(asked["until"]))
            rows, total = await flagged_rows(connection, window, asked["lane"], limit=500)
            assert len(rows) == total == number, address


def test_the_number_in_a_cell_is_the_number_of_rows_behind_it(
    platform: Platform, browser: TestClient
) -> None:
    rng = random.Random(2)
    for entity in range(4):
        for metric in ("flow", "heat"):
            readings = [rng.random() for _ in range(500)]
            flagged = rng.sample(range(500), 60)
            step = dt.timedelta(minutes=rng.choice((5, 7, 13)), microseconds=rng.randrange(9))
            add_readings(platform, f"press-{entity}", metric, readings, flagged=flagged, step=step)
    checked: list[tuple[str, int]] = []
    while len(checked) < 1_000:
        since = DAY + dt.timedelta(seconds=rng.uniform(-3_600, 86_400 * 3))
        until = since + dt.timedelta(seconds=rng.choice((3_600, 40_000, 200_000, 900_000)))
        asked = {"stream": "iiot", "since": since.isoformat(), "until": until.isoformat()}
        cells = cells_of(browser.get("/console/explorer", params=asked).text)
        checked += rng.sample(cells, min(40, len(cells)))
    asyncio.run(compare(platform, checked))
    for address, number in checked[::25]:
        rows = browser.get(address).text
        assert f"<span data-total>{number}</span> flagged" in rows, address
        assert len(re.findall("<meter", rows)) == number, address


def test_the_highest_score_comes_first_and_names_can_be_searched(
    platform: Platform, browser: TestClient
) -> None:
    for n in range(45):
        flagged = [1] if n in (7, 30) else []
        add_readings(platform, f"host-{n:02}", "cpu", [1.0, 2.0], stream="ems", flagged=flagged)
    text = browser.get("/console/explorer", params={"stream": "ems"}).text
    lanes = re.findall(r'title="(host-\d+)"', text)
    assert lanes[:3] == ["host-07", "host-30", "host-00"]
    assert len(lanes) == 40
    following = browser.get("/console/explorer", params={"stream": "ems", "number": 2}).text
    assert len(re.findall(r'title="host-\d+"', following)) == 5
    asked = {"stream": "ems", "search": "ST-3"}
    found = re.findall(r'title="(host-\d+)"', browser.get("/console/explorer", params=asked).text)
    assert found == ["host-30", *(f"host-3{n}" for n in range(1, 10))]
    nothing = browser.get("/console/explorer", params={"stream": "ems", "search": "%"}).text
    assert "under a name with" in nothing


def test_scans_have_places_for_lanes(platform: Platform, browser: TestClient) -> None:
    add_scan(platform, "code-1", place="Suwon 1")
    add_scan(platform, "code-2", DAY + HOUR, place="Suwon 1")
    add_scan(platform, "code-3", DAY + HOUR)
    text = browser.get("/console/explorer", params={"stream": "barcode"}).text
    assert re.findall(r'<span title="([^"]*)">', text) == ["Suwon 1", ""]
    add_scan(platform, "code-4", place="L002", place_name="Busan <1>")
    asked = {"stream": "barcode", "search": "busan"}
    named = browser.get("/console/explorer", params=asked).text
    assert '<span title="L002">Busan &lt;1&gt;</span>' in named
    asked = {"stream": "barcode", "lane": "L002", "since": "2026-11-27T00:00:00Z"}
    rows = browser.get("/console/explorer/rows", params={**asked, "until": "2026-11-28T00:00:00Z"})
    assert '<h1 class="break">Busan &lt;1&gt;</h1>' in rows.text
    mark = {"stream": "barcode", "entity": "code-4", "metric": "scan", "time": DAY.isoformat()}
    form = {
        **mark,
        "mark": "wrong",
        "token": token_of(browser),
        "back": str(rows.url.raw_path, "ascii"),
    }
    marked = browser.post("/console/marks", data=form)
    assert marked.url.path == "/console/explorer/rows"
    assert ">marked a false alarm<" in marked.text
    ((address, number),) = [one for one in cells_of(text) if "Suwon" in one[0] and one[1]][:1]
    assert f">{number}</span> flagged" in browser.get(address).text
