import json
import math
from pathlib import Path

import numpy as np
import pytest
from foreign_data.nab import (
    LOW_FN,
    LOW_FP,
    STANDARD,
    NabSeries,
    Profile,
    optimised_score,
    probation_rows,
    scaled_sigmoid,
    score_at,
    windows_of,
)

DATA = Path(__file__).resolve().parents[4] / "shared" / "data" / "nab"


def sigmoid(x: float) -> float:
    return 2 / (1 + math.exp(5 * x)) - 1


def flags(*rows: int, size: int = 100) -> np.ndarray:
    scores = np.zeros(size)
    scores[list(rows)] = 1.0
    return scores


def one(scores: np.ndarray, *windows: tuple[int, int]) -> list[NabSeries]:
    return [NabSeries(scores, windows)]


def test_scaled_sigmoid_at_the_places_that_the_paper_names():
    places = [-1.0, -0.5, 0.0, 1.0, 3.5]
    np.testing.assert_allclose(
        scaled_sigmoid(places), [0.98661, 0.84828, 0.0, -0.98661, -1.0], atol=1e-5
    )


def test_probation_is_fifteen_percent_and_at_most_750_rows():
    assert [probation_rows(rows) for rows in (100, 4032, 22_695)] == [15, 604, 750]


def test_perfect_detector_scores_100_and_a_silent_one_0():
    assert score_at(one(flags(50), (50, 59)), 1.0).score == pytest.approx(100)
    assert score_at(one(flags(), (50, 59)), 1.0).score == pytest.approx(0)


def test_late_detection_by_hand():
    found = score_at(one(flags(55, 57), (50, 59)), 1.0)
    # Row 55 is the earliest: place -(59 - 55 + 1) / 10; the later one adds nothing.
    reward = sigmoid(-0.5) / sigmoid(-1.0)
    assert found.score == pytest.approx(100 * (reward + 1) / 2)
    assert (found.windows, found.windows_found, found.false_positives) == (1, 1, 0)


@pytest.mark.parametrize(("profile", "weight"), [(STANDARD, 0.11), (LOW_FP, 0.22)])
def test_false_positives_by_hand(profile, weight):
    # One before any window (costs all), one 3 rows behind a window of 10 (place 3 / 9).
    found = score_at(one(flags(20, 50, 62), (50, 59)), 1.0, profile)
    raw = 1 - weight + weight * sigmoid(3 / 9)
    assert found.score == pytest.approx(100 * (raw + 1) / 2)
    assert found.false_positives == 2


def test_missed_windows_by_hand():
    corpus = one(flags(50), (50, 59), (80, 84))
    assert score_at(corpus, 1.0).score == pytest.approx(50)
    # raw = 1 - 2, nothing = -4, perfect = 2
    assert score_at(corpus, 1.0, LOW_FN).score == pytest.approx(100 * (-1 + 4) / 6)


def test_probation_counts_neither_way():
    corpus = one(flags(3, 50), (2, 5), (50, 59))
    found = score_at(corpus, 1.0)
    assert found.score == pytest.approx(100)
    assert found.windows == 1
    # A window that reaches out of probation is to be found in its rest.
    late = score_at(one(flags(15), (10, 19)), 1.0)
    assert late.score == pytest.approx(100 * (sigmoid(-0.5) / sigmoid(-1) + 1) / 2)


def test_corpus_shares_one_threshold_and_sums_its_files():
    corpus = [*one(flags(50) * 0.9, (50, 59)), *one(flags(30) * 0.8, (60, 69))]
    high, low = score_at(corpus, 0.9), score_at(corpus, 0.8)
    assert high.score == pytest.approx(50)
    assert low.score == pytest.approx(100 * (1 - 1 - 0.11 + 2) / 4)


def test_optimiser_finds_the_best_of_all_thresholds():
    rng = np.random.default_rng(0)
    corpus = []
    for _ in range(5):
        scores = np.round(rng.random(400), 2)
        scores[200:240] = np.round(scores[200:240] + 0.3, 2)
        corpus.extend(one(scores, (200, 239), (300, 310)))
    best = optimised_score(corpus)
    tried = [
        score_at(corpus, t).score for t in np.unique(np.concatenate([c.scores for c in corpus]))
    ]
    assert best.score == pytest.approx(max(*tried, 0.0))
    assert score_at(corpus, best.threshold).score == pytest.approx(best.score)


def test_optimiser_stays_silent_when_every_flag_costs():
    scores = np.linspace(1, 0, 100)
    found = optimised_score(one(scores, (95, 99)), Profile(1.0, 5.0, 1.0))
    assert found.score == 0
    assert found.threshold == math.inf


def test_rows_without_score_are_never_flagged_but_their_window_counts():
    scores = flags(50)
    scores[80:85] = np.nan
    found = score_at(one(scores, (50, 59), (80, 84)), -1.0)
    assert (found.windows, found.windows_found) == (2, 1)


def test_windows_are_found_by_time():
    times = np.datetime64("2014-01-01T00:00") + np.arange(10) * np.timedelta64(5, "m")
    limits = [("2014-01-01 00:10:00.000000", "2014-01-01 00:20:00.000000")]
    assert windows_of(times, limits) == ((2, 4),)
    with pytest.raises(ValueError, match="no row"):
        windows_of(times, [("2015-01-01", "2015-01-02")])


def test_unusable_input_is_refused():
    with pytest.raises(ValueError, match="overlaps"):
        NabSeries(np.zeros(10), ((2, 5), (5, 7)))
    with pytest.raises(ValueError, match="leaves"):
        NabSeries(np.zeros(10), ((2, 10),))
    with pytest.raises(ValueError, match="probation"):
        score_at(one(flags(50)), 0.5)


@pytest.mark.skipif(not DATA.exists(), reason="the benchmark's data is not beside the repository")
def test_profiles_are_the_benchmarks():
    read = json.loads((DATA / "profiles.json").read_text())
    weights = ("tpWeight", "fpWeight", "fnWeight")
    profiles = {
        name: Profile(*(body["CostMatrix"][weight] for weight in weights))
        for name, body in read.items()
    }
    assert profiles == {
        "standard": STANDARD,
        "reward_low_FP_rate": LOW_FP,
        "reward_low_FN_rate": LOW_FN,
    }
