"""Gates: what passes, what does not, and what is said of it."""

from __future__ import annotations

import pytest

from anomaly_platform.ml.training.gates import (
    FEWEST_KNOWN_ANOMALIES,
    KNOWN_TOLERANCE,
    LEAST_AUC,
    LEAST_BALANCED_ACCURACY,
    LEAST_TRAINED_SHARE,
    MOST_FALSE_POSITIVES,
    MOST_MUCH_WORSE,
    TOLERANCE,
    Comparison,
    comparison_gates,
    decide,
    decide_on_set,
    quality_gates,
    schema_gate,
    trained_gate,
)


@pytest.mark.parametrize(
    ("trained", "failed", "passed"), [(0, 0, False), (0, 3, False), (1, 1, True), (4, 6, False)]
)
def test_enough_of_the_series_have_to_be_trained(trained: int, failed: int, passed: bool) -> None:
    assert LEAST_TRAINED_SHARE == 0.5
    assert trained_gate(trained, failed).passed is passed


@pytest.mark.parametrize(
    ("accuracy", "false_positives", "champions", "passed"),
    [
        (None, None, None, (True, True)),
        (LEAST_BALANCED_ACCURACY, MOST_FALSE_POSITIVES, None, (True, True)),
        (LEAST_BALANCED_ACCURACY - 0.01, MOST_FALSE_POSITIVES + 0.01, None, (False, False)),
        (0.9, 0.05, 0.0, (True, True)),
        (0.9, 0.06, 0.0, (True, False)),
        (0.9, 0.2, 0.5, (True, True)),
    ],
)
def test_a_challenger_has_to_be_good_enough_by_itself(
    accuracy: float | None,
    false_positives: float | None,
    champions: float | None,
    passed: tuple[bool, bool],
) -> None:
    gates = quality_gates(accuracy, false_positives, champions)
    assert tuple(gate.passed for gate in gates) == passed


@pytest.mark.parametrize(
    ("accuracy", "before", "passed"),
    [
        (0.57, None, False),
        (0.57, 0.58, True),
        (0.54, 0.58, False),
        (0.57, 0.90, False),
        (0.52, 0.51, False),
    ],
)
def test_of_a_hard_series_no_more_is_asked_than_it_had(
    accuracy: float, before: float | None, passed: bool
) -> None:
    assert quality_gates(accuracy, 0.0, None, before=before)[0].passed is passed


def compared(**changes: float) -> Comparison:
    figures: dict[str, float] = {
        "series": 10,
        "challenger_accuracy": 0.9,
        "champion_accuracy": 0.9,
        "known_anomalies": FEWEST_KNOWN_ANOMALIES,
        "challenger_found": 0.8,
        "champion_found": 0.8,
    }
    return Comparison(**{**figures, **changes})  # type: ignore[arg-type]


def alarms(ours: float, theirs: float) -> dict[str, float]:
    return {"challenger_false_positive_rate": ours, "champion_false_positive_rate": theirs}


@pytest.mark.parametrize(
    ("changes", "failed"),
    [
        ({}, []),
        ({"challenger_accuracy": 0.9 - TOLERANCE + 1e-6}, []),
        ({"challenger_accuracy": 0.9 - TOLERANCE - 1e-6}, ["no worse than the champion"]),
        ({"much_worse": MOST_MUCH_WORSE + 0.01}, ["series much worse"]),
        ({"challenger_found": 0.8 - KNOWN_TOLERANCE - 0.01}, ["known anomalies found"]),
        ({"challenger_found": 0.0, "known_anomalies": FEWEST_KNOWN_ANOMALIES - 1}, []),
        # What a champion finds because it flags nearly everything is no merit.
        ({"challenger_found": 0.41, **alarms(0.0, 0.5)}, []),
        # But half of it is found by a challenger that has not gone blind.
        ({"challenger_found": 0.39, **alarms(0.0, 0.5)}, ["known anomalies found"]),
        ({"challenger_found": 0.3, **alarms(0.5, 0.5)}, ["known anomalies found"]),
        # Nor does a challenger have to find more because it flags more.
        ({"challenger_found": 0.75, **alarms(0.5, 0.0)}, []),
        ({"challenger_accuracy": 0.0, "series": 0}, []),
    ],
)
def test_a_challenger_is_no_worse_than_the_champion(
    changes: dict[str, float], failed: list[str]
) -> None:
    gates = comparison_gates(compared(**changes))
    assert [gate.gate for gate in gates if not gate.passed] == failed


def test_every_gate_that_fails_is_in_the_reason() -> None:
    gates = [schema_gate("a", "b", equal=False), trained_gate(1, 0), trained_gate(0, 2)]
    decision = decide(gates, "new data")
    assert not decision.promote
    assert decision.reason == (
        "feature schema: a, needed is equal to b; "
        "trained share: 0% (0 of 2 series), needed is at least 50% and one series"
    )
    assert [row["passed"] for row in decision.rows()] == [False, True, False]
    assert decide(gates[1:2], "new data").reason == "new data"


@pytest.mark.parametrize(
    ("quality", "serving", "promoted"),
    [
        (None, None, True),
        (LEAST_AUC - 0.01, None, False),
        (LEAST_AUC, None, True),
        (0.80, 0.80 + TOLERANCE - 0.001, True),
        (0.80, 0.80 + TOLERANCE + 0.001, False),
        (0.95, 0.80, True),
    ],
)
def test_a_set_serves_when_it_is_good_enough_and_no_worse(
    quality: float | None, serving: float | None, promoted: bool
) -> None:
    decision = decide_on_set(quality, serving, trained_on="a", computed="a")
    assert decision.promote is promoted
    assert decision.reason


def test_a_set_on_other_features_does_not_serve() -> None:
    decision = decide_on_set(0.9, None, trained_on="a", computed="b")
    assert not decision.promote
    assert decision.reason == "feature schema: a, needed is equal to b"
