"""The platform as one more method of the benchmark: features, fleet and scorer of a stream.

Nothing is chosen per corpus. The frequency of the readings is taken from their times, as it would
stand in a stream's description.
"""

from __future__ import annotations

import tempfile
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
from corpora import Case
from numpy.typing import NDArray

from anomaly_platform.ml.features.metrics import MetricFeatureSet
from anomaly_platform.ml.scoring import FleetScorer
from anomaly_platform.ml.training.fit import FleetPolicy
from anomaly_platform.ml.training.fleet import train_fleet
from anomaly_platform.ml.training.manifest import Lineage


def platform_scores(case: Case) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Learn from the train part and score every row; the labels are not looked at.

    Returns
    -------
    scores : ndarray of float64, shape (rows,)
        The entity's score, NaN where the platform gives none.
    flags : ndarray of bool, shape (rows,)
        Its decision at the default threshold.
    """
    # Two rows of a file may carry one time; a platform's natural key may not. The benchmark wants
    # every row judged, so rows are placed on the file's own regular clock.
    step = case.frame["timestamp"].diff().drop_nulls().median()
    if not isinstance(step, timedelta) or step <= timedelta(0):
        raise ValueError(f"{case.name}: the times do not rise")
    start = case.frame["timestamp"][0]
    clock = pl.Series("event_time", [start + step * row for row in range(case.frame.height)])
    long = (
        case.frame.drop("timestamp")
        .with_columns(clock.cast(pl.Datetime("us")).dt.replace_time_zone("UTC"))
        # A metric may itself be called "value", as NAB's are.
        .unpivot(index="event_time", variable_name="metric", value_name="reading")
        .with_columns(pl.lit(case.name).alias("entity"), pl.col("reading").cast(pl.Float64))
        .rename({"reading": "value"})
        .sort("entity", "metric", "event_time")
    )
    feature_set = MetricFeatureSet(frequency=step)
    features = feature_set.compute(long)
    times = long["event_time"].unique().sort()
    with tempfile.TemporaryDirectory() as folder:
        bundle = train_fleet(
            [features.filter(pl.col("event_time") < times[case.train])],
            feature_set,
            FleetPolicy(evaluate=False),
            Path(folder) / "bundle",
            lineage=Lineage("benchmark", "1", "benchmark"),
        )
        scored = FleetScorer(bundle).score(features)
    hosts = (
        scored.group_by("event_time")
        .agg(pl.col("entity_score").max(), pl.col("entity_is_anomaly").any())
        .sort("event_time")
    )
    flags = hosts["entity_is_anomaly"].fill_null(value=False).to_numpy()
    return hosts["entity_score"].fill_null(float("nan")).to_numpy(), flags
