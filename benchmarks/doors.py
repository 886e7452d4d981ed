"""What four hostile clients cost everybody else: answers of health and predict, with and without.

    python benchmarks/doors.py [--seconds N] [--workers N]

Four clients with a key that may only read send sixteen megabytes of brackets again and again, to a
route that takes so much, while a fifth asks for `/health/live` and a prediction every 20 ms. Before
and after that it asks in peace; all in one run, since only ratios mean anything on another machine.
Prints a table, and writes nothing.
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
from serving_home import running
from speed_table import table

from anomaly_platform.platform import Platform
from anomaly_platform.settings import get_settings

CLIENTS, PAUSE_S, BRACKETS = 4, 0.02, 16 * 2**20 - 1
READING = {"device_id": "press-001", "metric_name": "temperature", "value": 49.2}
Took = dict[str, list[float]]
LIVE_MS, PREDICT_TIMES = 50.0, 2.0
ATTACK = f"""
import httpx, sys
body = b"[" * {BRACKETS}
headers = {{"X-API-Key": sys.argv[2], "Content-Type": "application/json"}}
url = sys.argv[1] + "/api/v1/barcode/detect"
while True:
    try:
        httpx.post(url, content=body, headers=headers, timeout=60)
    except httpx.HTTPError:
        pass
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
                with _attackers(url, keys[1:]):
                    under = _probe(url, keys[0], given.seconds)
                after = _probe(url, keys[0], given.seconds)
        finally:
            platform.close()
            platform.release()
    print(_page(before, under, after))


def _new_key(platform: Platform, *scopes: str) -> str:
    _, key = platform.warehouse.api_keys.create(
        "doors", scopes or ["ml:read"], created_by="benchmark", predictions_per_minute=0
    )
    return key


def _know_the_device(url: str, platform: Platform) -> None:
    headers = {"X-API-Key": _new_key(platform, "ml:write")}
    httpx.post(f"{url}/api/v1/telemetry", json=READING, headers=headers).raise_for_status()


@contextlib.contextmanager
def _attackers(url: str, keys: list[str]) -> Iterator[None]:
    """Run the hostile clients as processes of their own, each with its own key."""
    running = [subprocess.Popen([sys.executable, "-c", ATTACK, url, key]) for key in keys]
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


def _page(before: Took, under: Took, after: Took) -> str:
    rows = []
    for name, attacked in under.items():
        peace = [*before[name], *after[name]]
        p50, p99 = np.percentile(peace, [50, 99])
        hostile50, hostile99 = np.percentile(attacked, [50, 99])
        limit = LIVE_MS if name == "/health/live" else PREDICT_TIMES * p99
        rows.append(
            (
                *(name, f"{p50:.1f}", f"{p99:.1f}", f"{hostile50:.1f}", f"{hostile99:.1f}"),
                *(f"{hostile99 / p99:.1f}", f"< {limit:.0f}", "yes" if hostile99 < limit else "no"),
            )
        )
    head = ("answer of", "p50, ms", "p99, ms", "attacked p50", "attacked p99")
    return table((*head, "ratio of p99", "goal, ms", "met"), rows)


if __name__ == "__main__":
    main()
