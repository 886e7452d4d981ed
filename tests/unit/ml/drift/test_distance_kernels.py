"""Compiled loops of references, against the same said by NumPy's functions."""

import numpy as np
import pytest

from anomaly_platform.ml.drift.distance_kernels import count_parts, fill_reference, moments

_SHARES = np.linspace(0, 1, 21)[1:-1]


@pytest.mark.parametrize("distinct", [1, 2, 3, 12, 40, 10_000])
def test_bins_are_quantiles_and_both_sides_of_what_many_hold(distinct):
    rng = np.random.default_rng(distinct)
    ordered = np.sort(rng.integers(0, distinct, 700) / 7.0)
    edges, counts = np.full(40, np.inf), np.zeros(41, dtype=np.int64)

    known = fill_reference(ordered, _SHARES, edges, counts)

    quantiles = np.quantile(ordered, _SHARES, method="inverted_cdf")
    own = quantiles[1:][quantiles[1:] == quantiles[:-1]]
    wanted = np.unique(np.concatenate((quantiles, np.nextafter(own, -np.inf))))
    assert edges[:known].tolist() == wanted.tolist()
    inside = np.bincount(np.searchsorted(wanted, ordered), minlength=known + 1)
    assert counts[: known + 1].tolist() == inside.tolist()


def test_parts_are_counted_without_what_is_missing():
    values = np.array([np.nan, 1.0, 2.0, 3.0, np.nan, 9.0, 1.0, np.inf])
    groups = np.array([4, 4, 4, 4, 5, 7, 7, 8])

    table = count_parts(values, groups, np.array([1.0, 2.0]), np.array([0, 1, 1]))

    assert table.tolist() == [[1.0, 2.0], [1.0, 1.0]]


@pytest.mark.parametrize("rows", [1, 7, 300, 1_000])
def test_moments_are_numpys(rows):
    values, found = np.random.default_rng(rows).normal(5.0, 3.0, rows), np.empty(4)

    moments(values, found)

    assert found.tolist() == [values.mean(), values.std(), values.min(), values.max()]
