"""Wide frames that are learned from and scored."""

from datetime import datetime, timedelta

import numpy as np
import polars as pl

from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet

START = datetime(2026, 3, 2)  # noqa: DTZ001  (files often say no zone)
SMALL = MetricFeatureSet(windows=(6, 24, 48), lags=(1, 6))


def wide(rows, seed=0, first=0):
    rng = np.random.default_rng(seed)
    times = [START + (first + i) * timedelta(minutes=5) for i in range(rows)]
    return pl.DataFrame({"t": times, "cpu": rng.normal(50, 2, rows), "mem": rng.normal(8, 1, rows)})


def with_jump(frame, row, size=60.0):
    jump = pl.when(pl.int_range(pl.len()) == row).then(size).otherwise(0.0)
    return frame.with_columns(pl.col("cpu") + jump, pl.col("mem") + jump)
