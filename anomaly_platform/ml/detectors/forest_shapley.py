"""Exact Shapley values of an isolation forest: how much each feature shortens a row's paths.

What belongs here: the game, and its values from the arrays of a forest. The game is that of
path-dependent TreeSHAP (Lundberg et al. 2020, https://doi.org/10.1038/s42256-019-0138-9): a
feature that is left out sends a row down both branches of its splits, in the shares of the
training rows there.

How they are computed. A leaf's share of the game is a product over the features of its path, so
Owen's multilinear extension (1972, https://doi.org/10.1287/mnsc.18.5.64) gives the Shapley value
as the integral of a polynomial of degree 7 at most in a tree of depth 8. Four Gauss-Legendre nodes
integrate it exactly. Sums over leaves are shared along the tree, as in Linear TreeShap (Yu et al.
2022, https://arxiv.org/abs/2209.08192), so a tree costs a few operations per node.

Arrays of a forest hold no row counts. A leaf's path length is its depth plus a term that rises
with the number of its rows, so the count is read back from it.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import types

from anomaly_platform.ml.arrays import Floats
from anomaly_platform.ml.compiled import compiled
from anomaly_platform.ml.detectors.forest_kernels import (
    CENTRE,
    DEPTH,
    INVERSE_SCALE,
    LEAVES,
    MAX_SAMPLES,
    NODES,
    average_path_length,
)
from anomaly_platform.ml.detectors.isolation_forest import (
    ForestArrays,
    check_features,
    check_finite,
)

_NODES_AT, _WEIGHTS = np.polynomial.legendre.leggauss(DEPTH // 2)
#: Where between 0 and 1 the polynomial is evaluated, and the weight there.
_POINTS = (_NODES_AT + 1) / 2
_SHARES = _WEIGHTS / 2
_ORDER = len(_POINTS)
#: What is added is held for each row, feature and point; a tree is laid out once for all of them.
_ROWS_AT_ONCE = 1024
#: What a row is to a split: see `add_values`.
_LOST_BEFORE, _LOST, _KEPT = range(3)
_ALL = NODES + LEAVES
_DEPTHS = np.floor(np.log2(np.arange(1, _ALL + 1))).astype(np.int64)
_FIRST_LEAVES = (np.arange(1, _ALL + 1) - (1 << _DEPTHS)) << (DEPTH - _DEPTHS)
_LENGTHS = np.array([average_path_length(count) for count in range(1, MAX_SAMPLES + 1)])

_SINGLES = types.Array(types.float32, 2, "C", readonly=True)
_MATRIX = types.Array(types.float64, 2, "C", readonly=True)
_VECTOR = types.Array(types.float64, 1, "C", readonly=True)
_FEATURES = types.Array(types.uint8, 2, "C", readonly=True)
_COUNTS = types.Array(types.int16, 2, "C", readonly=True)


class PathShapley(NamedTuple):
    """Shapley values of rows' mean path length.

    Attributes
    ----------
    values
        (n, d), in splits: below 0 where the feature isolates the row earlier than usual. Their
        sum and `expected` are the row's mean path length.
    expected
        Mean path length of the training rows, in splits.
    """

    values: Floats
    expected: float


class _Tree(NamedTuple):
    """A tree's nodes, parents first and siblings side by side, (nodes + 1, …).

    Behind all nodes is the split above where there is none. Unsigned places are never negative,
    which need not be looked at again then.

    Attributes
    ----------
    node_at, parent_of, left_of
        Number of a node in the forest's arrays; places of its parent and its left child.
    above
        Place of the child at which an earlier split by the same feature as its parent's ended.
    split_at
        Places of the splits, from the root down.
    column, cut
        Feature and threshold of a split.
    length
        What a leaf's path is worth, 1 for a split.
    share, kept, worth, kept_change
        See `add_values`: share of training rows, and per point the factor where a row is kept, one
        by this factor, and the integrand.
    factors, changes
        (…, 3, points) what a product is multiplied by, and what its feature is given, by way.
    """

    node_at: Any
    parent_of: Any
    left_of: Any
    above: Any
    split_at: Any
    column: Any
    cut: Any
    length: Any
    share: Any
    kept: Any
    worth: Any
    kept_change: Any
    factors: Any
    changes: Any


def node_counts(forest: ForestArrays) -> npt.NDArray[np.int16]:
    """Return (trees, 511) the training rows of every node, which `path_shapley` needs."""
    counts = np.zeros((forest.feature.shape[0], _ALL), dtype=np.int16)
    read_counts(forest.threshold, forest.path_length, counts)
    return counts


def path_shapley(
    forest: ForestArrays, X: Floats, counts: npt.NDArray[np.int16] | None = None
) -> PathShapley:
    """Return what each feature adds to the mean path length of rows.

    Parameters
    ----------
    forest
        A fitted forest.
    X
        Rows, (n, d) f64, C-contiguous and finite, in the units of training.
    counts
        `node_counts` of the forest, where they are known already: they take as long as a few rows.

    Raises
    ------
    FeatureSchemaError
        When the number of features is not the forest's.
    NonFiniteInputError
        When a value is NaN or infinite.

    Examples
    --------
    The feature that is far off shortens the path most, and the values add up:

    >>> import numpy as np
    >>> from anomaly_platform.ml.detectors.isolation_forest import fit_forest
    >>> X = np.random.default_rng(0).normal(size=(500, 3))
    >>> found = path_shapley(fit_forest(X, seed=1), np.array([[0.1, 6.0, -0.2]]))
    >>> int(found.values[0].argmin())
    1
    """
    check_features(forest, X)
    check_finite(X)
    trees = forest.feature.shape[0]
    if counts is None:
        counts = node_counts(forest)
    values, expected = np.zeros(X.shape), 0.0
    for start in range(0, max(1, len(X)), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        expected = add_values(
            forest.feature,
            forest.threshold,
            forest.path_length,
            counts,
            forest.scaling,
            _POINTS,
            _SHARES,
            X[rows],
            values[rows],
        )
    return PathShapley(values / trees, expected / trees)


@compiled(types.int64(types.float64, _VECTOR))
def _rows_of(beyond: float, lengths: Any) -> int:
    """Return how many rows a leaf held whose path goes on by ``beyond`` splits."""
    nearest = np.searchsorted(lengths, beyond)
    if nearest == lengths.size:
        return int(nearest)
    if nearest > 0 and beyond - lengths[nearest - 1] < lengths[nearest] - beyond:
        nearest -= 1
    return int(nearest) + 1


@compiled(types.void(_SINGLES, _SINGLES, types.int16[:, ::1]))
def read_counts(threshold: Any, path: Any, counts: Any) -> None:
    """Write the training rows of every node, (T, 511); 0 below the leaves of grown trees."""
    for tree in range(threshold.shape[0]):
        # A node is there when all above it are splits: marked downwards, summed upwards.
        counts[tree, 0] = 1
        for node in range(NODES):
            if counts[tree, node] and threshold[tree, node] < np.inf:
                counts[tree, 2 * node + 1] = 1
                counts[tree, 2 * node + 2] = 1
        for node in range(_ALL - 1, -1, -1):
            if not counts[tree, node]:
                continue
            if node < NODES and threshold[tree, node] < np.inf:
                counts[tree, node] = counts[tree, 2 * node + 1] + counts[tree, 2 * node + 2]
                continue
            beyond = path[tree, _FIRST_LEAVES[node]] - _DEPTHS[node]
            counts[tree, node] = _rows_of(beyond, _LENGTHS)


@compiled()
def _split_above(parent_of: Any, column: Any, parent: Any) -> Any:
    """Return the place below an earlier split by the feature that splits ``parent``."""
    ancestor = parent
    while ancestor > 0:
        upper = np.int64(parent_of[ancestor])
        if column[upper] == column[parent]:
            return ancestor
        ancestor = upper
    return _ALL


@compiled(error_model="numpy")
def _lay_out(
    tree: Any, feature: Any, threshold: Any, path: Any, rows: Any, expected: float
) -> tuple[int, int, float]:
    """Write a tree's nodes; return how many, how many splits, and `expected` with its length."""
    size, splits, at = 1, 0, 0
    node_at, parent_of, column = tree.node_at, tree.parent_of, tree.column
    node_at[0] = 0
    while at < size:
        node = np.int64(node_at[at])
        leaf = node >= NODES or threshold[node] == np.inf
        tree.length[at] = path[_FIRST_LEAVES[node]] if leaf else 1.0
        if leaf:
            expected += tree.length[at] * (rows[node] / rows[0])
        else:
            tree.split_at[splits], tree.left_of[at] = at, size
            column[at], tree.cut[at] = feature[node], threshold[node]
            for kid in range(2):
                node_at[size + kid], parent_of[size + kid] = 2 * node + 1 + kid, at
            splits += 1
            size += 2
        if node > 0:
            parent = np.int64(parent_of[at])
            tree.above[at] = _split_above(parent_of, column, parent)
            tree.share[at] = rows[node] / rows[np.int64(node_at[parent])]
        at += 1
    return size, splits, expected


@compiled(error_model="numpy")
def _weigh(tree: Any, size: int, points: Any, weights: Any, lost_change: Any) -> None:
    """Write factors and changes; what a leaf's path is worth is a factor of its own."""
    above, share, length = tree.above, tree.share, tree.length
    kept, worth, kept_change = tree.kept, tree.worth, tree.kept_change
    factors, changes = tree.factors, tree.changes
    for at in range(1, size):
        before, own_share = np.int64(above[at]), share[at]
        share[at] = own_share * share[before]
        for k in range(_ORDER):
            t = points[k]
            lost = (1.0 - t) * share[at]
            kept[at, k] = t + lost
            worth[at, k] = 1.0 / kept[at, k]
            kept_change[at, k] = weights[k] * (1.0 - share[at]) * worth[at, k]
            factors[at, _LOST_BEFORE, k] = length[at] * own_share
            factors[at, _LOST, k] = length[at] * lost * worth[before, k]
            factors[at, _KEPT, k] = length[at] * kept[at, k] * worth[before, k]
            changes[at, _LOST_BEFORE, k] = 0.0
            changes[at, _LOST, k] = lost_change[k] - kept_change[before, k]
            changes[at, _KEPT, k] = kept_change[at, k] - kept_change[before, k]


@compiled()
def _scale(x: Any, scaling: Any, scaled: Any) -> None:
    for j in range(x.size):
        scaled[j] = np.float32((x[j] - scaling[CENTRE, j]) * scaling[INVERSE_SCALE, j])


@compiled()
def _add_points(added: Any, values: Any) -> None:
    for r in range(values.shape[0]):
        for j in range(values.shape[1]):
            for k in range(_ORDER):
                values[r, j] += added[r, j, k]


@compiled(
    types.float64(
        _FEATURES, _SINGLES, _SINGLES, _COUNTS, _MATRIX, _VECTOR, _VECTOR, _MATRIX,
        types.float64[:, ::1],
    ),
    error_model="numpy",
)  # fmt: skip
def add_values(
    feature: Any,
    threshold: Any,
    path: Any,
    counts: Any,
    scaling: Any,
    points: Any,
    weights: Any,
    X: Any,
    values: Any,
) -> float:
    """Add the Shapley values of each tree's path length to ``values``; return the expected sum.

    Of a feature on a path, ``share`` is the share of training rows that its splits send this way,
    and it is *kept* where they send the row this way. Its factor in a leaf's product is
    t kept + (1 - t) share, and the integrand (kept - share) / factor times the product. A second
    split by the same feature replaces the first one's factor, and the difference is what is added.
    Both are the same for every row but for which of three ways it goes: it was *lost* at an earlier
    split by the feature, where the difference is 0, it is lost here, or it is kept.
    """
    expected = 0.0
    node_at, parent_of, left_of, above, split_at, column = np.empty((6, _ALL + 1), dtype=np.uint16)
    cut, (length, share) = np.empty(_ALL + 1, dtype=np.float32), np.empty((2, _ALL + 1))
    kept, worth, kept_change, product = np.empty((4, _ALL + 1, _ORDER))
    factors, changes = np.empty((2, _ALL + 1, 3, _ORDER))
    way = np.empty(_ALL + 1, dtype=np.uint8)
    share[_ALL], kept[_ALL], worth[_ALL], kept_change[_ALL], way[_ALL] = 1.0, 1.0, 1.0, 0.0, _KEPT
    tree = _Tree(
        node_at,
        parent_of,
        left_of,
        above,
        split_at,
        column,
        cut,
        length,
        share,
        kept,
        worth,
        kept_change,
        factors,
        changes,
    )
    scaled = np.empty(X.shape[1], dtype=np.float32)
    added, lost_change = np.zeros((*X.shape, _ORDER)), -weights / (1.0 - points)
    for i in range(feature.shape[0]):
        size, splits, expected = _lay_out(
            tree, feature[i], threshold[i], path[i], counts[i], expected
        )
        _weigh(tree, size, points, weights, lost_change)
        for r in range(X.shape[0]):
            _scale(X[r], scaling, scaled)
            product[0, :] = 1.0
            for s in range(splits):
                c = split_at[s]
                left = left_of[c]
                right = left + 1
                going = np.uint8(scaled[column[c]] > cut[c])
                known = np.uint8(way[above[left]] == _KEPT)
                way[left], way[right] = known * (_KEPT - going), known * (_LOST + going)
                for k in range(_ORDER):
                    product[left, k] = product[c, k] * factors[left, way[left], k]
                    product[right, k] = product[c, k] * factors[right, way[right], k]
            for s in range(splits - 1, -1, -1):
                c = split_at[s]
                left, into = left_of[c], column[c]
                right = left + 1
                for k in range(_ORDER):
                    one, other = product[left, k], product[right, k]
                    product[c, k] = one + other
                    added[r, into, k] += (
                        one * changes[left, way[left], k] + other * changes[right, way[right], k]
                    )
    _add_points(added, values)
    return expected
