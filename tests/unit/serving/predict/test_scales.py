"""The one score as clients see it, a number at a time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from anomaly_platform.serving.predict.scales import prediction, signed_score

scores = st.floats(0.0, 0.999999)
thresholds = st.floats(0.01, 0.99)


@given(scores, thresholds)
def test_an_anomaly_is_at_zero_and_below(score: float, threshold: float) -> None:
    signed = signed_score(score, threshold)
    assert -1.0 <= signed <= 1.0
    assert (signed <= 0) is (score >= threshold)


def test_it_has_the_documented_corners() -> None:
    assert [signed_score(score, 0.7) for score in (0.0, 0.7, 1.0)] == [1.0, 0.0, -1.0]


def test_the_ends_of_the_scale_of_thresholds_divide_by_nothing() -> None:
    assert signed_score(0.0, 0.0) == 0.0
    assert signed_score(0.9, 1.0) > 0.0


def test_nobody_knows_is_not_normal() -> None:
    assert [prediction(one) for one in (True, False, None)] == [-1, 1, None]
