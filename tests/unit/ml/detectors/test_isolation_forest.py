"""Isolation forest: parity with scikit-learn, what lies outside the training range, suspects."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.ensemble import IsolationForest as SklearnForest

from anomaly_platform.ml.detectors.base import FeatureSchemaError, NonFiniteInputError, derive_seed
from anomaly_platform.ml.detectors.isolation_forest import (
    ForestArrays,
    IsolationForest,
    empty_forest,
    fit_forest,
    score_forest,
)


def names(d: int) -> list[str]:
    return [f"f{j}" for j in range(d)]


def blobs(rng, n, d):
    centres = rng.uniform(-4, 4, size=(3, d))
    return centres[rng.integers(0, 3, size=n)] + rng.normal(size=(n, d))


def uniform_with_outliers(rng, n, d):
    X = rng.uniform(-1, 1, size=(n, d))
    X[: n // 50] *= 6
    return X


def telemetry(rng, n, d):
    phase = np.arange(n)[:, None] * 2 * np.pi / 288 + np.arange(d)
    return 20 * np.sin(phase) + rng.normal(size=(n, d)).cumsum(axis=0) * 0.05 + 50


def skewed(rng, n, d):
    return rng.lognormal(sigma=0.8, size=(n, d))


def with_counts(rng, n, d):
    X = rng.normal(size=(n, d))
    X[:, -1] = rng.poisson(2.0, size=n)
    return X


DATA = [blobs, uniform_with_outliers, telemetry, skewed, with_counts]


@pytest.mark.parametrize("make", DATA)
@pytest.mark.parametrize(
    ("n", "d", "options"), [(2000, 6, {}), (150, 3, {}), (900, 4, {"max_features": 0.5})]
)
def test_the_same_trees_score_as_in_sklearn(make, n, d, options):
    X = make(np.random.default_rng(n), n, d)
    estimator = SklearnForest(random_state=4, **options).fit(X)
    ours = IsolationForest.from_sklearn(estimator, names(d))
    probe = np.concatenate([X, X * 3 - 7, np.random.default_rng(0).normal(size=(200, d)) * 50])
    assert np.abs(ours.score(probe) + estimator.score_samples(probe)).max() <= 1e-6


@pytest.mark.parametrize("make", DATA)
def test_our_trees_rank_as_sklearns_do(make):
    """As well as two of scikit-learn's own forests do: with 1,000 trees little is left to chance.

    The smooth telemetry has rows of nearly the same score only; with 100 trees two of
    scikit-learn's forests agree on it to no more than 0.6.
    """
    rng = np.random.default_rng(11)
    X = make(rng, 3000, 5)
    train, held_out = X[::2], X[1::2]
    estimator = SklearnForest(n_estimators=1000, random_state=2).fit(train)
    forest = fit_forest(np.ascontiguousarray(train), seed=2, n_trees=1000)
    held_out = np.ascontiguousarray(held_out)
    inside = ((held_out >= train.min(axis=0)) & (held_out <= train.max(axis=0))).all(axis=1)
    ours, theirs = score_forest(forest, held_out), -estimator.score_samples(held_out)
    assert spearmanr(ours[inside], theirs[inside])[0] > 0.92
    assert abs(ours[inside].mean() - theirs[inside].mean()) < 0.01


def test_deeper_trees_are_refused():
    X = np.random.default_rng(0).normal(size=(2000, 2))
    estimator = SklearnForest(n_estimators=2, max_samples=1024, random_state=0).fit(X)
    with pytest.raises(ValueError, match="deeper than 8"):
        IsolationForest.from_sklearn(estimator, names(2))


@pytest.fixture(scope="module")
def trained() -> tuple[np.ndarray, ForestArrays]:
    X = np.random.default_rng(5).normal(size=(1500, 3)) * [1.0, 100.0, 1e-3] + [0.0, 1e6, 0.0]
    return X, fit_forest(X, seed=8)


def test_inside_the_training_range_scores_are_in_zero_to_one(trained):
    X, forest = trained
    scores = score_forest(forest, X)
    assert (scores > 0.0).all()
    assert (scores <= 1.0).all()


@given(
    column=st.integers(0, 2),
    side=st.sampled_from(["below", "above"]),
    distances=st.lists(st.floats(1e-6, 1e6), min_size=2, max_size=8, unique=True),
    row=st.integers(0, 1499),
)
@settings(max_examples=60, deadline=None)
def test_outside_ranks_above_all_inside_and_rises_with_the_distance(
    trained, column, side, distances, row
):
    X, forest = trained
    spread = X[:, column].std()
    ordered = np.sort(distances)
    outside = np.repeat(X[row][None], ordered.size, axis=0)
    if side == "above":
        outside[:, column] = X[:, column].max() + spread * (ordered + 1e-4)
    else:
        outside[:, column] = X[:, column].min() - spread * (ordered + 1e-4)
    scores = score_forest(forest, np.concatenate([outside, X]))
    beyond, inside = scores[: ordered.size], scores[ordered.size :]
    assert beyond.min() > inside.max()
    assert (np.diff(beyond) >= 0.0).all()
    assert beyond[-1] > beyond[0] or ordered[-1] / ordered[0] < 1.0 + 1e-6


def test_a_constant_feature_that_changes_is_extreme_and_otherwise_silent():
    rng = np.random.default_rng(2)
    X = np.column_stack([rng.normal(size=400), np.full(400, 42.0), np.zeros(400)])
    forest = fit_forest(X, seed=1)
    same = score_forest(forest, X)
    assert (same <= 1.0).all()
    for column, value in ((1, 42.001), (1, -42.0), (2, 1e-6), (2, 1.0)):
        changed = X[:1].copy()
        changed[0, column] = value
        assert score_forest(forest, changed)[0] > 3.0
    rounding = X[:1].copy()
    rounding[0, 1] = np.nextafter(42.0, 43.0)
    assert score_forest(forest, rounding)[0] == same[0]


def test_a_wholly_constant_series_has_a_model():
    X = np.full((200, 2), 7.5)
    forest = fit_forest(X, seed=0, contamination=0.1)
    unchanged, changed = score_forest(forest, np.array([[7.5, 7.5], [7.5, 7.6]]))
    assert 0.0 < unchanged <= 1.0 < changed


@pytest.mark.parametrize("scale", [1e-300, 1e-12, 1.0, 1e12, 1e300])
def test_scores_do_not_depend_on_the_unit(scale):
    X = np.random.default_rng(3).normal(size=(500, 2))
    plain = score_forest(fit_forest(X, seed=1), X)
    scaled = np.ascontiguousarray(X * scale)
    assert score_forest(fit_forest(scaled, seed=1), scaled) == pytest.approx(plain, abs=0.02)


def test_values_at_the_edge_of_floating_point_still_score():
    X = np.random.default_rng(3).normal(size=(300, 1)) * 1e307
    X[0], X[1] = 1.7e308, -1.7e308
    scores = score_forest(fit_forest(X, seed=1, contamination=0.1), X)
    assert np.isfinite(scores).all()
    normal = fit_forest(np.random.default_rng(3).normal(size=(300, 1)), seed=1)
    assert np.isfinite(score_forest(normal, np.array([[1.7e308], [-1.7e308]]))).all()


@pytest.mark.parametrize("share", [0.01, 0.05])
def test_suspects_are_set_aside_so_that_the_next_one_is_outside(share):
    rng = np.random.default_rng(4)
    X = rng.normal(size=(1000, 2))
    polluted = X.copy()
    count = int(share * 1000)
    polluted[:count] = rng.uniform(15, 30, size=(count, 2))
    trusting = fit_forest(polluted, seed=1, contamination=0.0)
    careful = fit_forest(polluted, seed=1, contamination=0.1)
    again = np.array([[20.0, 20.0]])
    assert score_forest(trusting, again)[0] <= 1.0
    assert score_forest(careful, again)[0] > 1.0


def test_contamination_sets_aside_no_more_than_its_share():
    X = np.random.default_rng(4).normal(size=(1000, 1))
    X[:100, 0] = np.linspace(50, 149, 100)
    forest = fit_forest(X, seed=1, contamination=0.03)
    outside = score_forest(forest, X) > 1.0
    assert 0 < outside.sum() <= 30


def test_clean_data_lose_nothing_to_contamination():
    X = np.random.default_rng(4).uniform(size=(1000, 3))
    plain, careful = fit_forest(X, seed=1), fit_forest(X, seed=1, contamination=0.1)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(plain, careful, strict=True))


def test_training_does_not_depend_on_what_was_trained_before():
    rng = np.random.default_rng(9)
    series = {f"host-{i}": rng.normal(size=(300, 4)) for i in range(4)}

    def train(order):
        return {
            key: fit_forest(series[key], derive_seed(1, key, "cpu"), contamination=0.1)
            for key in order
        }

    forward, backward = train(sorted(series)), train(sorted(series, reverse=True)[:2])
    for key, forest in backward.items():
        for a, b in zip(forest, forward[key], strict=True):
            assert a.tobytes() == b.tobytes()


def test_another_seed_grows_another_forest():
    X = np.random.default_rng(9).normal(size=(300, 4))
    assert fit_forest(X, 1).threshold.tobytes() != fit_forest(X, 2).threshold.tobytes()


def test_forests_stack_and_score_from_slices(trained):
    X, forest = trained
    other = fit_forest(X[:700], seed=9)
    stacked = ForestArrays(*(np.stack(pair) for pair in zip(forest, other, strict=True)))
    for position, single in enumerate((forest, other)):
        taken = ForestArrays(*(field[position] for field in stacked))
        assert score_forest(taken, X).tobytes() == score_forest(single, X).tobytes()


def test_read_only_arrays_score(trained):
    X, forest = trained
    frozen = ForestArrays(*(np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape) for a in forest))
    assert score_forest(frozen, X[:9]).tobytes() == score_forest(forest, X[:9]).tobytes()


def test_a_forest_is_small():
    assert sum(array.nbytes for array in empty_forest(16)) <= 240_000


def test_one_row_has_the_bits_of_the_batch(trained):
    X, forest = trained
    alone = [score_forest(forest, row[None])[0] for row in X[:99]]
    assert alone == score_forest(forest, X[:99]).tolist()


@pytest.mark.parametrize("trees", [1, 7, 8, 21])
def test_one_row_has_the_bits_of_the_batch_whatever_the_number_of_trees(trees):
    X = blobs(np.random.default_rng(trees), 300, 3)
    forest = fit_forest(X, 1, n_trees=trees)
    alone = [score_forest(forest, row[None])[0] for row in X[:24]]
    assert alone == score_forest(forest, X[:24]).tolist()
    with pytest.raises(NonFiniteInputError, match="'f1'"):
        score_forest(forest, np.array([[0.0, np.nan, 1.0]]), names(3))
    with pytest.raises(ValueError, match="shape"):
        score_forest(forest, np.zeros((1, 2)))


@pytest.mark.parametrize("rows", [7, 8, 15, 16, 17, 63, 64, 65, 75, 100])
def test_however_many_rows_descend_side_by_side_each_gets_its_own_bits(rows):
    X = np.random.default_rng(rows).normal(size=(300, 8))
    forest = fit_forest(X, 3)

    alone = [score_forest(forest, row[None])[0] for row in X[:rows]]

    assert score_forest(forest, X[:rows]).tolist() == alone


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"n_trees": 0}, "n_trees"),
        ({"max_samples": 257}, "max_samples"),
        ({"max_samples": 1}, "max_samples"),
        ({"contamination": 0.6}, "contamination"),
        ({"X": np.zeros((1, 2))}, "at least 2 rows"),
        ({"X": np.zeros((5, 257))}, "256 features"),
        ({"X": np.array([[0.0], [np.nan]])}, "column 0 is nan in row 1"),
    ],
)
def test_refuses_parameters_out_of_range(changed, message):
    with pytest.raises(ValueError, match=message):
        fit_forest(**{"X": np.zeros((9, 2)), "seed": 1, **changed})


def test_arrays_of_other_features_are_refused(trained):
    _, forest = trained
    with pytest.raises(FeatureSchemaError):
        IsolationForest.from_arrays(forest._asdict(), names(4))


@pytest.mark.parametrize("n", [2, 3, 5, 17, 100, 255, 256, 257])
def test_small_series_train(n):
    X = np.random.default_rng(n).normal(size=(n, 2))
    scores = score_forest(fit_forest(X, seed=1, contamination=0.1), X)
    assert np.isfinite(scores).all()
