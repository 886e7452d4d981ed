"""Medians and quantiles: NumPy's to the bit."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from anomaly_platform.ml.order_statistics import (
    median,
    median_of_sorted,
    quantile_of_sorted,
    quantiles_of_sorted,
)

NUMBERS = arrays(
    np.float64, st.integers(1, 300), elements=st.floats(-1e12, 1e12, allow_subnormal=False)
)


@given(NUMBERS)
def test_medians_are_numpys(values: np.ndarray) -> None:
    assert median(values) == np.median(values)


@given(NUMBERS, st.lists(st.floats(0.0, 1.0), min_size=1, max_size=5))
def test_quantiles_are_numpys(values: np.ndarray, shares: list[float]) -> None:
    ordered = np.sort(values)
    expected = np.quantile(values, shares)
    assert [quantile_of_sorted(ordered, share) for share in shares] == expected.tolist()
    assert quantiles_of_sorted(ordered, np.array(shares)).tolist() == expected.tolist()


def test_nan_and_nothing_give_nan() -> None:
    assert np.isnan(median(np.array([1.0, np.nan, 2.0])))
    assert np.isnan(median_of_sorted(np.empty(0)))
    assert np.isnan(quantile_of_sorted(np.array([1.0, np.nan]), 0.5))


def test_values_stay_as_they_were() -> None:
    values = np.array([3.0, 1.0, 2.0])
    median(values)
    assert values.tolist() == [3.0, 1.0, 2.0]
