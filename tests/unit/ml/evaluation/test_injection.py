import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly_platform.ml.evaluation.injection import (
    KINDS,
    RANGES,
    InjectedEvent,
    apply_event,
    inject,
    robust_scale,
)


def quiet(rows: int = 5000, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return 50 + 5 * np.sin(np.arange(rows) * 2 * np.pi / 288) + rng.normal(0, 1, rows)


def test_same_seed_same_anomalies_and_another_seed_others():
    first, again, other = (inject(quiet(), seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.values, again.values)
    assert first.events == again.events
    assert first.events != other.events


def test_only_labelled_rows_change_and_the_input_is_left_alone():
    values = quiet()
    before = values.copy()
    injected = inject(values, seed=3, rate=0.1)
    np.testing.assert_array_equal(values, before)
    np.testing.assert_array_equal(injected.values[~injected.labels], values[~injected.labels])
    assert injected.labels.any()


def test_every_kind_comes_up_within_its_documented_range():
    injected = inject(quiet(20_000), seed=5, rate=0.2)
    assert {event.kind for event in injected.events} == set(KINDS)
    for event in injected.events:
        low, high = RANGES[event.kind].duration
        assert low <= event.stop - event.start <= high
        low_magnitude, high_magnitude = RANGES[event.kind].magnitude
        assert low_magnitude <= abs(event.magnitude) <= high_magnitude


def test_rate_is_met_on_average():
    shares = [inject(quiet(3000), seed=seed, rate=0.05).labels.mean() for seed in range(60)]
    assert np.mean(shares) == pytest.approx(0.05, rel=0.15)


def test_rate_zero_changes_nothing():
    injected = inject(quiet(), seed=1, rate=0.0)
    assert injected.events == ()
    assert not injected.labels.any()


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_does_what_it_says(kind):
    values = quiet(400)
    changed = values.copy()
    event = InjectedEvent(kind, 100, 140, -5.0 if kind == "drop" else 5.0)
    apply_event(changed, event, scale=2.0, rng=np.random.default_rng(0))
    difference = (changed - values)[100:140]
    match kind:
        case "spike" | "level_shift":
            np.testing.assert_allclose(difference, 10.0)
        case "drop":
            np.testing.assert_allclose(difference, -10.0)
        case "drift":
            np.testing.assert_allclose(difference, np.linspace(0.25, 10.0, 40))
        case "stuck":
            assert np.ptp(changed[100:140]) == 0
            assert changed[100] == values[100]
        case "noise_burst":
            assert 5 < difference.std() < 20


def test_bounds_hold_and_events_go_where_there_is_room():
    rng = np.random.default_rng(0)
    idle = np.clip(rng.normal(3, 1, 4000), 0, 100)
    injected = inject(idle, seed=2, rate=0.2, bounds=(0.0, 100.0))
    assert injected.values.min() >= 0
    shifts = [e for e in injected.events if e.kind in ("level_shift", "drift")]
    assert shifts
    assert all(event.magnitude > 0 for event in shifts if abs(event.magnitude) > 4)


def test_impossible_kinds_are_left_out():
    constant = np.full(3000, 7.0)
    kinds = {event.kind for event in inject(constant, seed=0, rate=0.2).events}
    assert "stuck" not in kinds
    assert kinds
    at_the_floor = np.abs(np.random.default_rng(0).normal(0, 1, 3000))
    kinds = {event.kind for event in inject(at_the_floor, seed=0, rate=0.2, bounds=(0, 99)).events}
    assert "drop" not in kinds


def test_missing_readings_stay_missing():
    values = quiet()
    values[::7] = np.nan
    injected = inject(values, seed=4, rate=0.2)
    np.testing.assert_array_equal(np.isnan(injected.values), np.isnan(values))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], 1.0),
        ([np.nan, np.inf], 1.0),
        ([0.0, 0.0, 0.0], 1.0),
        ([20.0, 20.0, 20.0], 1.0),
        ([0.1] * 9, 0.005),
    ],
)
def test_robust_scale_of_degenerate_series(values, expected):
    assert robust_scale(values) == pytest.approx(expected)


def test_robust_scale_is_sigma_of_a_normal_and_ignores_outliers():
    values = np.random.default_rng(0).normal(10, 3, 20_000)
    values[:500] = 1e9
    assert robust_scale(values) == pytest.approx(3, rel=0.05)


@pytest.mark.parametrize("rate", [-0.1, 0.6])
def test_unusable_rate_is_refused(rate):
    with pytest.raises(ValueError, match="rate"):
        inject(quiet(), seed=0, rate=rate)


def test_unknown_kind_and_wrong_shape_are_refused():
    with pytest.raises(ValueError, match="wobble"):
        inject(quiet(), seed=0, kinds=("wobble",))
    with pytest.raises(ValueError, match="one dimension"):
        inject(np.zeros((3, 3)), seed=0)


@settings(max_examples=50, deadline=None)
@given(rows=st.integers(0, 400), seed=st.integers(0, 2**31), rate=st.floats(0, 0.5))
def test_events_never_touch_and_labels_are_their_rows(rows, seed, rate):
    injected = inject(quiet(rows, seed=seed % 7), seed=seed, rate=rate)
    labels = np.zeros(rows, dtype=bool)
    last = -1
    for event in injected.events:
        assert last < event.start < event.stop <= rows
        labels[event.start : event.stop] = True
        last = event.stop
    np.testing.assert_array_equal(labels, injected.labels)
