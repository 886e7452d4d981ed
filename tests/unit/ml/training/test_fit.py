"""Short histories: each fifth is judged by parts that know nothing of it."""

import numpy as np
import polars as pl
import pytest

from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.scoring.scored_columns import FeatureTable
from anomaly_platform.ml.training.fit import FittedSeries, FleetPolicy, fit_series
from tests.builders.readings import series

FEATURES = MetricFeatureSet(windows=(6, 24, 48), lags=(1, 6))
ROWS = 300
#: Where the first fifth of the part that the served model is fitted on ends.
END = 60


def columns_of(values):
    table = FeatureTable.of(FEATURES.compute(series("a", "cpu", values)), FEATURES)
    return table.times, dict(zip(FEATURES.names, table.columns, strict=True))


def trained(times, columns) -> FittedSeries:
    policy = FleetPolicy(alpha=0.01, trees=20, evaluate=False)
    return fit_series(("a", "cpu"), times, columns, FEATURES, policy)


@pytest.fixture(scope="module")
def quiet():
    return np.random.default_rng(5).normal(50.0, 2.0, ROWS)


@pytest.mark.parametrize(("rows", "known"), [(slice(END, END + 24), False), (slice(84, 90), True)])
def test_a_fifth_is_judged_without_the_rows_that_look_back_on_it(quiet, rows, known):
    times, columns = columns_of(quiet)
    before = trained(times, columns).scores[:END]
    changed = {name: column.copy() for name, column in columns.items()}
    for name in ("value", "median_6", "mean_24", "median_24", "std_24"):
        changed[name][rows] += 30.0
    after = trained(times, changed).scores[:END]
    assert np.array_equal(before, after) is not known


def test_spikes_are_set_aside_where_few_of_all_calibrating_rows_decide(quiet):
    quiet[140] += 40.0
    # All rows calibrate, not the held out fifths of 60 and 30 alone: 1 of 300 is rare enough.
    assert trained(*columns_of(quiet)).kept.all()
    fitted = trained(*columns_of(quiet[:150]))
    assert fitted.scores.size == 150
    assert np.flatnonzero(~fitted.kept).tolist() == list(range(140, 147))


@pytest.mark.parametrize(("every", "needed"), [(1, 32), (3, 32), (12, 15), (24, 7)])
def test_a_model_asks_for_two_thirds_of_what_its_series_has_in_the_longest_window(every, needed):
    values = np.random.default_rng(5).normal(50.0, 2.0, 900)
    rows = series("a", "cpu", values)[::every]
    table = FeatureTable.of(FEATURES.compute(rows), FEATURES)
    fitted = trained(table.times, dict(zip(FEATURES.names, table.columns, strict=True)))
    # A window has 48 readings before one, and of hourly ones no more than the 23 of a day.
    assert fitted.model.history == needed


def test_a_few_missing_readings_are_no_reason_to_ask_for_less():
    values = np.random.default_rng(5).normal(50.0, 2.0, 900)
    rows = series("a", "cpu", values)
    table = FeatureTable.of(
        FEATURES.compute(rows.filter(pl.Series(np.arange(900) % 20 > 0))), FEATURES
    )
    fitted = trained(table.times, dict(zip(FEATURES.names, table.columns, strict=True)))
    assert fitted.model.history == 32
