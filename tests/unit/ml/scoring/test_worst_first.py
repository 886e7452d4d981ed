"""Scores order by how unusual readings are, also on a first model that has seen them."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly_platform.ml.arrays import Floats
from anomaly_platform.ml.calibration.conformal import score_of_p
from anomaly_platform.ml.features.metrics.batch import microseconds
from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.scoring.model_stack import Columns, ModelStack
from anomaly_platform.ml.series_model.model import SeriesModel
from anomaly_platform.ml.training.fit import FleetPolicy, fit_series
from anomaly_platform.ml.training.outlier_trimming import spikes
from tests.builders.readings import series

ALPHA = 0.001
#: As stream `iiot` has them, whatever the sampling.
FEATURES = MetricFeatureSet()
ROWS = 504


def values_of(rows: int, per_day: int, seed: int = 0) -> Floats:
    noise = np.random.default_rng(seed).normal(0.0, 0.5, rows)
    return 50.0 + 5.0 * np.sin(2.0 * np.pi * np.arange(rows) / per_day) + noise


def learned(values: Floats, minutes: int) -> tuple[SeriesModel, Floats, Floats]:
    """Return a model of the readings, their times and their features."""
    frame = FEATURES.compute(series("d", "m", values, step=timedelta(minutes=minutes)))
    times = microseconds(frame["event_time"])
    columns = {name: frame[name].cast(pl.Float64).to_numpy() for name in FEATURES.names}
    policy = FleetPolicy(alpha=ALPHA, evaluate=False)
    model = fit_series(("d", "m"), times, columns, FEATURES, policy).model
    return model, times, np.array([columns[name] for name in FEATURES.names])


@pytest.mark.parametrize("minutes", [10, 60])
@pytest.mark.parametrize("place", [0.4, 0.79, 0.85, 0.95, 1.0])
def test_an_evident_spike_is_the_worst_row_and_an_alarm(minutes: int, place: float) -> None:
    rows = ROWS if minutes == 60 else 4 * ROWS
    values = values_of(rows, 1440 // minutes)
    at = min(int(place * rows), rows - 1)
    values[at] += 60 * 0.5
    model, times, features = learned(values, minutes)
    found = ModelStack.of(model).score_series(times, features, Columns(FEATURES))
    scores = np.where(found.known, score_of_p(np.where(found.known, found.p, 1.0), ALPHA), 0.0)
    others = np.delete(scores, at)
    assert scores[at] >= 0.7
    assert scores[at] > others.max() + 0.02
    assert np.mean(others >= 0.7) < 0.005


@pytest.fixture(scope="module")
def ordinary() -> tuple[SeriesModel, Floats, Floats]:
    return learned(values_of(ROWS, 24), 60)


def scores_of(ordinary: tuple[SeriesModel, Floats, Floats], sizes: Floats) -> Floats:
    """Return scores of the last reading if it were off by so many times the noise."""
    model, times, features = ordinary
    rows = np.repeat(features[:, -1:], sizes.size, axis=1)
    names = FEATURES.names
    rows[names.index("value")] += 0.5 * sizes
    for lag in FEATURES.lags:
        rows[names.index(f"diff_{lag}")] += 0.5 * sizes
    clock = np.full(sizes.size, times[-1])
    found = ModelStack.of(model).score_series(clock, rows, Columns(FEATURES))
    return score_of_p(found.p, ALPHA)


@given(st.lists(st.floats(5.0, 1e9), min_size=2, max_size=20), st.sampled_from([1.0, -1.0]))
@settings(deadline=None, max_examples=50)
def test_a_larger_deviation_never_scores_lower(ordinary, sizes, sign) -> None:
    scores = scores_of(ordinary, sign * np.sort(np.array(sizes)))
    assert (np.diff(scores) >= 0.0).all()


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_worst_are_told_apart(ordinary, sign) -> None:
    scores = scores_of(ordinary, sign * np.geomspace(10.0, 1e9, 60))
    assert (np.diff(scores) > 0.0).all()


@pytest.mark.parametrize("rows", [300, ROWS, 2000])
def test_a_spike_is_set_aside_with_the_rows_that_remember_it(rows: int) -> None:
    values = values_of(rows, 24)
    values[rows // 2] += 30.0
    aside = spikes(values, ALPHA, rows // 5, 12)
    assert np.flatnonzero(aside).tolist() == list(range(rows // 2, rows // 2 + 13))


ORDINARY = {
    "normal": lambda rng: rng.normal(0.0, 1.0, ROWS),
    "t3": lambda rng: rng.standard_t(3, ROWS),
    "lognormal": lambda rng: rng.lognormal(0.0, 1.0, ROWS),
    "steps": lambda rng: np.repeat(rng.normal(0.0, 5.0, ROWS // 21), 21),
    "on_off": lambda rng: (rng.random(ROWS) < 0.05).astype(float),
    "weekly": lambda rng: np.where(np.arange(ROWS) % 168 == 9, 40.0, rng.normal(2, 0.1, ROWS)),
}


@pytest.mark.parametrize("kind", ORDINARY)
def test_what_is_usual_is_no_spike(kind: str) -> None:
    lost = [
        spikes(ORDINARY[kind](np.random.default_rng(seed)), ALPHA, ROWS // 5, 12).any()
        for seed in range(20)
    ]
    assert np.mean(lost) <= 0.1


def test_where_many_rows_decide_none_is_set_aside() -> None:
    values = values_of(6000, 288)
    values[3000] += 30.0
    assert not spikes(values, 0.01, 1200, 12).any()
