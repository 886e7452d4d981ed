import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from anomaly_platform.ml.drift.distances import MINIMUM_ROWS, ReferenceDistribution, score_psi
from tests.builders.readings import normal


def one(reference, current, **options):
    fitted = ReferenceDistribution.fit(np.asarray(reference, dtype=float)[:, None], ["x"])
    return fitted.compare(np.asarray(current, dtype=float)[:, None], **options)[0]


def test_no_drift_is_about_the_noise_that_the_sizes_explain():
    found = [one(normal(5000, seed=s), normal(288, seed=s + 1000)) for s in range(60)]
    assert np.mean([f.psi for f in found]) == pytest.approx(found[0].psi_noise, rel=0.25)
    assert np.mean([f.psi > 0.25 for f in found]) == 0


def test_drift_grows_with_the_shift_and_shows_in_spread_too():
    psis = [one(normal(5000), normal(1000, mean, seed=1)).psi for mean in (0, 0.3, 1, 3)]
    assert psis == sorted(psis)
    assert psis[1] < 0.25 < psis[2]
    assert one(normal(5000), normal(1000, 0, 3, seed=1)).psi > 0.25


def test_psi_by_hand():
    # Ten values of equal weight against the first five only; half a row is added to each bin.
    found = one(np.repeat(np.arange(10.0), 100), np.repeat(np.arange(5.0), 100))
    before, after, gone = 100.5 / 1005, 100.5 / 505, 0.5 / 505
    expected = 5 * (after - before) * np.log(after / before)
    expected += 5 * (gone - before) * np.log(gone / before)
    assert found.psi == pytest.approx(expected, rel=0.02)
    assert found.ks == pytest.approx(0.5)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), shift=st.floats(-2, 2), digits=st.integers(0, 3))
def test_ks_is_near_scipys_and_never_above_it(seed, shift, digits):
    reference = np.round(normal(2000, seed=seed), digits)
    current = np.round(normal(400, shift, seed=seed + 1), digits)
    exact = stats.ks_2samp(reference, current).statistic
    found = one(reference, current).ks
    assert found <= exact + 1e-12
    assert found > exact - 0.06


@pytest.mark.parametrize("changed", [2.9, 3.1, 0.0])
def test_constant_that_changes_is_drift_in_either_direction(changed):
    constant = np.full(500, 3.0)
    assert one(constant, np.full(200, 3.0)).psi < 0.02
    assert one(constant, np.full(200, 3.0)).ks == 0
    found = one(constant, np.full(200, changed))
    assert found.psi > 5
    assert found.ks == 1


def test_counter_that_stops_being_zero():
    rng = np.random.default_rng(0)
    rarely = (rng.random(3000) < 0.03).astype(float)
    assert one(rarely, (rng.random(500) < 0.03).astype(float)).psi < 0.1
    assert one(rarely, (rng.random(500) < 0.5).astype(float)).psi > 0.25


def test_missing_values_are_left_out_and_counted():
    reference, current = normal(1000), normal(200, seed=1)
    reference[:100] = np.nan
    current[:100] = np.inf
    found = one(reference, current)
    assert found.rows == 100
    assert found.missing_share == 0.5
    assert found.reference_missing_share == pytest.approx(0.1)
    assert found.psi < 0.3


@pytest.mark.parametrize(
    ("known", "rows"), [(MINIMUM_ROWS - 1, 500), (500, MINIMUM_ROWS - 1), (0, 0)]
)
def test_too_few_rows_say_nothing(known, rows):
    found = one(normal(known), normal(rows))
    assert found.psi is None
    assert found.ks is None
    assert found.psi_noise is None


def test_stored_and_read_back_it_says_the_same():
    rng = np.random.default_rng(0)
    names = ["smooth", "constant", "count", "gone"]
    values = np.column_stack(
        (rng.normal(size=800), np.full(800, 0.1), rng.poisson(0.3, 800), np.full(800, np.nan))
    )
    fitted = ReferenceDistribution.fit(values, names)
    read = ReferenceDistribution.from_arrays(fitted.to_arrays(), names)
    assert read.compare(values[:300]) == fitted.compare(values[:300])
    assert sum(array.nbytes for array in fitted.to_arrays().values()) < 400 * len(names)


def test_features_keep_their_names_and_order():
    fitted = ReferenceDistribution.fit(np.zeros((60, 2)), ["a", "b"])
    found = fitted.compare(np.column_stack((np.zeros(60), np.ones(60))))
    assert [f.feature for f in found] == ["a", "b"]
    assert found[0].ks == 0
    assert found[1].ks == 1


def test_unusable_input_is_refused():
    fitted = ReferenceDistribution.fit(np.zeros((60, 2)), ["a", "b"])
    with pytest.raises(ValueError, match="do not fit 2"):
        fitted.compare(np.zeros((60, 3)))
    with pytest.raises(ValueError, match="bins"):
        fitted.compare(np.zeros((60, 2)), bins=1)
    with pytest.raises(ValueError, match="lacks counts"):
        ReferenceDistribution.from_arrays({"edges": fitted.edges}, ["a", "b"])
    with pytest.raises(ValueError, match="do not fit 3"):
        ReferenceDistribution.from_arrays(fitted.to_arrays(), ["a", "b", "c"])


def test_a_part_of_the_training_data_is_no_further_away_than_usual() -> None:
    # A machine that works one week at one level and the next at another.
    rng = np.random.default_rng(3)
    days = np.repeat(np.arange(14), 288)
    values = rng.normal(np.where(days < 7, 10.0, 20.0), 1.0)
    reference = ReferenceDistribution.fit(values[:, None], ["value"])
    usual = reference.usual_psi(values, days)
    (day,) = reference.compare(values[days == 3][:, None])
    (moved,) = reference.compare(values[days == 3][:, None] + 50)
    assert usual is not None
    assert day.psi is not None
    assert moved.psi is not None
    assert 0.25 < day.psi <= usual < moved.psi


def test_one_day_says_nothing_about_what_is_usual() -> None:
    values = np.arange(100.0)
    reference = ReferenceDistribution.fit(values[:, None], ["value"])
    assert reference.usual_psi(values, np.zeros(100, dtype=np.int64)) is None
    assert reference.usual_psi(values, (values // 10).astype(np.int64)) is None
    two = ReferenceDistribution.fit(np.ones((3, 2)), ["a", "b"])
    with pytest.raises(ValueError, match="one feature"):
        two.usual_psi(np.ones(3), np.zeros(3, dtype=np.int64))


def test_even_p_values_have_not_drifted_and_small_ones_have() -> None:
    rng = np.random.default_rng(4)
    even, small = score_psi(rng.random(500)), score_psi(rng.random(500) * 0.1)
    assert even is not None
    assert small is not None
    assert even < 0.1
    assert small > 4
    assert score_psi([0.5] * 49) is None
    assert score_psi([float("nan")] * 100) is None
    assert score_psi(np.ones(100)) is not None
