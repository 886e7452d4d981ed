"""Labels move a threshold only when there are enough of them, and only as far as they prove."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly_platform.ml.calibration.conformal import score_of_p
from anomaly_platform.ml.calibration.label_thresholds import (
    FEWEST_LABELS,
    MOST_ALARMS,
    threshold_from_labels,
)

DEFAULT, ALPHA = 0.7, 0.01


def rule(scores: list[float], labels: list[bool]) -> float | None:
    return threshold_from_labels(scores, labels, default=DEFAULT, alpha=ALPHA)


def test_few_labels_prove_nothing() -> None:
    assert FEWEST_LABELS == 9
    assert rule([], []) is None
    assert rule([0.8] * 8, [False] * 8) is None
    assert rule([float("nan")] * 20, [False] * 20) is None


def test_false_alarms_raise_the_threshold_just_above_them() -> None:
    threshold = rule([0.72, 0.75, 0.8] * 3, [False] * 9)
    assert threshold is not None
    assert 0.8 < threshold < 0.8001


def test_with_many_labels_a_tenth_may_stay_wrong() -> None:
    scores = [0.71 + 0.001 * n for n in range(99)]
    threshold = rule(scores, [False] * 99)
    assert threshold is not None
    left = sum(score >= threshold for score in scores)
    assert (left + 1) / 100 <= 0.1
    assert left == 9


def test_false_alarms_do_not_silence_what_is_known_to_be_anomalous() -> None:
    assert rule([0.8] * 9 + [0.75] * 5, [False] * 9 + [True] * 5) is None
    apart = rule([0.75] * 9 + [0.95] * 5, [False] * 9 + [True] * 5)
    assert apart is not None
    assert 0.75 < apart < 0.95


def test_missed_anomalies_lower_it_within_bounds() -> None:
    threshold = rule([0.65] * 9 + [0.2] * 20, [True] * 9 + [False] * 20)
    assert threshold == 0.65
    # However many are missed, normal readings are flagged five times α at most.
    low = rule([0.1] * 9 + [0.05] * 50, [True] * 9 + [False] * 50)
    assert low == pytest.approx(float(score_of_p(MOST_ALARMS * ALPHA, ALPHA)[0]))
    # Where that would only bring false alarms, it stays.
    assert rule([0.65] * 9 + [0.66] * 20, [True] * 9 + [False] * 20) is None
    # Nothing was missed.
    assert rule([0.9] * 20, [True] * 20) is None


@given(
    scores=st.lists(st.floats(0, 0.999), max_size=60),
    labels=st.lists(st.booleans(), max_size=60),
    alpha=st.sampled_from([0.001, 0.01, 0.05]),
)
def test_it_never_leaves_its_bounds_nor_makes_the_labels_worse(
    scores: list[float], labels: list[bool], alpha: float
) -> None:
    count = min(len(scores), len(labels))
    score, label = np.array(scores[:count]), np.array(labels[:count], dtype=bool)
    threshold = threshold_from_labels(score, label, default=DEFAULT, alpha=alpha)
    if threshold is None:
        return
    assert float(score_of_p(MOST_ALARMS * alpha, alpha)[0]) <= threshold < 1.0
    if threshold > DEFAULT:
        assert not (score[~label & (score >= threshold)].size > score[~label].size * 0.1 + 1)
    else:
        assert (label & (score >= threshold)).sum() >= (label & (score >= DEFAULT)).sum()
