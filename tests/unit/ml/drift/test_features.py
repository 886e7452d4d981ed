import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly_platform.ml.drift.distances import MINIMUM_ROWS
from anomaly_platform.ml.drift.features import (
    BINS,
    EDGES,
    FeatureReferences,
    watched_features,
)
from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from tests.builders.readings import normal

MINUTES = 5 * 60_000_000
A_DAY = 288


def clock(rows):
    return np.arange(rows, dtype=np.int64) * MINUTES


def fitted(values):
    values = np.asarray(values, dtype=float)
    return FeatureReferences.fit(clock(values.size), {"x": values}, ("x",))


def compared(reference, values):
    found = reference.compare({"x": np.asarray(values, dtype=float)}, ("x",))
    return tuple(float(one[0]) for one in found)


def test_what_is_watched_is_what_can_drift_by_itself():
    watched = watched_features(MetricFeatureSet())
    assert {"std_12", "mean_288", "missing_48", "diff_1", "mad_288"} <= set(watched)
    assert not {"value", "lag_1", "hour_sin", "dow_cos"} & set(watched)


def test_no_drift_is_about_the_noise_that_the_sizes_explain():
    found = [
        compared(fitted(normal(5_000, seed=n)), normal(A_DAY, seed=n + 1_000)) for n in range(60)
    ]
    assert np.mean([psi for psi, _, _ in found]) == pytest.approx(found[0][1], rel=0.25)
    assert max(psi for psi, _, _ in found) < 0.15


def test_level_and_spread_show_and_more_of_it_shows_more():
    reference = fitted(normal(5_000))
    shifts = [compared(reference, normal(1_000, mean, seed=1))[0] for mean in (0, 0.3, 1, 3)]
    assert shifts == sorted(shifts)
    assert compared(reference, normal(1_000, 0, 3, seed=1))[0] > 0.25


def test_ks_by_hand():
    # Of eight equal bins all of the current rows lie in the first four.
    _, _, ks = compared(fitted(np.repeat(np.arange(8.0), 100)), np.repeat(np.arange(4.0), 100))
    assert ks == pytest.approx(0.5)


def test_a_constant_feature_that_moves_shows_at_full_strength():
    reference = fitted(np.zeros(1_000))
    assert compared(reference, np.zeros(A_DAY))[0] == pytest.approx(0.0, abs=0.01)
    for moved in (1e-30, -1e-30, 5.0):
        psi, _, ks = compared(reference, np.full(A_DAY, moved))
        assert psi > 5
        assert ks == pytest.approx(1.0)


def test_a_day_of_training_lies_as_far_out_as_the_oddest_one_says():
    days = [normal(A_DAY, mean, seed=n) for n, mean in enumerate((0, 0.5, 2.0, 0.1))]
    reference = fitted(np.concatenate(days))
    apart = [compared(reference, day)[0] for day in days]
    assert float(reference.usual_psi[0]) == pytest.approx(max(apart), rel=1e-5)
    assert np.isnan(fitted(days[0]).usual_psi[0])


@pytest.mark.parametrize("rows", [0, MINIMUM_ROWS - 1])
def test_too_little_is_not_judged(rows):
    assert all(np.isnan(compared(fitted(normal(500)), normal(rows))))
    assert all(np.isnan(compared(fitted(normal(rows)), normal(500))))


@given(
    st.lists(
        st.one_of(
            st.floats(allow_nan=True, allow_infinity=True),
            st.sampled_from([0.0, 1.0, 1e300, -1e300]),
        ),
        max_size=700,
    )
)
def test_every_row_is_counted_once_and_nothing_is_as_near_as_itself(values):
    reference = fitted(values)
    present = np.isfinite(np.asarray(values, dtype=float))
    assert reference.counts.sum() == present.sum()
    edges = reference.edges[0][np.isfinite(reference.edges[0])]
    assert edges.size <= EDGES == 2 * (BINS - 1)
    assert (np.diff(edges) > 0).all()
    psi, _, ks = compared(reference, values)
    if present.sum() >= MINIMUM_ROWS:
        assert (psi, ks) == (pytest.approx(0, abs=1e-9), pytest.approx(0, abs=1e-9))
    again = FeatureReferences.from_flat(*reference.flat())
    assert np.array_equal(again.edges, reference.edges)
    assert np.array_equal(again.counts, reference.counts)
    assert np.array_equal(again.usual_psi, reference.usual_psi, equal_nan=True)
