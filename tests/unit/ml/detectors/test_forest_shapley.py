"""Shapley values of the forest: against the definition, against `shap`, and their sum."""

import itertools
import math

import numpy as np
import pytest
import shap
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import IsolationForest as SklearnForest

from anomaly_platform.ml.arrays import Floats
from anomaly_platform.ml.detectors.base import FeatureSchemaError, NonFiniteInputError
from anomaly_platform.ml.detectors.forest_shapley import path_shapley
from anomaly_platform.ml.detectors.isolation_forest import (
    ForestArrays,
    IsolationForest,
    fit_forest,
    score_forest,
)


def names(d: int) -> list[str]:
    return [f"f{j}" for j in range(d)]


def of_sklearn(estimator: SklearnForest, d: int) -> ForestArrays:
    return IsolationForest.from_sklearn(estimator, names(d)).forest


def expected_length(tree, x: Floats, known: set[int], node: int = 0) -> float:
    """Mean path length of a row of which only some features are known."""
    if tree.children_left[node] < 0:
        n = tree.n_node_samples[node]
        grows = 0.0 if n <= 1 else 2.0 * (math.log(n - 1) + np.euler_gamma) - 2.0 * (n - 1) / n
        return 1.0 if n == 2 else grows
    left, right = tree.children_left[node], tree.children_right[node]
    lengths = [1.0 + expected_length(tree, x, known, child) for child in (left, right)]
    if tree.feature[node] in known:
        return lengths[int(np.float32(x[tree.feature[node]]) > tree.threshold[node])]
    shares = tree.n_node_samples[[left, right]] / tree.n_node_samples[node]
    return float(shares @ np.array(lengths))


def shapley_by_definition(trees: list, x: Floats) -> Floats:
    d = len(x)
    worth = {
        known: np.mean([expected_length(tree, x, set(known)) for tree in trees])
        for size in range(d + 1)
        for known in itertools.combinations(range(d), size)
    }
    values = np.zeros(d)
    for known, value in worth.items():
        for j in set(range(d)) - set(known):
            share = math.factorial(len(known)) * math.factorial(d - len(known) - 1)
            joined = worth[tuple(sorted((*known, j)))]
            values[j] += share / math.factorial(d) * (joined - value)
    return values


def test_they_are_the_values_of_the_definition():
    rng = np.random.default_rng(5)
    X = np.column_stack((rng.normal(size=(60, 3)), rng.poisson(1.0, 60)))
    estimator = SklearnForest(n_estimators=5, random_state=1).fit(X)
    trees = [one.tree_ for one in estimator.estimators_]
    rows = np.ascontiguousarray(X[:3] * 1.5)
    found = path_shapley(of_sklearn(estimator, 4), rows)
    for x, values in zip(rows, found.values, strict=True):
        np.testing.assert_allclose(values, shapley_by_definition(trees, x), atol=1e-6)
    assert found.expected == pytest.approx(
        np.mean([expected_length(tree, rows[0], set()) for tree in trees]), abs=1e-6
    )


@pytest.mark.parametrize(("n", "d", "options"), [(2000, 6, {}), (900, 20, {"max_features": 0.5})])
def test_they_are_those_of_shap_on_the_same_trees(n, d, options):
    X = np.random.default_rng(n).normal(size=(n, d))
    estimator = SklearnForest(random_state=4, **options).fit(X)
    rows = np.ascontiguousarray(X[:20] * 1.7)
    found = path_shapley(of_sklearn(estimator, d), rows)
    np.testing.assert_allclose(
        found.values, shap.TreeExplainer(estimator).shap_values(rows), atol=1e-6
    )


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(2, 300),
    d=st.integers(1, 12),
    trees=st.integers(1, 20),
    seed=st.integers(0, 2**32),
    rounded=st.booleans(),
)
def test_they_add_up_to_the_score(rows, d, trees, seed, rounded):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, d))
    X = np.round(X) if rounded else X
    forest = fit_forest(X, seed, n_trees=trees)
    judged = np.ascontiguousarray(X[:5])
    found = path_shapley(forest, judged)
    depth = found.values.sum(axis=1) + found.expected
    # Inside the training range the score says the mean path length.
    scores = score_forest(forest, judged)
    normaliser = forest.normaliser[0] / trees
    np.testing.assert_allclose(depth, -np.log2(scores) * normaliser, atol=1e-9)


def test_a_row_alone_gets_the_bits_that_it_gets_in_a_batch():
    X = np.random.default_rng(0).normal(size=(300, 5))
    forest = fit_forest(X, 3)
    together = path_shapley(forest, X[:7]).values
    for row in range(7):
        assert (path_shapley(forest, X[row : row + 1]).values[0] == together[row]).all()


def test_more_rows_than_are_held_at_once_get_the_bits_of_few():
    X = np.random.default_rng(0).normal(size=(300, 2))
    forest = fit_forest(X, 3, n_trees=2)
    few, many = path_shapley(forest, X), path_shapley(forest, np.tile(X, (8, 1)))
    assert many.expected == few.expected
    assert (many.values == np.tile(few.values, (8, 1))).all()


def test_a_feature_that_no_tree_split_by_adds_nothing():
    X = np.random.default_rng(0).normal(size=(300, 3))
    X[:, 1] = 4.0
    assert (path_shapley(fit_forest(X, 3), X[:4]).values[:, 1] == 0).all()


def test_a_tree_of_all_possible_nodes_has_equal_paths_that_no_feature_shortens():
    forest = fit_forest(np.random.default_rng(0).normal(size=(50, 1)), 3, n_trees=2)
    scale = 1.0 / forest.scaling[1, 0]
    forest.feature[:], forest.path_length[:] = 0, 8.0
    for depth in range(8):
        first, cells = (1 << depth) - 1, 1 << depth
        middles = (np.arange(cells) + 0.5) / cells
        forest.threshold[:, first : 2 * first + 1] = middles
    rows = forest.scaling[0, 0] + scale * np.linspace(0.0, 1.0, 7)[:, None]
    found = path_shapley(forest, rows)
    assert found.expected == 8.0
    np.testing.assert_allclose(found.values, 0.0, atol=1e-12)


def test_rows_of_other_features_and_bad_values_are_refused_by_name():
    forest = fit_forest(np.random.default_rng(0).normal(size=(50, 3)), 3)
    with pytest.raises(FeatureSchemaError, match="3 features"):
        path_shapley(forest, np.zeros((1, 2)))
    with pytest.raises(NonFiniteInputError):
        path_shapley(forest, np.array([[0.0, np.nan, 0.0]]))
