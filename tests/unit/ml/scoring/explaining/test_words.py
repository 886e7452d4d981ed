"""Sentences say what is unusual, and never that nothing is."""

import pytest

from anomaly_platform.ml.features.metrics.layout import FeatureLayout
from anomaly_platform.ml.scoring.explaining.numbers import Explanation, InputShare
from anomaly_platform.ml.scoring.explaining.words import Role, sentence

LAYOUT = FeatureLayout()
INPUTS = (InputShare("z_288", 0.0, 2.0), InputShare("spread", 0.5, 0.5))


def within(parts, *, inputs=INPUTS, still=False, low=17.0, high=23.0):
    return Explanation(
        *(low, high, 0.3, "none", True, None, True, parts, inputs), usual=0.4, still=still
    )


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (
            within({"forest": 0.9, "level": 0.1}),
            "what came before, mostly how much the last 60 min vary",
        ),
        (within({"distance": 1.0}, inputs=INPUTS[:1]), "what came before"),
        (
            within({"level": 1.0}),
            "what came before, mostly how far it lies from its level in training",
        ),
        (within({"season": 1.0}), "what came before, mostly the time at which it comes"),
        (within({"runs": 1.0}), "what came before"),
        (within({}, inputs=()), "what came before"),
        (within({"level": 1.0}, still=True), "that it has not moved for 60 min"),
    ],
)
def test_an_ordinary_value_says_what_else_is_unusual(found, said):
    assert sentence(20.1, found, LAYOUT) == f"20.1, usual is 17 to 23; unusual is {said}"


def test_an_ordinary_value_has_the_time_at_which_it_is_one():
    said = sentence(20.1, within({"season": 1.0}), LAYOUT, 52_200_000_000)
    assert said.startswith("20.1, usual is 17 to 23 at 14:30 UTC; unusual is")


def test_a_cause_says_that_others_of_its_host_are_less_unusual():
    found = within({"level": 1.0})
    assert sentence(20.1, found, LAYOUT, role=Role.CAUSE) == (
        "20.1, by itself as expected (17 to 23); among the most unusual metrics of its host at "
        "that time; mostly by how far it lies from its level in training"
    )
    anywhere = within({}, inputs=(), low=float("-inf"), high=float("inf"))
    assert sentence(20.1, anywhere, LAYOUT, role=Role.CAUSE) == (
        "20.1, by itself as expected (any value); among the most unusual metrics of its host "
        "at that time"
    )


@pytest.mark.parametrize(
    ("ends", "value", "deviation", "said"),
    [
        ((0.0, 0.0), 1.0, 1.3, "1, expected 0; a single reading"),
        ((0.0, 100.0), 100.5, 1.01, "100.5, expected 0 to 100; just above"),
        ((0.0, 40.0), 93.1, 2e7, "93.1, expected 0 to 40; over a million times its usual spread"),
    ],
)
def test_how_far_off_reads_well(ends, value, deviation, said):
    found = Explanation(*ends, deviation, "above", False, 0.0, False, {"level": 1.0})
    assert sentence(value, found, LAYOUT).startswith(said)


@pytest.mark.parametrize(
    ("value", "low", "high", "said"),
    [
        (11_960_555.0, 11_960_670.0, 11_962_120.0, "11960555, expected 11960670 to 11962120"),
        (11_960_555.0, 11_960_669.8, 11_962_123.4, "11960555, expected 11960670 to 11962120"),
        (152.25, 152.2513, 187.1, "152.25, expected 152.2513 to 187.1"),
        (1_234_567.891, 5.0, 7.0, "1234567.891, expected 5 to 7"),
    ],
)
def test_a_value_is_told_as_given_and_bounds_so_that_they_differ_from_it(value, low, high, said):
    found = Explanation(low, high, 3.0, "below", False, 0.0, False, {"level": 1.0})
    assert sentence(value, found, LAYOUT).split(";")[0] == said
