"""Rows of a training part that look like unreported incidents."""

import numpy as np
import pytest

from anomaly_platform.ml.arrays import Bools, Floats, Ints
from anomaly_platform.ml.features.metrics.batch import microseconds
from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.series_runs.layout import MOST, OTHERS, TAIL_SIZE, TAILS
from anomaly_platform.ml.training.fit import FittedSeries, FleetPolicy, fit_series, without_outliers
from anomaly_platform.ml.training.outlier_trimming import MOST as MOST_TRIMMED
from anomaly_platform.ml.training.unreported import open_run, suspects
from tests.builders.readings import series

FIVE_MINUTES = 300_000_000
DAY = 288
ROWS = 28 * DAY
DAYS = range(0, ROWS, DAY)


def clock(rows: int = ROWS) -> Ints:
    return np.arange(rows, dtype=np.int64) * FIVE_MINUTES


def ordinary(rows: int = ROWS, noise: float = 0.3) -> Floats:
    """A daily course with noise, read to the second decimal."""
    around = np.random.default_rng(5).normal(0.0, noise, rows)
    course = 5.0 * np.sin(2.0 * np.pi * np.arange(rows) / DAY)
    return np.asarray(np.round(50.0 + course + around, 2))


def level() -> Floats:
    return np.round(np.random.default_rng(4).normal(50.0, 1.0, ROWS), 2)


def found(values: Floats, share: float = 0.1) -> Bools:
    return suspects(clock(values.size), values, FIVE_MINUTES, 12, share)


def test_a_slow_drift_and_a_spike_are_found_and_nothing_else() -> None:
    values = ordinary()
    values[3000:3100] += np.linspace(0.0, 5.0, 100)
    values[5000] -= 6.0
    aside = found(values)
    assert aside[3070:3100].all()
    assert aside[5000]
    aside[2990:3120] = aside[4990:5020] = False
    assert not aside.any()


@pytest.mark.parametrize(("share", "most"), [(0.1, 0.1), (0.01, 0.01), (0.9, MOST_TRIMMED)])
def test_suspects_and_outliers_share_what_may_be_set_aside(share: float, most: float) -> None:
    scores = np.random.default_rng(1).exponential(1.0, 2000)
    scores[::50] += 30.0
    usual = np.ones(2000, dtype=np.bool_)
    policy = FleetPolicy(alpha=0.001, contamination=share)
    for aside in (0, 10, 150, 300):
        usual[:aside] = False
        kept = without_outliers(scores, usual, policy)
        assert not kept[:aside].any()
        assert (~kept).mean() <= max(most, aside / 2000)


def test_a_series_without_incidents_loses_a_few_rows_at_most() -> None:
    assert found(ordinary()).mean() < 0.005


def test_what_comes_at_one_time_of_the_day_is_a_habit() -> None:
    values = ordinary()
    for day in (3, 8, 15, 22):
        values[day * DAY + 80 : day * DAY + 90] += 6.0
    assert not found(values).any()


def test_what_comes_every_other_day_is_what_the_series_is_like() -> None:
    values, places = ordinary(), np.random.default_rng(1)
    for day in DAYS:
        values[day + places.integers(0, DAY - 5) :][:3] += 6.0
    assert not found(values).any()


def test_more_rows_than_the_share_are_left_in() -> None:
    values = ordinary()
    values[3000:3100] += 5.0
    assert found(values, 0.1).any()
    assert not found(values, 0.01).any()


def test_a_sensor_that_was_stuck_once_is_found() -> None:
    values = ordinary()
    values[3000:3030] = values[3000]
    aside = found(values)
    assert aside[3000:3030].all()
    assert aside.sum() < 60


@pytest.mark.parametrize(
    ("rests", "before", "value"), [((3000,), 50.5, 45.0), ((3000, 5000), 50.0, 50.3)]
)
def test_a_machine_that_rests_is_not_stuck(
    rests: tuple[int, ...], before: float, value: float
) -> None:
    # It jumps to where it rests, or comes back there.
    values = level()
    for rest in rests:
        values[rest - 1], values[rest : rest + 30] = before, value
    assert not found(values).any()


def test_a_series_that_often_repeats_long_is_not_stuck() -> None:
    values = level()
    for start in np.random.default_rng(2).choice(ROWS // 40, 30, replace=False) * 40:
        values[start : start + 30] = values[start]
    assert not found(values).any()


def test_readings_near_the_largest_float_are_no_error() -> None:
    values = ordinary()
    values[100], values[200] = 1.7e308, -1.7e308
    assert found(values).shape == values.shape


def fitted(values: Floats, alpha: float) -> FittedSeries:
    features = MetricFeatureSet(windows=(6, 24, 48), lags=(1, 6))
    frame = features.compute(series("a", "m", values))
    columns = {name: frame[name].to_numpy() for name in features.names}
    policy = FleetPolicy(alpha=alpha, trees=10, evaluate=False)
    return fit_series(("a", "m"), microseconds(frame["event_time"]), columns, features, policy)


def longest_run(model: FittedSeries) -> float:
    return float(model.model.runs.constants[TAILS + TAIL_SIZE * OTHERS + MOST])


def test_a_model_knows_nothing_of_them_and_judges_those_held_out() -> None:
    values = ordinary()
    values[3000:3030] = values[3000]
    values[3500:3560] += 8.0
    values[7000:7030] = values[7000]
    values[7500:7560] += 8.0
    robust, plain = fitted(values, 0.001), fitted(values, 0.01)
    assert longest_run(robust) < 6.0
    assert longest_run(plain) == 30.0
    assert robust.scores.size == robust.p_values.size == plain.scores.size
    held_out = ROWS - robust.scores.size
    assert not robust.kept[7000 - held_out : 7030 - held_out].any()
    assert not robust.kept[7500 - held_out : 7560 - held_out].any()
    assert plain.kept.all()
    assert robust.model.position.resting > 0.0 > plain.model.position.resting


def test_where_hardly_any_row_could_calibrate_all_of_them_do() -> None:
    values = ordinary()
    values[-600:-120] += 8.0
    assert found(values)[-550:-150].all()
    assert fitted(values, 0.001).kept[-550:-150].all()


def stuck_at_the_end(rows: int, readings: int) -> Floats:
    values = ordinary(rows)
    values[-readings:] = values[-readings]
    return values


@pytest.mark.parametrize("rows", [300, 3 * DAY, ROWS])
def test_learning_ends_where_a_run_begins_that_is_still_open(rows: int) -> None:
    values = stuck_at_the_end(rows, 40)
    assert open_run(values, 100) == rows - 39
    values[-20:-10] = np.nan
    assert open_run(values, 100) == rows - 39
    values[-1] = np.nan
    assert open_run(values, 100) == rows - 39


def test_a_run_that_has_ended_is_not_open() -> None:
    values = stuck_at_the_end(3 * DAY, 40)
    values[-1] += 0.01
    assert open_run(values, 100) == values.size


def test_a_run_that_others_explain_is_not_left_out() -> None:
    values = stuck_at_the_end(3 * DAY, 40)
    values[200:230] = values[200]
    assert open_run(values, 100) == values.size
    assert open_run(ordinary(), 100) == ROWS


def test_a_rest_to_which_it_jumps_is_not_left_out() -> None:
    values = stuck_at_the_end(3 * DAY, 40)
    values[-40:] = 0.0
    assert open_run(values, 100) == values.size


def test_what_goes_on_for_a_quarter_of_the_rows_is_what_the_series_has_become() -> None:
    assert open_run(stuck_at_the_end(400, 100), 100) == 301
    assert open_run(stuck_at_the_end(400, 102), 100) == 400


def test_too_few_rows_are_left_by_no_run() -> None:
    values = stuck_at_the_end(200, 40)
    assert open_run(values, 161) == 161
    assert open_run(values, 162) == 200


def test_constants_and_series_without_readings_have_no_open_run() -> None:
    for values in (np.full(500, 7.0), np.full(5, np.nan), np.empty(0), np.ones(1)):
        assert open_run(values, 1) == values.size
