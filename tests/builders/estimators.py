"""Small data for each estimator of the library."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from anomaly_platform import (
    HostDetector,
    IsolationForest,
    ScanDetector,
    SequenceDetector,
    SeriesDetector,
)
from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.simulator.metrics import simulate_ems

SMALL = MetricFeatureSet(windows=(6, 24, 48), lags=(1, 6))
CODE = "001.8804823.0000003.000001.20241201.000000001"


@dataclass(frozen=True)
class Case:
    """An estimator, what it learns from, and rows of which the last one is odd."""

    make: Callable[[], Any]
    train: pl.DataFrame
    test: pl.DataFrame


def host(columns: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    long = simulate_ems(days=4, devices=1, anomaly_rate=0, missing_rate=0, churn=0).frame
    wide = long.pivot(on="metric", index="event_time", values="value").sort("event_time")
    wide = wide.select(wide.columns[: columns + 1]).drop_nulls()
    far = pl.when(pl.int_range(pl.len()) == 99)
    odd = wide[900:1000].with_columns(
        far.then(pl.col(name) + 50 * wide[name].std()).otherwise(pl.col(name)).alias(name)
        for name in wide.columns[1:]
    )
    return wide[:900], odd


def forest_case() -> Case:
    rng = np.random.default_rng(0)
    rows = pl.DataFrame(rng.normal(size=(700, 2)), schema=["cpu", "mem"])
    odd = pl.DataFrame({"cpu": [9.0], "mem": [-9.0]})
    return Case(IsolationForest, rows[:600], pl.concat([rows[600:], odd]))


def sequence_case() -> Case:
    rows = pl.DataFrame({"events": [["open", *["read"] * (n % 6), "close"] for n in range(120)]})
    odd = pl.DataFrame({"events": [["close", "explode", "open"]]})
    return Case(
        lambda: SequenceDetector(folds=2, hidden=16, max_epochs=6),
        rows,
        pl.concat([rows[:10], odd]),
    )


def scan_case() -> Case:
    events = pl.DataFrame(
        {
            "event_id": ["e0", "e1", "e2"],
            "epc_code": [CODE, CODE, "fake"],
            "location_id": ["A", "A", None],
            "business_step": ["HUB"] * 3,
            "event_type": ["HUB_Inbound", "HUB_Outbound", "HUB_Inbound"],
            "event_time": ["2025-01-01 10:00:00", "2025-01-01T12:00:00", "2025-01-02 10:00:00"],
        }
    )
    return Case(ScanDetector, events[:2], events)


CASES: dict[str, Callable[[], Case]] = {
    "forest": forest_case,
    "series": lambda: Case(lambda: SeriesDetector(feature_set=SMALL), *host(1)),
    "host": lambda: Case(lambda: HostDetector(feature_set=SMALL), *host(3)),
    "sequence": sequence_case,
    "scan": scan_case,
}
