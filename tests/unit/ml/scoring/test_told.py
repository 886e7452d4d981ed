"""Of which readings somebody is told: the same bits in a batch, day by day and one by one."""

from datetime import timedelta
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly_platform.ml.bundles.checking import BadModelError
from anomaly_platform.ml.features.metrics.batch import microseconds
from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.scoring.batch import FleetScorer
from anomaly_platform.ml.scoring.call_states import LEVEL, VISITED, CallStates
from anomaly_platform.ml.scoring.calls import CALL_SIZE, first_state, rate_of, tell
from anomaly_platform.ml.scoring.online import OnlineScorer
from anomaly_platform.ml.scoring.reasons import novelty_reason
from anomaly_platform.ml.series_model.model import SeriesModel
from anomaly_platform.ml.series_model.visited import HIGHEST, SINCE, read_visited, visited_by
from anomaly_platform.ml.series_runs.run_states import RunStates
from anomaly_platform.ml.training.fit import FleetPolicy
from anomaly_platform.ml.training.fleet import train_fleet
from anomaly_platform.ml.training.manifest import Lineage
from tests.builders.readings import series

FEATURES = MetricFeatureSet(windows=(6, 24, 96), lags=(1, 6), frequency=timedelta(minutes=15))
TRAINED, ROWS = 600, 200
KEY = ("press", "temperature")


def readings(seed):
    """Ordinary readings, with some far off, some in a new range and a stretch of more noise."""
    rng = np.random.default_rng(seed)
    values = rng.normal(50.0, 1.0, TRAINED + ROWS)
    later = values[TRAINED:]
    later[20:23] += 30.0
    later[60:120] += rng.normal(0.0, 3.0, 60)
    later[150] -= 25.0
    return values


def features_of(values):
    frame = series(*KEY, values, step=FEATURES.frequency)
    return FEATURES.compute(frame.with_columns(pl.col("value").fill_nan(None)))[TRAINED:]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    frame = FEATURES.compute(series(*KEY, readings(0)[:TRAINED], step=FEATURES.frequency))
    directory = tmp_path_factory.mktemp("bundles") / "v1"
    lineage = Lineage(stream="iiot", version="1", code_version="0.1.0")
    policy = FleetPolicy(evaluate=False, trees=20)
    with train_fleet([frame], FEATURES, policy, directory, lineage=lineage) as opened:
        yield opened


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(1, 9),
    missing=st.lists(st.integers(0, ROWS - 1), max_size=30),
    cuts=st.lists(st.integers(1, ROWS - 1), max_size=6),
)
def test_rows_are_told_of_alike_however_they_come(bundle, seed, missing, cuts):
    values = readings(seed)
    values[TRAINED + np.array(missing, dtype=np.int64)] = np.nan
    frame, scorer = features_of(values), FleetScorer(bundle)
    left = CallStates()
    whole = scorer.score(frame, RunStates(), left)
    runs, calls, parts = RunStates(), CallStates(), []
    for begin, end in pairwise([0, *sorted(set(cuts)), ROWS]):
        parts.append(scorer.score(frame[begin:end], runs, calls))
        calls = CallStates.of_table(calls.table(since=0))
    assert pl.concat(parts).equals(whole)
    assert calls.table(since=0).equals(left.table(since=0))
    # One by one, as in the API.
    known = whole.filter(pl.col("value").is_not_null())
    times, now = microseconds(known["event_time"]), known["value"].to_numpy()
    p = known["p_value"].fill_null(float("nan")).to_numpy()
    state = OnlineScorer(scorer).first_calls(KEY)[None]
    rate = np.array([rate_of(known.item(0, "threshold"), scorer.alpha)])
    one, found = np.zeros(1, dtype=np.int64), []
    for i in range(known.height):
        at = slice(i, i + 1)
        found.append(tell(state, one, times[at], now[at], p[at], rate).calls.item())
        # A reading that is not newer than the newest is judged and changes nothing.
        before = state.copy()
        tell(state, one, times[at] - 1, now[at] + 500.0, p[at], rate)
        np.testing.assert_array_equal(state, before)
    assert found == known["is_call"].to_list()
    np.testing.assert_array_equal(state[0], left.series[KEY])


def test_a_new_range_is_called_once_and_said_in_words(bundle):
    scored = FleetScorer(bundle).score(features_of(readings(1)), RunStates())
    said = scored["reason"].fill_null("")
    new = "(always from|never between) .* in 6 days before"
    novel = scored.filter(said.str.contains(new))
    assert novel["is_call"].all()
    assert novel["entity_is_call"].all()
    assert novel["causes"].list.get(0).to_list() == ["temperature"] * novel.height
    assert 20 in said.str.contains(new).arg_true().to_list()
    assert not said[21:23].str.contains(new).any()


def test_late_rows_change_the_days_after_until_the_state_is_equal_again(bundle):
    values = readings(2)
    late = values.copy()
    late[TRAINED + 5] = np.nan
    scorer, left = FleetScorer(bundle), []
    for rows in (values, late):
        calls = CallStates()
        scorer.score(features_of(rows), RunStates(), calls)
        left.append(calls.series[KEY][LEVEL])
    assert left[0] == left[1]


def test_a_bundle_made_without_ranges_scores_its_old_bits_and_calls_nothing_novel(bundle):
    frame, scorer = features_of(readings(3)), FleetScorer(bundle)
    model = scorer.load_model(*KEY)
    older = {name: one for name, one in model.to_arrays().items() if name != "visited"}
    old = SeriesModel.from_arrays(older, FEATURES)
    plain = FleetScorer(bundle)
    plain.load_model = lambda *_: old
    said = ("score", "p_value", "raw_score", "is_anomaly", "entity_score")
    without, whole = plain.score(frame), scorer.score(frame)
    assert without.select(said).equals(whole.select(said))
    new_range = "never between|always (from|at)"
    assert not without["reason"].fill_null("").str.contains(new_range).any()
    assert whole["reason"].fill_null("").str.contains(new_range).any()


def test_ranges_that_no_series_has_visited_are_refused():
    state = visited_by(np.arange(10.0))
    np.testing.assert_array_equal(read_visited({"visited": state}, "visited"), state)
    for place, value in ((HIGHEST, 9_000.0), (-1, 0.5), (-1, 2.0**60)):
        bad = state.copy()
        bad[place] = value
        with pytest.raises(BadModelError):
            read_visited({"visited": bad}, "visited")


def test_a_state_is_small():
    assert 8 * CALL_SIZE <= 750


def test_the_days_known_begin_with_the_first_reading_whether_of_training_or_scored_before_it():
    day = 86_400_000_000
    state = first_state(visited_by(np.arange(1.0, 11.0), since=40 * day))

    def take(at: int, value: float) -> bool:
        return bool(tell(state[None], *row(at * day, value)).novel.item())

    def row(time: int, value: float) -> tuple[np.ndarray, ...]:
        numbers = (np.array([one]) for one in (value, np.nan, 0.01))
        return np.zeros(1, dtype=np.int64), np.array([time]), *numbers

    for at, value, first in ((30, np.nan, 40), (31, 2.0, 31), (50, 3.0, 31), (20, 4.0, 31)):
        assert not take(at, value)
        assert state[VISITED + SINCE] == first * day
    assert take(76, 30.0)
    bounds = np.array((1.0, 10.0))
    assert novelty_reason(30.0, 76 * day, state[VISITED + SINCE], bounds) == (
        "30, always from 1 to 10 in 45 days before"
    )
    # What comes later says nothing of "always": the days are those before.
    assert novelty_reason(30.0, 52 * day, 31 * day, bounds, trained_until=60 * day) == (
        "30, always from 1 to 10 in 21 days before"
    )
    # Older than all that is known.
    assert novelty_reason(30.0, 20 * day, 31 * day, bounds, trained_until=60 * day) == (
        "30, always from 1 to 10 in 29 days of training"
    )
