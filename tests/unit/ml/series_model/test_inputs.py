"""Model inputs: relations, finite for everything, and without a memory of single readings."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.series_model.input_kernels import (
    FLOOR_SHARE,
    forget_spikes,
    relate,
    standardise,
)
from anomaly_platform.ml.series_model.inputs import (
    InputModel,
    input_schema,
    related_names,
    spread_names,
)
from anomaly_platform.ml.series_model.noise import no_quiet_units
from tests.builders.readings import series

FEATURES = MetricFeatureSet(windows=(6, 24, 48), lags=(1, 6))
WEEK = 7 * 288


def clock(count):
    return 1_772_000_000_000_000 + np.arange(count, dtype=np.int64) * 300_000_000


def fit(columns):
    return InputModel.fit(clock(columns["value"].size), columns, FEATURES)


def derive(model, columns):
    times = clock(columns["value"].size)
    out = np.empty((times.size, model.medians.size))
    table = np.array([columns[name] for name in related_names(FEATURES)])
    floor = FLOOR_SHARE * model.trailing
    relate(table, floor, model.step, out)
    spread = (columns[name] for name in spread_names(FEATURES))
    forget_spikes(*spread, floor, FEATURES.windows[0], out)
    standardise(out, model.medians, model.tails, out)
    derived = model.week.apply(times, model.season.apply(times, out))
    return model._rescaled_for_noise(derived, columns, FEATURES)


def columns_of(values, feature_set=FEATURES):
    features = feature_set.compute(series("h", "m", values))
    return {name: features[name].cast(pl.Float64).to_numpy() for name in feature_set.names}


def test_units_shrink_with_the_noise_after_a_whole_window_and_stand_again_when_it_is_back():
    noise = np.random.default_rng(0).standard_normal(WEEK + 300)
    model = fit(columns_of(noise[:WEEK]))
    quiet, later = WEEK + 2 * FEATURES.windows[-1], WEEK + 200
    values = noise.copy()
    values[WEEK:later] /= 8.0
    values[[quiet, later + FEATURES.windows[0]]] = 1.8
    columns = columns_of(values)
    step = input_schema(FEATURES).index("step")
    found = derive(model, columns)
    before = derive(replace(model, quiet=no_quiet_units()), columns)
    changed = np.flatnonzero((found != before).any(axis=1))
    assert changed.min() >= WEEK + 2 * FEATURES.windows[0]
    assert (changed >= later).sum() <= FEATURES.windows[0]
    assert found[quiet, step] > 2.0 * before[quiet, step]
    ordinary = np.abs(found[quiet - 20 : quiet, step])
    assert ordinary.max() < 1.5


def test_units_never_shrink_where_less_than_a_week_was_fitted_on():
    """A model of weekdays knows no quiet Sunday."""
    noise = np.random.default_rng(0).standard_normal(WEEK)
    days = round(0.9 * WEEK)
    assert np.array_equal(fit(columns_of(noise[:days])).quiet, no_quiet_units())
    assert (fit(columns_of(noise)).quiet > 0.0).all()


def test_a_model_from_before_units_shrank_has_the_inputs_that_it_had():
    values = np.random.default_rng(0).standard_normal(WEEK + 300)
    values[WEEK:] /= 5.0
    columns = columns_of(values)
    model = fit(columns_of(values[:WEEK]))
    arrays = model.to_arrays()
    del arrays["quiet_units"]
    old = InputModel.from_arrays(arrays)
    assert not np.array_equal(derive(old, columns), derive(model, columns))
    known = replace(model, quiet=no_quiet_units())
    assert np.array_equal(derive(old, columns), derive(known, columns))


def test_inputs_do_not_change_when_the_series_is_shifted_or_scaled():
    values = np.random.default_rng(0).normal(0, 1, 400).cumsum()
    for change in (values + 1000.0, values * 64.0):
        plain, changed = columns_of(values), columns_of(change)
        a = derive(fit(plain), plain)
        b = derive(fit(changed), changed)
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


def test_one_strange_reading_is_forgotten_after_the_shortest_window():
    values = np.random.default_rng(1).normal(50, 1, 400)
    model = fit(columns_of(values))
    strange = values.copy()
    strange[200] += 40.0
    difference = np.abs(derive(model, columns_of(strange)) - derive(model, columns_of(values))).max(
        axis=1
    )
    assert difference[200] > 1.5
    assert np.median(difference[207:]) < 0.1


def test_one_strange_reading_makes_none_after_it_strange():
    values = np.random.default_rng(1).normal(50, 1, 400)
    model = fit(columns_of(values))
    usual = derive(model, columns_of(values))[201:207]
    for size in (40.0, -1e3, 1e9):
        strange = values.copy()
        strange[200] += size
        after = derive(model, columns_of(strange))[201:207]
        spread = input_schema(FEATURES).index("spread")
        assert np.abs(after[:, spread] - usual[:, spread]).max() < 1.0
    # Many are no single one: they are seen in the spread.
    many = values.copy()
    many[200:204] += (40.0, -40.0, 40.0, -40.0)
    assert derive(model, columns_of(many))[204, spread] > 2.0


def test_a_new_level_becomes_ordinary():
    rng = np.random.default_rng(2)
    values = rng.normal(10, 1, 600)
    model = fit(columns_of(values[:400]))
    moved = values.copy()
    moved[400:] += 20.0
    distance = np.abs(derive(model, columns_of(moved))).max(axis=1)
    assert distance[400] > 2.0
    assert np.median(distance[460:]) < 0.7


def test_the_model_survives_its_array():
    columns = columns_of(np.random.default_rng(3).normal(0, 1, 200))
    model = fit(columns)
    again = InputModel.from_arrays(model.to_arrays())
    np.testing.assert_array_equal(derive(again, columns), derive(model, columns))


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.one_of(
            st.sampled_from([0.0, 1.0, 0.1]), st.floats(allow_nan=False, allow_infinity=False)
        ),
        min_size=1,
        max_size=60,
    )
)
def test_inputs_are_always_finite(values):
    columns = columns_of(values)
    inputs = derive(fit(columns), columns)
    assert inputs.shape == (len(values), len(input_schema(FEATURES)))
    assert np.isfinite(inputs).all()


@pytest.mark.parametrize("constant", [0.0, 5.0, -1e6])
def test_a_change_of_a_constant_series_is_far_away(constant):
    columns = columns_of([constant] * 200)
    model = fit(columns)
    changed = columns_of([constant] * 200 + [constant * 1.2 + 1.0])
    assert np.abs(derive(model, columns)).max() == 0.0
    assert np.abs(derive(model, changed)[-1]).max() > 3.0
