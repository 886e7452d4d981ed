"""Calls: rare while a host drifts, few per lasting change, the same bits in pieces."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly_platform.ml.scoring.calls import FIRST, LEAST, MOST, calls_of, rate_of


def test_calls_keep_their_rate_when_the_host_drifts():
    rng = np.random.default_rng(1)
    # p-values that were even, and of which a tenth is small from a time on.
    p = rng.random(20_000)
    p[5_000:] = p[5_000:] ** 2
    assert (p[5_000:] <= 0.01).mean() > 0.09
    calls, _ = calls_of(p, 0.01, FIRST)
    assert calls[:5_000].mean() < 0.012
    assert calls[5_000:].mean() < 0.035


def test_a_lasting_incident_is_called_a_few_times_and_a_new_one_again():
    p = np.full(3_000, 0.5)
    p[1_000:1_400] = 2e-4
    p[2_500:2_510] = 2e-4
    calls, _ = calls_of(p, 0.01, FIRST)
    assert calls[1_000]
    assert calls[1_000:1_400].sum() < 0.3 * 400
    assert calls[2_500]
    assert not calls[:1_000].any()


def test_what_is_new_in_one_of_many_metrics_keeps_the_rate_of_their_host():
    rng = np.random.default_rng(2)
    p, novel = rng.uniform(0.1, 1.0, 5_000), rng.random(5_000) < 0.2
    calls, _ = calls_of(p, 0.01, FIRST, novel, metrics=100)
    assert 0.005 < calls.mean() < 0.012
    assert calls[np.flatnonzero(novel)[0]]
    alone, _ = calls_of(p, 0.01, FIRST, novel)
    np.testing.assert_array_equal(alone, novel)


@given(
    p=st.lists(st.sampled_from([1e-12, 1e-6, 1e-3, 0.01, 0.02, 0.5, 1.0]), min_size=1, max_size=60),
    cut=st.integers(0, 60),
    rate=st.sampled_from([0.0, 0.001, 0.01, 0.5]),
)
def test_pieces_give_the_bits_of_the_whole_and_the_level_stays_bounded(p, cut, rate):
    rows = np.array(p)
    whole, last = calls_of(rows, rate, FIRST)
    first, level = calls_of(rows[:cut], rate, FIRST)
    second, level = calls_of(rows[cut:], rate, level)
    np.testing.assert_array_equal(np.concatenate((first, second)), whole)
    assert level == last
    assert LEAST <= last <= MOST


def test_the_threshold_moves_the_rate():
    assert rate_of(0.7, 0.01) == pytest.approx(0.01)
    assert rate_of(0.9, 0.01) < 0.001
    assert rate_of(0.0, 0.01) == 1.0
    calls, _ = calls_of(np.full(10, 1e-12), rate_of(1.0, 0.01), FIRST)
    assert not calls.any()
