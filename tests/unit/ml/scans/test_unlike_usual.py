"""What the one-class SVM finds unusual is said in words that an operator knows."""

from __future__ import annotations

import pytest

from anomaly_platform.ml.scans.unlike_usual import unlike_usual
from tests.builders.distances import distances


@pytest.mark.parametrize(
    ("feature", "numbers", "said"),
    [
        ("hour", (3.0, 13.0, -2.5), "scanned at 03:00–03:59, earlier in the day than most"),
        ("hour", (23.0, 13.0, 2.5), "scanned at 23:00–23:59, later in the day than most"),
        ("day_of_week", (6.0, 2.0, 2.5), "scanned on a Sunday, later in the week than most"),
        (
            "is_weekend",
            (1.0, 0.04, 2.5),
            "scanned on a Wednesday, while 4.0 % of the scans in training are on weekends",
        ),
        ("location_hierarchy", (3.0, 1.0, 2.5), "at Busan, further from the factory than most"),
        ("location_hierarchy", (0.0, 1.0, -2.5), "at Busan, nearer to the factory than most"),
        ("latitude", (33.0, 36.0, -2.5), "at Busan, further south than most"),
        ("longitude", (129.0, 127.0, 2.5), "at Busan, further east than most"),
        (
            "time_since_last_scan",
            (60.0, 5.0, 2.5),
            "2.5 days after the scan before, usual is about 5.0 h from scan to scan",
        ),
        (
            "time_since_last_scan",
            (720.0, 5.0, 2.5),
            "the first scan of its code in 30 days, usual is about 5.0 h from scan to scan",
        ),
        ("sequence_length", (12.0, 4.0, 3.0), "scan 12 of its code in 30 days, usual is about 4"),
        (
            "manufacture_age_days",
            (310.0, 40.0, 3.0),
            "scanned 310 days after its date of manufacture, usual is about 40 after it",
        ),
        (
            "manufacture_age_days",
            (-3.0, 40.0, -2.0),
            "scanned 3 days before its date of manufacture, usual is about 40 after it",
        ),
        (
            "location_transition_frequency",
            (0.003, 0.2, -2.0),
            "came from Daejeon to Busan, as 0.3 % of the codes at Daejeon do",
        ),
        (
            "location_transition_frequency",
            (0.0, 0.2, -4.0),
            "came from Daejeon to Busan, as no code in training did",
        ),
    ],
)
def test_each_feature_is_said_in_plain_words(
    feature: str, numbers: tuple[float, float, float], said: str
) -> None:
    told = unlike_usual(distances(**{feature: numbers}), "Daejeon", "Busan")
    assert told == f"unlike usual scans: {said}"


def test_two_subjects_are_named_and_no_subject_twice() -> None:
    told = unlike_usual(
        distances(
            is_weekend=(1.0, 0.04, 4.0),
            day_of_week=(5.0, 2.0, 3.0),
            hour=(3.0, 13.0, -2.0),
            sequence_length=(12.0, 4.0, 1.5),
        ),
        "Daejeon",
        "Busan",
    )
    assert told == (
        "unlike usual scans: scanned on a Saturday, while 4.0 % of the scans in training are on "
        "weekends, and scanned at 03:00–03:59, earlier in the day than most"
    )


def test_a_code_comes_from_nowhere_at_its_first_scan() -> None:
    first = {"sequence_length": (1.0, 4.0, -0.5)}
    rare = distances(location_transition_frequency=(0.004, 0.2, -3.0), **first)
    assert unlike_usual(rare, None, "Busan") == (
        "unlike usual scans: first seen at Busan, where 0.4 % of the codes begin"
    )
    never = distances(location_transition_frequency=(0.0, 0.2, -3.0), **first)
    assert unlike_usual(never, None, "Busan").endswith("where no code in training begins")


def test_nothing_is_said_of_a_place_that_is_not_known() -> None:
    far = distances(
        location_transition_frequency=(1.0, 0.2, 4.0),
        latitude=(33.0, 36.0, -3.0),
        hour=(3.0, 13.0, -2.0),
    )
    assert unlike_usual(far, "Daejeon", None) == (
        "unlike usual scans: scanned at 03:00–03:59, earlier in the day than most"
    )


def test_a_scan_at_the_same_place_is_one_more_there() -> None:
    rare = distances(location_transition_frequency=(0.003, 0.2, -3.0))
    assert unlike_usual(rare, "Busan", "Busan") == (
        "unlike usual scans: scanned at Busan again, as 0.3 % of the codes at Busan are"
    )
