"""Whether a set of models serves."""

from __future__ import annotations

import pytest

from anomaly_platform.assets.scan_champion import LEAST_QUALITY, TOLERANCE, judge_set


@pytest.mark.parametrize(
    ("quality", "serving", "promoted"),
    [
        (None, None, True),
        (LEAST_QUALITY - 0.01, None, False),
        (LEAST_QUALITY, None, True),
        (0.80, 0.80 + TOLERANCE - 0.001, True),
        (0.80, 0.80 + TOLERANCE + 0.001, False),
        (0.95, 0.80, True),
    ],
)
def test_a_set_serves_when_it_is_good_enough_and_no_worse(
    quality: float | None, serving: float | None, promoted: bool
) -> None:
    before = None if serving is None else {"auc_roc": serving}
    decision = judge_set({"auc_roc": quality}, before, trained_on="a", computed="a")
    assert decision.promote is promoted
    assert decision.reason


def test_a_set_on_other_features_does_not_serve() -> None:
    decision = judge_set({"auc_roc": 0.9}, None, trained_on="a", computed="b")
    assert not decision.promote
    assert decision.reason == "feature schema: a, needed is equal to b"
