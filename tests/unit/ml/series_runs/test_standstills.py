"""After a counter stood still, or one reading was far off, its going on is no anomaly."""

from datetime import timedelta
from itertools import pairwise

import numpy as np
import polars as pl
import pytest

from anomaly_platform.ml.features.metrics.batch import microseconds
from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.features.metrics.series_buffers import step_with_runs
from anomaly_platform.ml.features.metrics.series_state import SeriesState
from anomaly_platform.ml.scoring.batch import FleetScorer
from anomaly_platform.ml.scoring.call_states import CallStates
from anomaly_platform.ml.scoring.online import OnlineScorer
from anomaly_platform.ml.series_model.model import SeriesModel
from anomaly_platform.ml.series_runs.fold import fold, no_runs, state_of_today
from anomaly_platform.ml.series_runs.glitch_kernels import steps_on_track
from anomaly_platform.ml.series_runs.layout import (
    BEFORE,
    COUNTING,
    GOES_ON,
    RISES,
    RUN_CONSTANTS,
    STATE_SIZES,
)
from anomaly_platform.ml.series_runs.model import RunModel
from anomaly_platform.ml.series_runs.run_states import RunStates
from anomaly_platform.ml.training.fit import FleetPolicy
from anomaly_platform.ml.training.fleet import train_fleet
from anomaly_platform.ml.training.manifest import Lineage
from tests.builders.readings import series

QUARTER = timedelta(minutes=15)
QUARTER_US = 900_000_000
DAY, TRAINED = 96, 21 * 96
#: A Monday.
MONDAY = 4 * DAY * QUARTER_US
FEATURES = MetricFeatureSet(frequency=QUARTER)
KEY = ("house", "energy_kwh")
LINEAGE = Lineage(stream="iiot", version="1", code_version="0.1.0")


def used(rows, seed=1):
    """Return what is used by day, more or less, and never at night."""
    hour = np.arange(rows) % DAY / 4.0
    drawn = np.random.default_rng(seed).uniform(0.5, 2.0, rows).round(3)
    return np.where((hour >= 6.0) & (hour < 22.0), drawn, 0.0)


def counting(values):
    """Return (n,) the time since each reading's series counted again, in rows; NaN before."""
    times = MONDAY + np.arange(values.size) * QUARTER_US
    return fold(no_runs(), times, values)[COUNTING] / QUARTER_US


def test_rests_as_ever_are_no_standstill():
    assert np.isnan(counting(np.cumsum(used(20 * DAY)))).all()
    weekends = used(28 * DAY)
    weekends[np.arange(28 * DAY) // DAY % 7 > 4] = 0.0
    # The first one could not be known as one.
    found = counting(np.cumsum(weekends))
    assert (np.diff(found[7 * DAY + 24 :]) == 1.0).all()


def test_a_rest_at_hours_at_which_it_counted_is_one_from_where_it_counts_again():
    rows = used(20 * DAY)
    at = 10 * DAY + 40
    rows[at : at + 12] = 0.0
    found = counting(np.cumsum(rows))
    assert np.isnan(found[: at + 12]).all()
    assert found[at + 12 : at + 300].tolist() == list(range(288))
    rows[[at + 5, at + 10]] = 1.0
    assert np.isnan(counting(np.cumsum(rows))).all()


def test_a_rest_without_readings_is_none():
    times = np.delete(
        MONDAY + np.arange(20 * DAY) * QUARTER_US, slice(10 * DAY + 40, 10 * DAY + 60)
    )
    values = np.delete(np.cumsum(used(20 * DAY)), slice(10 * DAY + 40, 10 * DAY + 60))
    assert np.isnan(fold(no_runs(), times, values)[COUNTING]).all()


@pytest.fixture(scope="module")
def meter(tmp_path_factory):
    """A meter that stands still for six hours by day, and later is off by one reading each way."""
    rows = used(TRAINED + 14 * DAY)
    rows[STOOD] = 0.0
    values = np.cumsum(rows) + 1000.0
    values[HIGH], values[LOW] = 99999.0, 0.0
    frame = FEATURES.compute(series(*KEY, values, step=QUARTER))
    directory = tmp_path_factory.mktemp("bundles") / "v1"
    policy = FleetPolicy(evaluate=False, trees=20)
    with train_fleet([frame[:TRAINED]], FEATURES, policy, directory, lineage=LINEAGE) as opened:
        yield opened, frame


STOOD = slice(TRAINED + DAY + 40, TRAINED + DAY + 64)
HIGH, LOW = TRAINED + 6 * DAY + 50, TRAINED + 11 * DAY + 50


def scored(scorer, frame, cut=()):
    runs, calls = RunStates(), CallStates()
    scorer.score(frame[:TRAINED], runs)
    ends = (TRAINED, *cut, frame.height)
    days = [scorer.score(frame[a:b], runs, calls) for a, b in pairwise(ends)]
    return pl.concat(days)


def flagged(result):
    return np.flatnonzero(result["is_anomaly"].to_numpy()) + TRAINED


def test_a_meter_that_counts_on_after_a_standstill_is_no_anomaly(meter):
    bundle, frame = meter
    result = scored(FleetScorer(bundle), frame)
    found = flagged(result)
    assert ((found >= STOOD.start) & (found < STOOD.stop)).any()
    assert not ((found >= STOOD.stop) & (found <= STOOD.stop + 288)).any()
    # How much it rises is judged all the same.
    reasons = result["reason"].fill_null("").to_list()
    assert "has not counted for" in reasons[STOOD.stop - 1 - TRAINED]


def test_a_single_reading_far_off_is_one_anomaly(meter):
    bundle, frame = meter
    result = scored(FleetScorer(bundle), frame)
    found, reasons = flagged(result).tolist(), result["reason"].fill_null("").to_list()
    assert reasons[HIGH - TRAINED].startswith("rises by ")
    assert reasons[LOW - TRAINED].startswith("counts anew from 0, never in 21 days")
    for at in (HIGH, LOW):
        assert at in found
        assert at + 1 not in found


def test_a_meter_that_then_counts_as_never_at_this_hour_is_told_of(meter):
    bundle, frame = meter
    values = frame["value"].to_numpy()[: HIGH - 40].copy()
    at = TRAINED + 2 * DAY + 30
    quick = np.zeros(values.size)
    quick[at : at + 4] = 4.0
    other = FEATURES.compute(series(*KEY, values + np.cumsum(quick), step=QUARTER))
    found = flagged(scored(FleetScorer(bundle), other))
    assert not ((found >= STOOD.stop) & (found < at)).any()
    assert ((found >= at) & (found < at + 4)).any()


def test_a_counter_knows_how_much_it_rises_at_each_hour():
    times, values = MONDAY + np.arange(TRAINED) * QUARTER_US, np.cumsum(used(TRAINED))
    constants = RunModel.fit(times, values, 96).constants
    least, most = constants[RISES : RISES + 48].reshape(24, 2).T
    assert not least[:6].any()
    assert not most[:6].any()
    assert (least[6:22] >= 0.5 - 1e-6).all()
    assert (most[6:22] <= 2.0 + 1e-6).all()
    assert (most[6:22] > 1.9).all()


@pytest.mark.parametrize(("at", "off"), [(50, 900.0), (50, -900.0), (10, 900.0), (10, -900.0)])
def test_a_counter_that_does_not_come_back_to_its_track_is_told_of_again(meter, at, off):
    bundle, frame = meter
    values = frame["value"].to_numpy()[: HIGH - 40].copy()
    at += TRAINED + 5 * DAY
    values[at] += off
    for moved, told in ((0.0, [at]), (-300.0, [at, at + 1]), (300.0, [at, at + 1])):
        changed = values.copy()
        changed[at + 1 :] += moved
        other = FEATURES.compute(series(*KEY, changed, step=QUARTER))
        found = flagged(scored(FleetScorer(bundle), other))
        assert [row for row in found.tolist() if at <= row <= at + 2] == told


def test_it_is_expected_to_go_on_from_before_a_reading_far_off(meter):
    bundle, frame = meter
    times, values = microseconds(frame["event_time"]), frame["value"].to_numpy()
    columns = fold(no_runs(), times, values)
    constants = np.tile(FleetScorer(bundle).load_model(*KEY).runs.constants, (values.size, 1))
    steps = np.empty((2, values.size))
    steps_on_track(times, values, columns, constants, steps)
    before = values - steps[0]
    for at in (HIGH, LOW):
        assert before[at : at + 3] == pytest.approx(
            [values[at - 1], values[at - 1], values[at + 1]]
        )
        assert (steps[1, at : at + 3] / QUARTER_US).tolist() == [1.0, 2.0, 1.0]


def test_a_rise_that_nobody_was_told_of_excuses_no_fall(meter):
    bundle, frame = meter
    values = frame["value"].to_numpy()[: HIGH - 40].copy()
    at = TRAINED + 5 * DAY + 50
    values[at] += 1.0
    other = FEATURES.compute(series(*KEY, values, step=QUARTER))
    assert values[at + 1] < values[at]
    found = flagged(scored(FleetScorer(bundle), other)).tolist()
    assert at + 1 in found


def test_the_bits_are_the_same_day_by_day_and_one_by_one(meter):
    bundle, frame = meter
    whole = scored(FleetScorer(bundle), frame)
    assert whole.equals(scored(FleetScorer(bundle), frame, (STOOD.start + 3, STOOD.stop, HIGH + 1)))
    times, values = microseconds(frame["event_time"]), frame["value"].to_numpy()
    state = SeriesState.of(FEATURES, times[:TRAINED], values[:TRAINED])
    scorer, threshold = OnlineScorer(FleetScorer(bundle)), float(whole["threshold"][0])
    found = []
    for time, value in zip(times[TRAINED:].tolist(), values[TRAINED:].tolist(), strict=True):
        state = SeriesState.from_bytes(state.to_bytes())
        row, state = step_with_runs(FEATURES, state, time, value)
        found.append(scorer.judge_one(KEY, time, row[:, None], threshold).p_value)
    assert found == whole["p_value"].to_list()


def test_a_model_made_before_judges_as_it_did(meter):
    bundle, frame = meter
    arrays = FleetScorer(bundle).load_model(*KEY).to_arrays()
    assert STATE_SIZES[0] == BEFORE
    old = SeriesModel.from_arrays(
        {
            **arrays,
            "runs/constants": arrays["runs/constants"][:GOES_ON],
            "runs/last": arrays["runs/last"][:BEFORE],
        },
        FEATURES,
    )
    assert old.runs.constants.size == RUN_CONSTANTS
    scorer = FleetScorer(bundle)
    scorer.load_model = lambda *_: old
    before, now = flagged(scored(scorer, frame)), flagged(scored(FleetScorer(bundle), frame))
    assert set(now.tolist()) < set(before.tolist())
    assert {HIGH + 1, LOW + 1} <= set(before.tolist())


def test_states_kept_before_are_taken_up_with_the_rest_unknown():
    times = MONDAY + np.arange(3 * DAY) * QUARTER_US
    state = no_runs()
    fold(state, times, np.cumsum(used(times.size)))
    old = state_of_today(state[:BEFORE])
    np.testing.assert_array_equal(old[:BEFORE], state[:BEFORE])
    assert np.isnan(old[BEFORE:]).all()
    table = RunStates({KEY: state[:BEFORE]}).table(since=0)
    np.testing.assert_array_equal(RunStates.of_table(table).of(KEY), old)
    kept = SeriesState.of(FEATURES, times, np.cumsum(used(times.size)), state)
    data = kept.to_bytes()
    less = data[:3] + b"\x02" + data[4 : len(data) - 8 * (kept.before.size - BEFORE)]
    np.testing.assert_array_equal(
        SeriesState.from_bytes(less).before, state_of_today(kept.before[:BEFORE])
    )
