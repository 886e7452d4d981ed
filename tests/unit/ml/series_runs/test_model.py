"""What is learned of a series' runs."""

import numpy as np
import pytest

from anomaly_platform.ml.series_runs.layout import (
    COUNTER,
    MOST,
    MOST_LASTED,
    OTHERS,
    TAIL_SIZE,
    TAILS,
)
from anomaly_platform.ml.series_runs.model import RunModel

FIVE_MINUTES = 300_000_000


def test_a_gap_between_equal_readings_is_no_long_run() -> None:
    values = np.round(np.random.default_rng(3).normal(50.0, 1.0, 2000), 1)
    values[1001] = values[1000]
    times = np.arange(2000) * FIVE_MINUTES
    times[1001:] += 24 * 12 * FIVE_MINUTES
    tail = RunModel.fit(times, values, 288).constants[TAILS + TAIL_SIZE * OTHERS :]
    assert tail[MOST] < 6
    assert tail[MOST_LASTED] <= tail[MOST] * FIVE_MINUTES


@pytest.mark.parametrize(
    ("values", "counts"),
    [
        (np.cumsum(np.arange(2000) % 7 == 0), True),
        (np.cumsum(np.arange(2000) % 7 == 0) % 100, True),
        # The steps of a machine's programme, and a tank that is filled in five and emptied in one.
        (np.tile(np.repeat((0.0, 1.0, 2.0, 3.0, 4.0), (60, 15, 15, 15, 15)), 20), False),
        (np.tile(np.repeat((5.0, 25.0, 45.0, 65.0, 85.0), 40), 10), False),
        (np.arange(2000) % 2, False),
    ],
)
def test_what_counts_is_told_from_what_goes_through_its_steps(values, counts) -> None:
    model = RunModel.fit(np.arange(values.size) * FIVE_MINUTES, values.astype(float), 288)
    assert bool(model.constants[COUNTER]) is counts
