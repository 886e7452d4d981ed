from __future__ import annotations

import dataclasses

from anomaly_platform.ml.detectors.sequence_lstm.detector import SequenceEvidence
from anomaly_platform.ml.scans.explanation import explain, explain_sequence
from tests.builders.distances import distances

PLACES = {"L3": "Daejeon hub", "L9": "Busan store 3"}
MOVE = SequenceEvidence(
    expected={"place": "L3", "event": "HUB_Inbound", "weekday": "1", "hour": "09"},
    expected_p={"place": 0.97, "event": 0.99, "weekday": 0.5, "hour": 0.2},
    observed={"place": "L9", "event": "R_Stock_Inbound", "weekday": "2", "hour": "03"},
    observed_p={"place": 1e-6, "event": 0.9, "weekday": 0.4, "hour": 0.002},
    expected_hours=5.0,
    elapsed_hours=40.0,
    parts={"place": 13.8, "event": 0.1, "weekday": 0.9, "hour": 1.0, "elapsed": 2.0},
)


def test_a_wrong_move_names_what_was_expected_and_what_came() -> None:
    assert (
        explain_sequence(MOVE, PLACES)
        == "expected HUB_Inbound at Daejeon hub, 96 % likely; got R_Stock_Inbound at Busan store 3"
    )


def test_a_closed_hour_names_the_hour() -> None:
    closed = dataclasses.replace(MOVE, parts={"place": 0.1, "event": 0.1, "hour": 6.2})
    said = explain_sequence(closed, PLACES)
    assert said == (
        "R_Stock_Inbound at Busan store 3 on Wednesday at 03:00–03:59, an hour that is 0.2 % likely"
    )


def test_a_day_that_is_not_known_is_not_named() -> None:
    observed = {**MOVE.observed, "weekday": "something never seen"}
    closed = dataclasses.replace(
        MOVE, observed=observed, parts={"place": 0.1, "event": 0.1, "hour": 6.2}
    )
    said = explain_sequence(closed, PLACES)
    assert said == "R_Stock_Inbound at Busan store 3 at 03:00–03:59, an hour that is 0.2 % likely"


def test_a_delay_names_how_long_it_took() -> None:
    late = dataclasses.replace(MOVE, parts={"place": 0.1, "weekday": 3.0, "elapsed": 8.0})
    said = explain_sequence(late, PLACES)
    assert "came 40.0 h after the scan before" in said
    assert "expected after about 5.0 h" in said


def test_everything_that_speaks_is_in_one_line() -> None:
    said = explain(
        rules=["company 9999999 is not known"],
        sequence=MOVE,
        unusual=distances(time_since_last_scan=(200.0, 5.0, 8.21)),
        move=("L3", "L9"),
        left_out={"svm": "not ready within 1 s"},
        places=PLACES,
    )
    assert said.startswith("company 9999999 is not known; expected HUB_Inbound")
    assert (
        "unlike usual scans: 8.3 days after the scan before, usual is about 5.0 h from scan to scan"
    ) in said
    assert said.endswith("one-class SVM left out (not ready within 1 s)")
    assert explain() == ""
