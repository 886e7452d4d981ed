"""Seconds of a barcode request over HTTP: one code, and a thousand scans."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import polars as pl
from service.home import Home

#: Requests of each kind.
REPEATS = 15
_FIELDS = ("event_id", "epc_code", "location_id", "business_step", "event_type")


@dataclass(frozen=True)
class BarcodeFigures:
    """Median and worst seconds of each request."""

    one_code: float
    one_code_worst: float
    thousand: float
    thousand_worst: float


def scans_of(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Return scans as a request has them."""
    times = pl.col("event_time").dt.strftime("%Y-%m-%d %H:%M:%S")
    return frame.select(*_FIELDS, times).to_dicts()


def measure(base_url: str, home: Home) -> BarcodeFigures:
    """Ask a running service about codes of `home.scans`, each time about others."""
    scans, headers = home.scans, {"Authorization": f"Bearer {home.key}"}
    with httpx.Client(base_url=base_url, headers=headers, timeout=60) as client:

        def ask(data: Sequence[dict[str, Any]]) -> float:
            began = time.perf_counter()
            client.post("/api/v1/barcode/detect", json={"data": data}).raise_for_status()
            return time.perf_counter() - began

        codes = scans["epc_code"].unique(maintain_order=True)
        single = [scans_of(scans.filter(epc_code=code)) for code in codes[: REPEATS + 3]]
        many = [
            scans_of(scans.slice((n * 997) % max(1, scans.height - 1_000), 1_000))
            for n in range(REPEATS + 1)
        ]
        for data in (*single[:3], many[0]):
            ask(data)
        one = [ask(data) for data in single[3:]]
        thousand = [ask(data) for data in many[1:]]
    return BarcodeFigures(
        float(np.median(one)), max(one), float(np.median(thousand)), max(thousand)
    )
