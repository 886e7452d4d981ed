"""Evidence from where a reading lies: lasting, tempered, and only where levels are steady."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_platform.ml.arrays import Columns, Floats, Ints
from anomaly_platform.ml.features.metrics.batch import microseconds
from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.series_model.level_shift import PositionModel
from anomaly_platform.ml.series_model.level_shift_kernels import AS_IS, NOTHING
from tests.builders.readings import series

#: Longer than the training part, so that position is used.
LONG = MetricFeatureSet(windows=(12, 48, 1000))
ROWS = 400


def columns_of(values: Floats, feature_set: MetricFeatureSet) -> tuple[Ints, Columns]:
    features = feature_set.compute(series("e", "m", values))
    return microseconds(features["event_time"]), {
        name: features[name].to_numpy().astype(np.float64) for name in feature_set.names
    }


def fitted(values: Floats, feature_set: MetricFeatureSet = LONG) -> PositionModel:
    times, columns = columns_of(values[:ROWS], feature_set)
    start = int(0.8 * ROWS)
    model = PositionModel.fit(times, columns, feature_set, start)
    distances = model.levels(times, columns, feature_set).distance[start:]
    return model.calibrated(distances, np.linspace(0.0, 1.0, distances.size))


def noise(rows: int) -> Floats:
    return np.random.default_rng(5).normal(50.0, 1.0, rows)


def test_a_new_level_stays_evidence_until_it_has_filled_half_of_the_longest_window() -> None:
    values = noise(2400)
    values[600:] += 10.0
    model = fitted(values)
    times, columns = columns_of(values, LONG)
    worth = model.worth(model.levels(times, columns, LONG).distance / model.slack)
    assert np.median(worth[620:1000]) > 1.0
    assert np.median(worth[1800:]) < 1.0


def test_levels_that_wander_in_training_lengthen_the_way_to_evidence() -> None:
    steady, wandering = noise(ROWS), noise(ROWS)
    wandering += np.linspace(0.0, 20.0, ROWS)
    assert fitted(steady).slack < 2.0 < fitted(wandering).slack


def test_position_is_not_used_where_trailing_windows_are_the_better_reference() -> None:
    short = MetricFeatureSet(windows=(12, 48, 96))
    values = noise(ROWS)
    model = fitted(values, short)
    times, columns = columns_of(values, short)
    assert not np.isfinite(model.slack)
    assert (model.worth(model.levels(times, columns, short).distance) == 0.0).all()


def test_a_sensor_that_never_rests_is_frozen_when_it_does() -> None:
    values = noise(500)
    values[430:460] = values[430]
    frozen = fitted(values).levels(*columns_of(values, LONG), LONG).frozen
    assert frozen[445:460].all()
    assert not frozen[:430].any()
    assert not frozen[461:].any()


def test_a_sensor_that_rests_at_times_is_never_frozen() -> None:
    values = noise(500)
    values[100:160] = values[100]
    values[430:460] = values[430]
    assert not fitted(values).levels(*columns_of(values, LONG), LONG).frozen.any()


def test_next_to_odd_readings_a_usual_one_is_not_odd() -> None:
    values = noise(500)
    values[450] = 90.0
    model = fitted(values)
    times, columns = columns_of(values, LONG)
    effect = model.levels(times, columns, LONG).effect
    assert effect[450] == AS_IS
    assert np.median(effect[451:462]) == NOTHING
    assert not (effect[470:] == NOTHING).any()


def test_arrays_rebuild_the_same_model() -> None:
    values = noise(ROWS)
    model = fitted(values)
    times, columns = columns_of(values, LONG)
    again = PositionModel.from_arrays(model.to_arrays())
    assert np.array_equal(
        model.levels(times, columns, LONG).distance,
        again.levels(times, columns, LONG).distance,
    )
    assert again.slack == pytest.approx(model.slack)
