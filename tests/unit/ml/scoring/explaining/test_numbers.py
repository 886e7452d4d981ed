"""Numbers of explanations as people are shown them."""

import pytest

from anomaly_platform.ml.scoring.explaining.numbers import percentages


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"forest": 0.33, "distance": 0.33, "level": 0.34}, [34, 33, 33]),
        ({"forest": 1.02, "season": -0.02}, [100]),
        ({"runs": 0.999, "level": 0.001}, [100]),
        ({"forest": 1.0, "distance": 1.0, "level": 1.0, "season": -2.0}, [34, 33, 33]),
        ({"forest": 0.0}, []),
        ({}, []),
    ],
)
def test_percentages_are_of_the_whole(parts, said):
    assert list(percentages(parts).values()) == said
