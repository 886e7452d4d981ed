"""Sums of compiled loops are NumPy's to the bit."""

import numpy as np
import pytest

from anomaly_platform.ml.sums import sum_of


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 127, 128, 129, 200, 1000, 4321])
def test_a_sum_is_numpys_to_the_bit(size):
    rng = np.random.default_rng(size)
    values = rng.normal(size=size) * 10.0 ** rng.integers(-6, 6, size)

    assert sum_of(values, 0, size) == np.add.reduce(values)
    assert sum_of(values, size // 3, size) == np.add.reduce(values[size // 3 :])
