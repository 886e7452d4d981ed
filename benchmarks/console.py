"""How fast the console is: O5's figures, measured in a real browser.

10,000 entities, seven days, one metric, hourly; a series of 100,000 readings; fifty browsers that
ask the overview again every ten seconds. The rows are written straight into the tables.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil

from anomaly_platform.platform import Platform
from anomaly_platform.settings import get_settings
from anomaly_platform.storage.tables.api_keys import SCOPES

ENTITIES, DAYS, LONG = 10_000, 7, 100_000
CLIENTS, EVERY_S, WATCHED_S = 50, 10.0, 30.0
GOALS = {
    "overview, the first time": 2_000,
    "overview": 2_000,
    "explorer": 2_000,
    "entity": 2_000,
    "series of 100,000 readings, until it is drawn": 500,
}
_FILL = """
INSERT INTO scored_metrics (stream, day, entity, metric, event_time, event_id, value, score,
    is_anomaly, threshold, status, detector, bundle_version, causes)
SELECT 'ems', t::date, e, %(metric)s, t, gen_random_uuid(), v, s, s >= 0.7, 0.7, 'trained',
    'isolation_forest', 1, CASE WHEN s >= 0.7 THEN '["cpu"]'::jsonb END
FROM (SELECT 'host-' || lpad(n::text, 5, '0') AS e, t, 50 + 10 * random() AS v,
        random() ^ 2 * CASE WHEN random() < 0.01 THEN 1 ELSE 0.69 END AS s
    FROM generate_series(%(first)s::int, %(last)s::int) n,
        generate_series(%(since)s::timestamptz, %(until)s::timestamptz, %(step)s::interval) t
    ) rows
"""
_INDEX = """
INSERT INTO series (stream, entity, metric, first_event, last_event, rows)
SELECT stream, entity, metric, min(event_time), max(event_time), count(*)
FROM scored_metrics GROUP BY 1, 2, 3
"""
_INDEX_DAYS = """
INSERT INTO series_days (series_id, day, stream, rows, first_event, last_event)
SELECT s.series_id, m.day, m.stream, count(*), min(event_time), max(event_time)
FROM scored_metrics m JOIN series s USING (stream, entity, metric) GROUP BY 1, 2, 3
"""


def fill(platform: Platform, entities: int) -> None:
    """Write the rows, and what the stages would have noted of them."""
    until = "2026-11-28T23:00:00Z"
    with platform.warehouse.transactions.begin() as connection:
        many = {"metric": "cpu", "first": 1, "last": entities, "step": "1 hour", "until": until}
        connection.execute(_FILL, {**many, "since": "2026-11-22T00:00:00Z"})
        long = {"metric": "long", "first": 1, "last": 1, "step": "1 minute", "until": until}
        # 100,000 minutes before the end.
        connection.execute(_FILL, {**long, "since": "2026-09-20T12:21:00Z"})
        connection.execute(_INDEX)
        connection.execute(_INDEX_DAYS)
    with contextlib.ExitStack() as stack:
        import psycopg

        connection = stack.enter_context(
            psycopg.connect(platform.urls.application, autocommit=True)
        )
        connection.execute("VACUUM ANALYZE")


@contextlib.contextmanager
def served(platform: Platform) -> Iterator[tuple[str, str]]:
    """Serve API and console; yield the address and a key."""
    import uvicorn

    from anomaly_platform.console.app import create_app

    _, key = platform.warehouse.api_keys.create("benchmark", SCOPES, created_by="benchmark")
    server = uvicorn.Server(
        uvicorn.Config(create_app(platform), port=0, log_level="warning", ws="none")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}", key
    server.should_exit = True
    thread.join(20)


def in_browser(url: str, key: str) -> dict[str, list[float]]:
    """Return milliseconds of each page, from the click until it is there."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(120_000)
        page.goto(f"{url}/console/log-in")
        page.fill("input[name=key]", key)
        began = time.perf_counter()
        page.click("button.main")
        page.wait_for_load_state("load")
        first = (time.perf_counter() - began) * 1000
        loaded = "performance.getEntriesByType('navigation')[0].loadEventEnd"
        found = {
            "overview, the first time": [first],
            "overview": _each(page, f"{url}/console", lambda: page.evaluate(loaded)),
            "explorer": _each(
                page, f"{url}/console/explorer?stream=ems", lambda: page.evaluate(loaded)
            ),
            "entity": _each(
                page,
                f"{url}/console/entity?stream=ems&entity=host-00001",
                lambda: page.evaluate(loaded),
            ),
        }
        whole = f"{url}/console/series?stream=ems&entity=host-00001&metric=long&range=1+year"

        def drawn() -> float:
            page.locator("[data-drawn]").wait_for()
            at: float = page.evaluate("performance.getEntriesByName('series-drawn')[0].startTime")
            return at

        found["series of 100,000 readings, until it is drawn"] = _each(page, whole, drawn)
        browser.close()
    return found


def _each(page: Any, address: str, ready: Callable[[], float], times: int = 5) -> list[float]:
    found = []
    for _ in range(times):
        page.goto(address, wait_until="load")
        found.append(ready())
    return found


async def watched(url: str, key: str, clients: int) -> dict[str, float]:
    """Have many pages renew themselves for a while; return what that costs."""
    process = psutil.Process()
    spent: list[float] = []
    unchanged = 0

    async def one(number: int) -> None:
        nonlocal unchanged
        async with httpx.AsyncClient(base_url=url, timeout=60) as client:
            await client.post("/console/log-in", data={"key": key})
            await asyncio.sleep(number / clients * EVERY_S)
            tag, until = "", time.monotonic() + WATCHED_S
            while time.monotonic() < until:
                began = time.perf_counter()
                headers = {"x-part": "live", "if-none-match": tag}
                answer = await client.get("/console", headers=headers)
                spent.append((time.perf_counter() - began) * 1000)
                unchanged += answer.status_code == 304
                tag = answer.headers["etag"]
                await asyncio.sleep(EVERY_S)

    before, began = process.cpu_times(), time.monotonic()
    await asyncio.gather(*(one(number) for number in range(clients)))
    after, seconds = process.cpu_times(), time.monotonic() - began
    used = after.user + after.system - before.user - before.system
    return {
        "median of an answer, ms": statistics.median(spent),
        "99th percentile, ms": statistics.quantiles(spent, n=100)[98],
        "share of answers without content": unchanged / len(spent),
        "cores that the process took": used / seconds,
    }


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entities", type=int, default=ENTITIES)
    parser.add_argument("--out", type=Path, help="Where the table goes as Markdown.")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="anomaly-console-") as home:
        platform = Platform(get_settings(home=Path(home)))
        try:
            began = time.monotonic()
            fill(platform, asked.entities)
            circumstances = (
                f"{asked.entities:,} entities, {DAYS} days, one metric, hourly; filled in "
                f"{time.monotonic() - began:.0f} s; load {psutil.getloadavg()[0]:.1f} on "
                f"{psutil.cpu_count()} cores"
            )
            lines = [
                "# Speed of the console",
                "",
                f"Made by `python benchmarks/console.py`. {circumstances}.",
                "",
                "| page, in a browser | fastest, ms | median, ms | slowest, ms | goal, ms |",
                "| --- | ---: | ---: | ---: | ---: |",
            ]
            with served(platform) as (url, key):
                for name, spent in in_browser(url, key).items():
                    figures = (min(spent), statistics.median(spent), max(spent), GOALS[name])
                    lines.append(
                        f"| {name} | " + " | ".join(f"{one:,.0f}" for one in figures) + " |"
                    )
                lines += ["", f"| {CLIENTS} open pages | |", "| --- | ---: |"]
                for name, value in asyncio.run(watched(url, key, CLIENTS)).items():
                    lines.append(f"| {name} | {value:,.2f} |")
        finally:
            platform.release()
    text = "\n".join(lines) + "\n"
    print(text)
    if asked.out:
        asked.out.write_text(text)


if __name__ == "__main__":
    main()
