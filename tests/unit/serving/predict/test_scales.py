"""The one score as clients see it, a number at a time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from anomaly_platform.ml.calibration.conformal import iiot_view
from anomaly_platform.serving.predict.scales import confidence, prediction, signed_score

scores = st.floats(0.0, 0.999999)
thresholds = st.floats(0.01, 0.99)


@given(scores, thresholds)
def test_it_is_what_the_library_says_of_arrays(score: float, threshold: float) -> None:
    signed = signed_score(score, threshold)
    assert signed == iiot_view(score, threshold)[0]
    assert (signed <= 0) is (score >= threshold)
    assert 0.0 <= confidence(score, threshold) <= 1.0


def test_the_ends_of_the_scale_of_thresholds_divide_by_nothing() -> None:
    assert signed_score(0.0, 0.0) == 0.0
    assert signed_score(0.9, 1.0) > 0.0


def test_nobody_knows_is_not_normal() -> None:
    assert [prediction(one) for one in (True, False, None)] == [-1, 1, None]
