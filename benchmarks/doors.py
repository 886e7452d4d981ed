"""What four hostile clients cost everybody else: answers of health and predict, with and without.

    python benchmarks/doors.py [--seconds N] [--workers N] [--write]

Four clients with keys that may only read send sixteen megabytes again and again, to a route that
takes so much: brackets alone, and scans that only at their end show to be none. A fifth client asks
for `/health/live` and a prediction every 20 ms: in peace, while the four send the same to a process
that reads and forgets it, which is what they cost the machine anyway, from the moment at which they
begin to send it to the API, and once each of their keys is held back, since the API has refused as
much of it as it does in a minute. All in one run, since only ratios mean anything on another
machine. Prints a table; with --write it replaces the one in docs/measured/stress.md.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
from prometheus_client.parser import text_string_to_metric_families
from service.home import free_port, running
from speed_table import machine, moment, table

from anomaly_platform.platform import Platform
from anomaly_platform.settings import get_settings

PAGE = Path(__file__).parents[1] / "docs" / "measured" / "stress.md"
CLIENTS, PAUSE_S = 4, 0.02
#: How often the clients are held back before the last measurement, and seconds to wait for it.
HELD_BACK, PATIENCE_S = 4 * CLIENTS, 90.0
READING = {"device_id": "press-001", "metric_name": "temperature", "value": 49.2}
Took = dict[str, list[float]]
LIVE_MS, PREDICT_TIMES = 50.0, 2.0
BRACKETS = '"[" * (16 * 2**20 - 1)'
ODD = "'{\"data\":[' + ('{\"location_id\":\"' + 'x' * 900 + '\"},') * 16_000 + '7]}'"
ATTACK = """
import httpx, sys
body = eval(sys.argv[3]).encode()
headers = {"X-API-Key": sys.argv[2], "Content-Type": "application/json"}
url = sys.argv[1] + "/api/v1/barcode/detect"
while True:
    try:
        httpx.post(url, content=body, headers=headers, timeout=60)
    except httpx.HTTPError:
        pass
"""
SINK = """
import asyncio, re, sys
async def serve(reader, writer):
    try:
        head = await reader.readuntil(b"\\r\\n\\r\\n")
        left = int(re.search(rb"(?i)content-length: (\\d+)", head)[1])
        while left:
            left -= len(await reader.read(1 << 18))
        writer.write(b"HTTP/1.1 422 X\\r\\nContent-Length: 0\\r\\nConnection: close\\r\\n\\r\\n")
        await writer.drain()
    finally:
        writer.close()
async def main():
    async with await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1])) as server:
        await server.serve_forever()
asyncio.run(main())
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        platform = Platform(get_settings(home=Path(folder)))
        try:
            key = _new_key(platform)
            command = [str(Path(sys.executable).parent / "anomaly"), "api"]
            with running(command, Path(folder), given.workers) as url:
                _know_the_device(url, platform)
                _probe(url, key, 2)
                peace = _probe(url, key, given.seconds)
                found = {}
                for name, body in (("brackets", BRACKETS), ("odd scans", ODD)):
                    hostile = [_new_key(platform) for _ in range(CLIENTS)]
                    found[name] = _attacked(url, key, hostile, body, given.seconds)
                after = _probe(url, key, given.seconds)
        finally:
            platform.close()
            platform.release()
    for name, took in after.items():
        peace[name] += took
    page = f"Measured {moment()}, {machine()}:\n\n{_page(peace, found)}"
    print(page)
    if given.write:
        before = PAGE.read_text(encoding="utf-8")
        after_it = re.sub(r"Measured .*?\n\n\|.*?\n(?=\n)", lambda _: page, before, flags=re.S)
        PAGE.write_text(after_it, encoding="utf-8")


def _attacked(url: str, key: str, hostile: list[str], body: str, seconds: float) -> list[Took]:
    """Return the answers beside the clients, while they begin, and while they are held back."""
    with _sink() as elsewhere, _attackers(elsewhere, hostile, body):
        time.sleep(2)
        beside = _probe(url, key, seconds)
    before = _held_back(url, key)
    with _attackers(url, hostile, body):
        first = _probe(url, key, seconds)
        until = time.monotonic() + PATIENCE_S
        while _held_back(url, key) < before + HELD_BACK:
            if time.monotonic() > until:
                sys.exit("the clients were not held back")
            time.sleep(0.5)
        return [beside, first, _probe(url, key, seconds)]


def _held_back(url: str, key: str) -> float:
    """Return how many bodies were refused for what their keys had sent before."""
    text = httpx.get(f"{url}/metrics", headers={"X-API-Key": key}, timeout=60).text
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels.get("reason") == "refused_bodies"
        and sample.name == "anomaly_http_refused_total"
    )


def _new_key(platform: Platform, *scopes: str) -> str:
    _, key = platform.warehouse.api_keys.create(
        "doors", scopes or ["ml:read"], created_by="benchmark", predictions_per_minute=0
    )
    return key


def _know_the_device(url: str, platform: Platform) -> None:
    headers = {"X-API-Key": _new_key(platform, "ml:write")}
    known = httpx.post(f"{url}/api/v1/telemetry", json=READING, headers=headers, timeout=60)
    known.raise_for_status()


@contextlib.contextmanager
def _sink() -> Iterator[str]:
    """Run a server that reads requests and forgets them."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-c", SINK, str(port)], stderr=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def _attackers(url: str, keys: list[str], body: str) -> Iterator[None]:
    """Run the hostile clients as processes of their own, each with its own key."""
    running = [subprocess.Popen([sys.executable, "-c", ATTACK, url, key, body]) for key in keys]
    try:
        yield
    finally:
        for one in running:
            one.kill()
            one.wait()


def _probe(url: str, key: str, seconds: float) -> Took:
    """Return the milliseconds of each answer."""
    took: Took = {"/health/live": [], "predict": []}
    headers = {"X-API-Key": key}
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        # Connections of its own, so that every worker is asked.
        with httpx.Client(headers=headers, timeout=60, base_url=url) as client:
            client.get("/health/live")
            for name, ask in (
                ("/health/live", lambda c=client: c.get("/health/live")),
                ("predict", lambda c=client: c.post("/api/v1/ml/predict", json=READING)),
            ):
                began = time.perf_counter()
                ask().raise_for_status()
                took[name].append((time.perf_counter() - began) * 1e3)
        time.sleep(PAUSE_S)
    return took


def _page(peace: Took, found: dict[str, list[Took]]) -> str:
    rows = []
    for body, phases in found.items():
        for name, usual in peace.items():
            points = [np.percentile(took, [50, 99]) for took in (usual, *(p[name] for p in phases))]
            limit = LIVE_MS if name == "/health/live" else PREDICT_TIMES * points[0][1]
            times = [f"{one:.1f}" for pair in points for one in pair]
            met = "yes" if points[-1][1] < limit else "no"
            rows.append((f"{name}, {body}", *times, f"< {limit:.0f}", met))
    phases = ("peace", "beside", "at first", "held back")
    head = [f"{what} {share}" for what in phases for share in ("p50", "p99")]
    return table(("answer of, ms", *head, "goal of p99", "met"), rows)


if __name__ == "__main__":
    main()
