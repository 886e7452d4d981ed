"""What four hostile clients cost everybody else: answers of health and predict, with and without.

    python benchmarks/doors.py [--seconds N] [--workers N]

Four clients with a key that may only read send sixteen megabytes again and again, to a route that
takes so much: brackets alone, and scans that only at their end show to be none. A fifth client asks
for `/health/live` and a prediction every 20 ms. Before and after that it asks in peace, and while
the four send the same to a process that reads and forgets it, which is what they cost the machine
anyway. All in one run, since only ratios mean anything on another machine. Prints a table, and
writes nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
from serving_home import free_port, running
from speed_table import table

from anomaly_platform.platform import Platform
from anomaly_platform.settings import get_settings

CLIENTS, PAUSE_S = 4, 0.02
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
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        platform = Platform(get_settings(home=Path(folder)))
        try:
            keys = [_new_key(platform) for _ in range(CLIENTS + 1)]
            command = [str(Path(sys.executable).parent / "anomaly"), "api"]
            with running(command, Path(folder), given.workers) as url:
                _know_the_device(url, platform)
                _probe(url, keys[0], 2)
                before = _probe(url, keys[0], given.seconds)
                found = {}
                for name, body in (("brackets", BRACKETS), ("odd scans", ODD)):
                    with _sink() as elsewhere, _attackers(elsewhere, keys[1:], body):
                        beside = _probe(url, keys[0], given.seconds)
                    with _attackers(url, keys[1:], body):
                        found[name] = beside, _probe(url, keys[0], given.seconds)
                after = _probe(url, keys[0], given.seconds)
        finally:
            platform.close()
            platform.release()
    print(_page(before, after, found))


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
    time.sleep(2)
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


def _page(before: Took, after: Took, found: dict[str, tuple[Took, Took]]) -> str:
    rows = []
    for body, (beside, attacked) in found.items():
        for name, took in attacked.items():
            peace = np.percentile([*before[name], *after[name]], [50, 99])
            there = np.percentile(beside[name], [50, 99])
            here = np.percentile(took, [50, 99])
            limit = LIVE_MS if name == "/health/live" else PREDICT_TIMES * peace[1]
            times = [f"{one:.1f}" for one in (*peace, *there, *here)]
            met = "yes" if here[1] < limit else "no"
            rows.append((f"{name}, {body}", *times, f"< {limit:.0f}", met))
    head = [
        f"{what} {share}" for what in ("peace", "beside", "attacked") for share in ("p50", "p99")
    ]
    return table(("answer of, ms", *head, "goal of p99", "met"), rows)


if __name__ == "__main__":
    main()
