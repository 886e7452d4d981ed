"""The search: rounds, the same trials by seed, and what is proposed within which budget."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from anomaly_platform.ml.tuning.comparison import compare
from anomaly_platform.ml.tuning.judging import Measured, measure
from anomaly_platform.ml.tuning.search import Trial, search
from anomaly_platform.ml.tuning.space import DetectorSettings, candidates

TODAY = DetectorSettings(0.01, (12, 48, 288), 0.1, 100)
ENTITIES = [f"host-{n}" for n in range(8)]


def worth(settings: DetectorSettings, _: Collection[str]) -> tuple[Measured, float]:
    """Return that settings are the better, the smaller their alpha is."""
    return Measured(1.0 - settings.alpha, 0.0, 0.0, 0.0, 0.0), 0.0


def searched(
    field: list[DetectorSettings], judgements: int | None = None
) -> tuple[DetectorSettings | None, list[Trial]]:
    trials: list[Trial] = []
    found = search(
        TODAY,
        field,
        ENTITIES,
        worth,
        out_of_time=lambda: judgements is not None and len(trials) >= judgements,
        tell=trials.append,
    )
    return found, trials


def test_candidates_are_drawn_by_seed_around_todays_settings() -> None:
    drawn = candidates(TODAY, 40, seed=1, longest_window=400)
    assert drawn == candidates(TODAY, 40, seed=1, longest_window=400)
    assert drawn != candidates(TODAY, 40, seed=2, longest_window=400)
    assert len(set(drawn)) == 40
    assert TODAY not in drawn
    for one in drawn:
        assert 1e-4 <= one.alpha <= 0.1
        assert 30 <= one.windows[-1] <= 400
        assert all(a < b for a, b in pairwise(one.windows))
    assert len({one.windows for one in drawn}) > 3


def test_windows_stay_where_they_are_not_to_be_searched() -> None:
    drawn = candidates(TODAY, 100, seed=1, longest_window=None)
    assert {one.windows for one in drawn} == {TODAY.windows}
    assert 40 < len(drawn) < 60  # there are no more


def test_candidates_are_halved_from_round_to_round_and_today_is_in_each() -> None:
    field = candidates(TODAY, 12, seed=1, longest_window=400)
    found, trials = searched(field)
    assert found == min(field, key=lambda one: one.alpha)
    by_round = [[t for t in trials if t.round == n] for n in (1, 2, 3)]
    assert [len(one) for one in by_round] == [13, 5, 3]
    assert [one[0].entities for one in by_round] == [2, 4, 8]
    assert all(one[0].is_present for one in by_round)


def test_nothing_is_proposed_where_today_is_as_good() -> None:
    worse = [DetectorSettings(alpha, (12, 48, 288), 0.1, 100) for alpha in (0.02, 0.04)]
    equal = DetectorSettings(0.01, (12, 48, 288), 0.05, 100)
    assert searched([*worse, equal])[0] is None


def test_a_budget_that_ends_leaves_the_best_of_what_was_tried() -> None:
    field = [replace(TODAY, alpha=alpha) for alpha in (0.02, 0.005, 0.002, 0.001, 0.0005)]
    found, trials = searched(field, judgements=3)
    assert [trial.settings for trial in trials] == [TODAY, *field[:2]]
    assert found == field[1]
    with pytest.raises(TimeoutError):
        searched(field, judgements=1)


def test_more_false_positives_than_allowed_cost_in_proportion() -> None:
    # events, found, alarms, right, ordinary rows, flagged ones
    counts = np.array([10.0, 8, 16, 8, 1000, 20])
    objective, f1, recall, precision, false = measure(counts, limit=0.02)
    assert [float(one) for one in (recall, precision, false)] == [0.8, 0.5, 0.02]
    assert objective == f1 == pytest.approx(2 * 0.8 * 0.5 / 1.3)
    assert measure(counts, limit=0.01)[0] == pytest.approx(f1 / 2)
    assert measure(np.zeros(6), limit=0.01)[0] == 0.0


def test_a_gain_is_one_beyond_chance_only() -> None:
    rng = np.random.default_rng(0)
    events = np.full(24, 5.0)
    found = rng.binomial(5, 0.6, 24).astype(float)
    clean, flagged = np.full(24, 200.0), np.ones(24)

    def counted(found: np.ndarray) -> np.ndarray:
        return np.stack((events, found, found + 1, found, clean, flagged), axis=1)

    before = counted(found)
    much = compare(
        (before, 0.5), (counted(np.minimum(found + 1, 5)), 0.6), hosts=1, limit=0.01, seed=1
    )
    assert much.is_gain
    assert much.low < much.gain < much.high
    assert much == compare(
        (before, 0.5), (counted(np.minimum(found + 1, 5)), 0.6), hosts=1, limit=0.01, seed=1
    )
    shuffled = compare(
        (before, None), (counted(rng.permutation(found)), None), hosts=1, limit=0.01, seed=1
    )
    assert not shuffled.is_gain
    assert shuffled.low < 0 < shuffled.high


def test_a_gain_of_a_few_hosts_among_many_is_not_counted_stretch_by_stretch() -> None:
    hosts, stretches = 20, 8
    found = np.full((hosts, stretches), 3.0)
    # Two hosts gain in all of their stretches, the others lose a little.
    better = np.where(np.arange(hosts)[:, None] < 2, 5.0, 2.9) * np.ones(stretches)

    def counted(found: np.ndarray) -> tuple[np.ndarray, None]:
        ones = np.ones(found.size)
        flat = found.ravel()
        return np.stack((5 * ones, flat, flat + 1, flat, 200 * ones, ones), axis=1), None

    apart = compare(counted(found), counted(better), hosts=1, limit=0.01, seed=1)
    whole = compare(counted(found), counted(better), hosts=hosts, limit=0.01, seed=1)
    assert (apart.units, whole.units) == (160, 20)
    assert apart.gain == whole.gain > 0.01
    assert apart.is_gain
    assert not whole.is_gain
