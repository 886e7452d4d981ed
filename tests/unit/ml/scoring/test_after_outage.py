"""After a silence longer than the look-back: what a model knows without a window decides."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from anomaly_platform.ml.bundles.bundle import open_bundle
from anomaly_platform.ml.features.metrics.batch import microseconds
from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.features.metrics.series_buffers import features_in_turn
from anomaly_platform.ml.features.metrics.series_state import SeriesState
from anomaly_platform.ml.scoring.batch import FleetScorer
from anomaly_platform.ml.scoring.online import OnlineScorer
from anomaly_platform.ml.training.fit import FleetPolicy
from anomaly_platform.ml.training.fleet import train_fleet
from anomaly_platform.ml.training.manifest import Lineage
from tests.builders.readings import series

FEATURES = MetricFeatureSet(windows=(6, 24, 96), lags=(1, 6), frequency=timedelta(minutes=15))
DAY = 96
DAYS = 21
LINEAGE = Lineage(stream="iiot", version="1", code_version="0.1.0")


def seasonal(rows, seed=1):
    """Return readings between 40 (at 18:00) and 160 (at 6:00)."""
    clock = np.arange(rows) / DAY * 2 * np.pi
    return 100 + 60 * np.sin(clock) + np.random.default_rng(seed).normal(0, 1, rows)


def steady(rows, seed=2):
    return 20 + np.random.default_rng(seed).normal(0, 1, rows)


def resting(rows, seed=3):
    return np.full(rows, 7.0)


TRAINED = {"seasonal": seasonal, "steady": steady, "resting": resting}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    frame = pl.concat(
        [
            *(
                series("d", name, of(DAYS * DAY), step=FEATURES.frequency)
                for name, of in TRAINED.items()
            ),
            # A sensor that reports once a day: its window never holds a reading.
            series("d", "daily", steady(120), step=timedelta(days=1)),
        ]
    )
    directory = tmp_path_factory.mktemp("bundles") / "v1"
    train_fleet([FEATURES.compute(frame)], FEATURES, FleetPolicy(), directory, lineage=LINEAGE)
    with open_bundle(directory) as opened:
        yield opened


def after(metric, silence, values, history=DAY):
    """Return the last rows of training, and after a silence the given values."""
    first = DAYS * DAY - history
    known = TRAINED[metric](DAYS * DAY)[first:]
    before = series("d", metric, known, first=first, step=FEATURES.frequency)
    start = before["event_time"].max() + silence
    return pl.concat(
        [before, series("d", metric, values, start=start, step=FEATURES.frequency)]
    ), start


def scored(bundle, frame, since):
    return FleetScorer(bundle).score(FEATURES.compute(frame, since=since))


@pytest.mark.parametrize("metric", TRAINED)
@pytest.mark.parametrize("hours", [24, 25, 24 * 40])
def test_an_absurd_reading_after_an_outage_is_an_anomaly(bundle, metric, hours):
    frame, since = after(metric, timedelta(hours=hours), [1e6, 1e6, 1e6])
    rows = scored(bundle, frame, since)
    assert rows["is_anomaly"].to_list() == [True] * 3
    assert set(rows["status"]) == {"insufficient_history"}
    assert (rows["score"] > 0.99).all()
    assert rows["raw_score"].is_finite().all()


@pytest.mark.parametrize("metric", TRAINED)
@pytest.mark.parametrize("hours", [24, 36, 24 * 7])
def test_ordinary_readings_after_an_outage_stay_quiet(bundle, metric, hours):
    silent = hours * DAY // 24
    values = TRAINED[metric](DAYS * DAY + silent + DAY)[DAYS * DAY + silent - 1 :]
    frame, since = after(metric, timedelta(hours=hours), values)
    rows = scored(bundle, frame, since)[:30]
    assert rows["is_anomaly"].null_count() == 30  # nothing is called normal for "don't know"
    assert rows["score"].null_count() == 0
    assert rows["score"].max() < 0.5


def test_the_time_of_day_counts(bundle):
    # 18:00: the series is at 40 then, and at 158 only in the morning.
    frame, since = after("seasonal", timedelta(hours=42, minutes=15), [158.0])
    assert since.hour == 18
    assert scored(bundle, frame, since)["is_anomaly"].to_list() == [True]
    frame, since = after("seasonal", timedelta(hours=30, minutes=15), [158.0])
    assert since.hour == 6
    assert scored(bundle, frame, since)["is_anomaly"].to_list() == [None]


@pytest.mark.parametrize("silent", [95, 94, 90, 70])
def test_a_gap_at_the_edge_of_the_look_back_hides_nothing(bundle, silent):
    """Up to twenty-six rows of before are left: too few for the fallback and for the model."""
    frame, since = after("steady", silent * FEATURES.frequency, [1e6, 20.0])
    features = FEATURES.compute(frame, since=since)
    rows = FleetScorer(bundle).score(features)
    assert 0 < features["count_96"][0] < 30
    assert rows["is_anomaly"].to_list() == [True, None]


def test_a_device_that_is_always_longer_silent_is_judged_too(bundle):
    values = [*steady(3, seed=8).tolist(), 1e6]
    frame = series("d", "daily", values, first=130, step=timedelta(days=1))
    rows = FleetScorer(bundle).score(FEATURES.compute(frame))
    assert rows["is_anomaly"].to_list() == [None, None, None, True]


def test_several_silent_series_one_row_and_a_batch_have_the_same_bits(bundle):
    scorer = OnlineScorer(FleetScorer(bundle))
    for metric in TRAINED:
        frame, since = after(metric, timedelta(hours=30), [1e6, 20.0, 21.0, -1e308, 0.0])
        expected = scored(bundle, frame, since)
        past = frame.filter(pl.col("event_time") < since)
        state = SeriesState.of(FEATURES, microseconds(past["event_time"]), past["value"].to_numpy())
        new = frame.filter(pl.col("event_time") >= since)
        times, values = microseconds(new["event_time"]), new["value"].to_list()
        features = features_in_turn(FEATURES, state, times.tolist(), values)
        for i in range(times.size):
            said = scorer.judge_one(
                ("d", metric), int(times[i]), np.ascontiguousarray(features[:, i : i + 1]), 0.7
            )
            found = (said.raw, said.p_value, said.score, said.is_anomaly, said.status)
            names = ("raw_score", "p_value", "score", "is_anomaly", "status")
            assert found == tuple(expected[name][i] for name in names)
