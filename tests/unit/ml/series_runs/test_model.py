"""What is learned of a series' runs."""

import numpy as np

from anomaly_platform.ml.series_runs.layout import MOST, MOST_LASTED, OTHERS, TAIL_SIZE, TAILS
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
