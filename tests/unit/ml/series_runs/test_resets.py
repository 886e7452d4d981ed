"""A counter's falls: ordinary where they are like those of training, told in words elsewhere."""

from datetime import timedelta
from itertools import pairwise

import numpy as np
import polars as pl
import pytest

from anomaly_platform.ml.bundles.checking import BadModelError
from anomaly_platform.ml.features.metrics.batch import microseconds
from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.features.metrics.series_buffers import step_with_runs
from anomaly_platform.ml.features.metrics.series_state import SeriesState
from anomaly_platform.ml.scoring.batch import FleetScorer
from anomaly_platform.ml.scoring.call_states import CallStates
from anomaly_platform.ml.scoring.online import OnlineScorer
from anomaly_platform.ml.scoring.reasons import run_reason
from anomaly_platform.ml.series_model.model import SeriesModel
from anomaly_platform.ml.series_runs.fold import fold
from anomaly_platform.ml.series_runs.kernels import judge_run
from anomaly_platform.ml.series_runs.layout import FALL, FALL_WORTH, RESETS
from anomaly_platform.ml.series_runs.model import RunModel
from anomaly_platform.ml.series_runs.run_states import RunStates
from anomaly_platform.ml.training.fit import FleetPolicy
from anomaly_platform.ml.training.fleet import train_fleet
from anomaly_platform.ml.training.manifest import Lineage
from tests.builders.readings import series

QUARTER = timedelta(minutes=15)
QUARTER_US = 900_000_000
DAY, TRAINED = 96, 20 * 96
FEATURES = MetricFeatureSet(windows=(6, 24, 96), lags=(1, 6), frequency=QUARTER)
KEY = ("house", "energy_kwh")
LINEAGE = Lineage(stream="iiot", version="1", code_version="0.1.0")


def used(rows, seed):
    return np.random.default_rng(seed).uniform(0.5, 2.0, rows).round(3)


def register(rows, seed=1):
    """Return a meter that only counts."""
    return 1000.0 + np.cumsum(used(rows, seed))


def daily(rows, seed=2):
    """Return a meter of the day's use, which differs from day to day."""
    by_day = used(rows, seed).reshape(-1, DAY)
    by_day *= np.random.default_rng(seed).uniform(0.2, 2.0, (by_day.shape[0], 1))
    return np.cumsum(by_day, axis=1).ravel()


def odometer(rows, seed=3):
    """Return a meter that begins anew at 300."""
    return np.cumsum(used(rows, seed)) % 300.0


def restarted(rows, seed=4):
    """Return a counter that begins anew twice."""
    values = np.cumsum(used(rows, seed))
    for at in (rows // 4, rows // 2):
        values[at:] -= values[at - 1]
    return values


def said(values, at, value):
    """Return what is said of a value in the place of a reading after training, '' of none."""
    times = np.arange(values.size) * QUARTER_US
    model = RunModel.fit(times[:TRAINED], values[:TRAINED], 96)
    changed = values[: at + 1].copy()
    changed[at] = value
    columns = fold(model.last.copy(), times[TRAINED : at + 1], changed[TRAINED:])
    row = columns.shape[1] - 1
    kind = judge_run(int(times[at]), value, columns, row, model.constants)[1]
    if kind != FALL:
        return ""
    return run_reason(kind, int(times[at]), value, columns[:, row], model.constants)


def test_where_training_saw_no_reset_each_fall_is_told():
    values, at = register(TRAINED + 200), TRAINED + 90
    before = values[at - 1]
    assert said(values, at, before - 800.0) == "falls by 800 in 15 min, never in 20 days"
    assert said(values, at, 0.0) == "counts anew from 0, never in 20 days"
    assert said(values, at, before - 0.5) == "falls by 0.5 in 15 min, never in 20 days"
    # Neither a rest nor what is lost by rounding is a fall.
    assert said(values, at, before) == said(values, at, np.nextafter(before, 0.0)) == ""


def test_a_reset_at_another_time_than_midnight_is_told():
    values, midnight = daily(TRAINED + 3 * DAY), TRAINED + 2 * DAY
    assert said(values, midnight, values[midnight]) == ""
    # A clock change moves it by an hour.
    assert said(values, midnight - 4, 1.0) == said(values, midnight + 4, 1.0) == ""
    at_noon = "counts anew at 12:00 UTC, always between 00:00 and 00:30 UTC in 20 days"
    assert said(values, midnight - 48, 0.3) == at_noon
    assert " to 20, always to between " in said(np.append(values, 0), midnight, 20.0)


def test_a_reset_before_the_limit_is_told():
    values = odometer(TRAINED + 600)
    at = TRAINED + int(np.flatnonzero(np.diff(values[TRAINED:]) < 0)[1]) + 1
    assert said(values, at, values[at]) == ""
    early = said(values, at - 80, 0.7)
    assert early.startswith(f"counts anew at {values[at - 81]:.6g}, always between 29")
    assert early.endswith(" in 20 days")


def test_resets_at_any_time_are_ordinary_and_falls_to_elsewhere_are_not():
    values, at = restarted(TRAINED + 200), TRAINED + 40
    assert said(values, at, 1.4) == ""
    elsewhere = said(values, at, 400.0)
    assert elsewhere.startswith("falls by ")
    assert " in 15 min to 400, always to between " in elsewhere


def test_a_reset_within_a_gap_may_have_come_at_its_time():
    values = daily(TRAINED + 3 * DAY)
    times = np.arange(values.size) * QUARTER_US
    model = RunModel.fit(times[:TRAINED], values[:TRAINED], 96)
    kept = np.r_[TRAINED : TRAINED + 90, TRAINED + DAY + 30]
    readings = values[kept]
    columns = fold(model.last.copy(), times[kept], readings)
    last = int(times[kept[-1]])
    assert judge_run(last, readings[-1], columns, 90, model.constants)[1] != FALL


def test_single_readings_far_off_are_no_resets():
    values = register(TRAINED)
    values[500], values[900] = 0.0, 99999.0
    constants = RunModel.fit(np.arange(TRAINED) * QUARTER_US, values, 96).constants
    assert constants[FALL_WORTH] > 0.0
    assert constants[RESETS] == 0.0


def test_less_than_a_day_says_nothing_of_falls():
    constants = RunModel.fit(np.arange(90) * QUARTER_US, register(90), 96).constants
    assert constants[FALL_WORTH] == 0.0


@pytest.fixture(scope="module")
def meter(tmp_path_factory):
    """A meter that runs backwards, jumps once each way, and counts on."""
    values = register(TRAINED + 6 * DAY)
    values[TRAINED + DAY :] -= 900.0
    values[TRAINED + 3 * DAY] = 0.0
    values[TRAINED + 4 * DAY] = 99999.0
    frame = FEATURES.compute(series(*KEY, values, step=QUARTER))
    directory = tmp_path_factory.mktemp("bundles") / "v1"
    policy = FleetPolicy(evaluate=False, trees=20)
    with train_fleet([frame[:TRAINED]], FEATURES, policy, directory, lineage=LINEAGE) as opened:
        yield opened, frame


def by_day(scorer, frame, cut):
    runs, calls = RunStates(), CallStates()
    scorer.score(frame[:TRAINED], runs)
    ends = (TRAINED, *cut, frame.height)
    days = [scorer.score(frame[a:b], runs, calls) for a, b in pairwise(ends)]
    return pl.concat(days)


def test_a_backtest_of_a_meter_tells_each_jump_as_one_reading(meter):
    bundle, frame = meter
    scored = by_day(FleetScorer(bundle), frame, ())
    fell, zero, far = (scored.row(at, named=True) for at in (DAY, 3 * DAY, 4 * DAY))
    rows = [fell, zero, far]
    assert all(row["is_anomaly"] for row in rows)
    # Back on its track, a meter is where it is expected.
    assert not scored["is_anomaly"][[3 * DAY + 1, 4 * DAY + 1]].any()
    assert fell["reason"].startswith("falls by 89")
    assert zero["reason"].startswith("counts anew from 0, never in 20 days; 0, expected ")
    assert far["reason"].startswith("rises by ")
    assert not any("for at least" in reason for reason in scored["reason"].drop_nulls())
    for row in rows:
        assert row["lasted_s"] == 0.0
        assert "a single reading" in row["reason"]
        assert row["direction"] == ("above" if row["reason"].startswith("rises") else "below")


def test_a_meter_is_expected_to_go_on_from_the_reading_before(meter):
    bundle, frame = meter
    told = by_day(FleetScorer(bundle), frame, ()).with_columns(
        before=pl.Series(frame["value"][TRAINED - 1 : -1])
    )
    told = told.filter(pl.col("expected_low").is_not_null())
    assert told.height > 3
    low, high, before = (
        told[name].to_numpy() for name in ("expected_low", "expected_high", "before")
    )
    assert (low >= before - 1e-6).all()
    assert (high <= before + 2.0 + 1e-6).all()
    assert (low <= high).all()


def test_a_meter_that_counts_on_is_never_somewhere_new(meter):
    bundle, frame = meter
    reasons = by_day(FleetScorer(bundle), frame, ())["reason"].drop_nulls()
    assert not reasons.str.contains("always from|never between").any()
    first = OnlineScorer(FleetScorer(bundle)).first_calls(KEY)
    assert np.array_equal(first[2:], bundle_visited(bundle))


def bundle_visited(bundle):
    return FleetScorer(bundle).load_model(*KEY).visited


def test_falls_have_the_same_bits_day_by_day_and_one_by_one(meter):
    bundle, frame = meter
    whole = by_day(FleetScorer(bundle), frame, ())
    assert whole.equals(by_day(FleetScorer(bundle), frame, (TRAINED + 50, TRAINED + DAY)))
    times, values = microseconds(frame["event_time"]), frame["value"].to_numpy()
    state = SeriesState.of(FEATURES, times[:TRAINED], values[:TRAINED])
    scorer, threshold = OnlineScorer(FleetScorer(bundle)), float(whole["threshold"][0])
    found = []
    for time, value in zip(times[TRAINED:].tolist(), values[TRAINED:].tolist(), strict=True):
        row, state = step_with_runs(FEATURES, state, time, value)
        found.append(scorer.judge_one(KEY, time, row[:, None], threshold))
    assert [one.p_value for one in found] == whole["p_value"].to_list()
    assert [one.is_anomaly for one in found] == whole["is_anomaly"].to_list()


def test_a_model_made_before_knows_nothing_of_falls(meter):
    bundle, frame = meter
    arrays = FleetScorer(bundle).load_model(*KEY).to_arrays()
    constants = arrays["runs/constants"]
    old = SeriesModel.from_arrays({**arrays, "runs/constants": constants[:FALL_WORTH]}, FEATURES)
    scorer = FleetScorer(bundle)
    scorer.load_model = lambda *_: old
    before, now = by_day(scorer, frame, ()), by_day(FleetScorer(bundle), frame, ())
    assert before["score"][DAY] == 0.0
    assert not before["is_anomaly"][DAY]
    fell = now["reason"].fill_null("").str.contains("falls by|counts anew")
    assert fell.sum() == 2
    same = ~fell
    same[[3 * DAY + 1, 4 * DAY + 1]] = False
    assert before.filter(same)["p_value"].equals(now.filter(same)["p_value"])
    with pytest.raises(BadModelError):
        SeriesModel.from_arrays({**arrays, "runs/constants": constants[:-2]}, FEATURES)
