"""Noise that has become less than in training: followed, and forgotten when it comes back."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache

import numpy as np
import polars as pl
import pytest

from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.scoring.model_stack import Columns, ModelStack
from anomaly_platform.ml.series_model.model import SeriesModel, has_shapes_of_today
from anomaly_platform.ml.series_model.noise import Quiet, part_of_noise
from anomaly_platform.ml.training.fit import FleetPolicy, fit_series

FEATURES = MetricFeatureSet(windows=(12, 24, 96), frequency=timedelta(minutes=15))
PER_DAY, TRAIN_DAYS, QUIET_DAYS, LOUD_DAYS = 96, 21, 4, 1
ALPHA, OFF = 0.01, np.arange((TRAIN_DAYS + 1) * PER_DAY, (TRAIN_DAYS + QUIET_DAYS) * PER_DAY, 37)


@cache
def rows():
    """Return times, features and the ordinary ones of a series that is quiet for four days."""
    rng = np.random.default_rng(3)
    day = np.arange((TRAIN_DAYS + QUIET_DAYS + LOUD_DAYS) * PER_DAY) / PER_DAY
    quiet = (day >= TRAIN_DAYS) & (day < TRAIN_DAYS + QUIET_DAYS)
    rough = np.where(quiet, 0.25, 1.0)
    values = 20.0 + 2.0 * np.sin(2.0 * np.pi * day) + rough * rng.standard_normal(day.size)
    values[OFF] += 8.0 * rough[OFF] * np.where(np.arange(OFF.size) % 2, -1.0, 1.0)
    times = pl.datetime_range(
        datetime(2026, 1, 5, tzinfo=UTC),
        interval=FEATURES.frequency,
        end=datetime(2026, 1, 5, tzinfo=UTC) + (day.size - 1) * FEATURES.frequency,
        eager=True,
    )
    frame = pl.DataFrame({"event_time": times, "value": values}).with_columns(
        entity=pl.lit("e"), metric=pl.lit("m")
    )
    table = FEATURES.compute(frame).select(FEATURES.names).cast(pl.Float64)
    clock = times.dt.epoch("us").to_numpy()
    ordinary = np.ones(day.size, dtype=np.bool_)
    for row in OFF:
        ordinary[row : row + 12] = False
    return clock, table, ordinary


@cache
def model():
    clock, table, _ = rows()
    size = TRAIN_DAYS * PER_DAY
    columns = {name: table[name][:size].to_numpy() for name in FEATURES.names}
    policy = FleetPolicy(alpha=ALPHA, evaluate=False)
    return fit_series(("e", "m"), clock[:size], columns, FEATURES, policy).model


def p_values(of, only=None):
    clock, table, _ = rows()
    features = np.ascontiguousarray(table.to_numpy().T)
    part = slice(TRAIN_DAYS * PER_DAY, None) if only is None else slice(only, only + 1)
    stack = ModelStack.of(of)
    room = stack.score_series(
        clock[part], np.ascontiguousarray(features[:, part]), Columns(FEATURES)
    )
    return room.p.copy()


def without_quiet(of):
    arrays = {name: array for name, array in of.to_arrays().items() if name != "inputs/quiet"}
    return SeriesModel.from_arrays(arrays, FEATURES)


def test_what_is_off_by_the_new_noise_is_found_and_the_rest_is_ordinary():
    p, start = p_values(model()), TRAIN_DAYS * PER_DAY
    ordinary = rows()[2][start:]
    assert (p[OFF - start] <= ALPHA).mean() >= 0.9
    assert (p[ordinary] <= ALPHA).mean() <= 0.02
    before = p_values(without_quiet(model()))
    assert (before[OFF - start] <= ALPHA).mean() <= 0.5


def test_noise_that_comes_back_is_no_alarm():
    back = p_values(model())[-LOUD_DAYS * PER_DAY :]
    assert (back <= ALPHA).mean() <= 0.04


def test_one_row_is_the_same_as_among_others():
    together, start = p_values(model()), TRAIN_DAYS * PER_DAY
    for row in (*OFF[:5].tolist(), start + 120, start + 300, start + 400):
        assert p_values(model(), row)[0].tobytes() == together[row - start].tobytes()


def test_a_bundle_made_before_scores_as_it_did():
    old = without_quiet(model())
    assert old.inputs.quiet == Quiet()
    never = replace(model(), inputs=replace(model().inputs, quiet=Quiet()))
    assert p_values(old).tobytes() == p_values(never).tobytes()
    shapes = {name: array.shape for name, array in old.to_arrays().items()}
    assert has_shapes_of_today(shapes)
    assert not has_shapes_of_today(
        {name: shape for name, shape in shapes.items() if name != "inputs/quiet"}
    )


def test_units_are_noise_at_most():
    assert part_of_noise(1.0, 0.1) == 1.0
    assert part_of_noise(1.0, 10.0) == pytest.approx((2.5758 / 2.0**0.5 / 10.0) ** 2)
    assert min(model().inputs.quiet) > 0.0


def test_units_stay_where_rare_steps_are_jumps_and_where_the_last_digit_is_as_coarse_as_noise():
    table, size, inputs = rows()[1], TRAIN_DAYS * PER_DAY, model().inputs
    columns = {name: table[name][:size].to_numpy() for name in FEATURES.names}
    jumps = np.append(inputs.tails[:-1], 3.0)
    found = [
        Quiet.fit(columns, FEATURES, size, 0.1, inputs.step, tails)
        for tails in (inputs.tails, jumps)
    ]
    assert found[0].calm > 0.0
    assert found[1] == Quiet()
    coarse = columns | {"diff_1": np.where(np.arange(size) % 10, columns["diff_1"], 0.0)}
    assert Quiet.fit(coarse, FEATURES, size, 0.1, inputs.step, inputs.tails) == Quiet()
