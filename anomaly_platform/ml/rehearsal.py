"""Trains, scores and explains an invented series, so that whoever is next finds it compiled.

Most compiled functions are compiled at their first call: importing them compiles nothing.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
import polars as pl

from anomaly_platform.ml.arrays import Floats
from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.features.metrics.series_buffers import SeriesBuffers
from anomaly_platform.ml.scoring.batch import FleetScorer
from anomaly_platform.ml.scoring.calls import look_ahead, rate_of, tell
from anomaly_platform.ml.scoring.online import OnlineScorer
from anomaly_platform.ml.series_runs.run_states import RunStates
from anomaly_platform.ml.training.fit import FleetPolicy
from anomaly_platform.ml.training.fleet import train_fleet
from anomaly_platform.ml.training.manifest import Lineage

_KEY: Final = ("rehearsal", "value")
_TRAINED, _SCORED = 600, 50


def rehearse() -> None:
    """Train a model of one series, score a stretch of it with outliers, and one more reading."""
    feature_set = MetricFeatureSet(
        windows=(6, 24, 96), lags=(1, 6), frequency=timedelta(minutes=15)
    )
    values = np.random.default_rng(0).normal(50.0, 1.0, _TRAINED + _SCORED)
    values[_TRAINED + 20 : _TRAINED + 23] += 30.0
    start = datetime(2026, 1, 1, tzinfo=UTC)
    times = [start + feature_set.frequency * i for i in range(values.size)]
    frame = pl.DataFrame(
        {
            "entity": _KEY[0],
            "metric": _KEY[1],
            "event_time": pl.Series(times, dtype=pl.Datetime("us", "UTC")),
            "event_id": [str(i) for i in range(values.size)],
            "value": values,
        }
    )
    rows = feature_set.compute(frame)
    lineage = Lineage(stream=_KEY[0], version="1", code_version="")
    policy = FleetPolicy(trees=20)
    with (
        TemporaryDirectory() as folder,
        train_fleet(
            [rows[:_TRAINED]], feature_set, policy, Path(folder) / "1", lineage=lineage
        ) as bundle,
    ):
        fleet = FleetScorer(bundle)
        fleet.score(rows[_TRAINED:], RunStates())
        online = OnlineScorer(fleet)
        outlier = rows[_TRAINED + 20 : _TRAINED + 21]
        features = np.ascontiguousarray(
            outlier.select(feature_set.names).to_numpy().T, dtype=np.float64
        )
        moments = outlier["event_time"].cast(pl.Int64).to_numpy()
        one = np.array([0.7])
        said = online.judge_one(_KEY, int(moments[0]), features, 0.7)
        online.judge([_KEY], moments, features, one)
        online.explain([_KEY], moments, features, np.array([said.kind]), one)
        calls = online.first_calls(_KEY)
    _look_back_and_ahead(feature_set, calls, frame)


def _look_back_and_ahead(
    feature_set: MetricFeatureSet, calls: Floats, readings: pl.DataFrame
) -> None:
    """Take readings into a look-back, and see what one more would be; then take that in, too."""
    times = readings["event_time"].cast(pl.Int64).to_numpy().copy()
    values = readings["value"].to_numpy().copy()
    buffers = SeriesBuffers(feature_set, 1)
    buffers.take(np.zeros(times.size - 1, dtype=np.int64), times[:-1], values[:-1])
    buffers.put(0, buffers.state(0))
    last, value, rate = int(times[-1]), float(values[-1]), rate_of(0.7, 0.001)
    buffers.next_row(0, last, value)
    look_ahead(calls, last, value, 0.5, rate, np.empty(2))
    first = np.zeros(1, dtype=np.int64)
    tell(calls[None].copy(), first, times[-1:], values[-1:], np.array([0.5]), np.array([rate]))
