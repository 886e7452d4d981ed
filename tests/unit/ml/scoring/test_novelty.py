"""Novelty: a range that was never visited is a call, once; trends do not call at every step."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from anomaly_platform.ml.scoring.novelty import Novel, Novelty, on_top
from anomaly_platform.ml.series_model.visited import VISITED_SIZE


def noise(rows, seed=0):
    return np.random.default_rng(seed).normal(50.0, 1.0, rows)


def test_a_range_is_called_once_and_is_known_from_then_on():
    first, later = noise(500), np.full(2_000, 50.0)
    later[100:110] = 80.0
    later[1_000:1_010] = 80.0
    later[1_500] = 20.0
    calls = Novelty(first).look(later)
    assert np.flatnonzero(calls).tolist() == [100, 1_500]


def test_a_gap_between_known_values_is_a_range_too():
    first = np.tile((0.0, 10.0), 200)
    assert Novelty(first).look(np.array([0.0, 5.0, 5.0])).tolist() == [False, True, False]


def test_a_trend_calls_a_few_times_not_once_per_step():
    rows = np.arange(6_000)
    values = 0.01 * rows + np.random.default_rng(1).normal(0.0, 0.1, rows.size)
    calls = Novelty(values[:600]).look(values[600:])
    assert 1 <= calls.sum() <= 8


def test_first_readings_that_rest_or_are_missing():
    assert Novelty(np.full(100, 7.0)).look(np.array([7.0, 7.1])).tolist() == [False, True]
    assert Novelty(np.zeros(100)).look(np.array([0.0, 1e300])).tolist() == [False, True]
    assert not Novelty(np.full(10, np.nan)).look(np.array([1.0, 2.0])).any()
    state = Novelty(noise(100))
    assert not state.look(np.array([np.nan, np.inf])).any()
    far = np.array([-1.7e308, 1.7e308])
    assert Novelty(far).look(np.array([0.0])).tolist() == [True]


@given(
    values=st.lists(
        st.sampled_from([0.0, 1.0, 1.05, 2.0, 9.0, -40.0, 1e9, float("nan")]), max_size=60
    ),
    cut=st.integers(0, 60),
)
def test_pieces_give_what_the_whole_gives(values, cut):
    first, rows = np.linspace(0.0, 1.0, 20), np.array(values, dtype=np.float64)
    whole = Novelty(first)
    expected = whole.look(rows)
    state = Novelty(first)
    found = np.concatenate((state.look(rows[:cut]), state.look(rows[cut:])))
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(state.state, whole.state)
    assert state.state.size == VISITED_SIZE < 100


@given(
    scores=st.lists(st.floats(0.0, 0.999), min_size=1, max_size=30),
    novel=st.lists(st.booleans(), min_size=30, max_size=30),
)
def test_calls_are_on_top_and_the_rest_keeps_its_order(scores, novel):
    z, new = np.array(scores), np.array(novel[: len(scores)])
    found = on_top(z, new, 0.7)
    assert ((found >= 0.7) == (new | (z >= 0.95))).all()
    assert found[new].min(initial=1.0) > found[~new].max(initial=0.0)
    for side in (new, ~new):
        assert (np.diff(found[side][np.argsort(z[side], kind="stable")]) >= 0.0).all()
    assert np.isnan(on_top(np.array([np.nan, np.nan]), np.array([False, True]), 0.7)).all()


def test_words_name_the_range():
    novel = Novel.of(np.array([1.0, 4.0, 9.0, np.inf, 2.5]), 2)
    assert novel.calls.tolist() == [True, False, True]
    assert novel.words(0) == "9, always from 1 to 4 before"
    assert novel.words(2) == "2.5, never between 1 and 4 before"


def test_a_counter_is_never_novel():
    steps = np.random.default_rng(0).uniform(0.5, 2.0, 900)
    assert not Novel.of(np.cumsum(steps), 300).calls.any()
    # What falls by a little is none.
    steps[100] = -3.0
    assert Novel.of(np.cumsum(steps), 300).calls.any()


def test_a_new_value_after_one_that_never_changed_names_that_one_once():
    novel = Novel.of(np.array([1.0] * 50 + [0.0]), 50)
    assert novel.words(0) == "0, always 1 before"
