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
    values = np.zeros(X.shape)
    expected = add_values(
        forest.feature,
        forest.threshold,
        forest.path_length,
        counts,
        forest.scaling,
        _POINTS,
        _SHARES,
        X,
        values,
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


@compiled(
    types.float64(
        _FEATURES, _SINGLES, _SINGLES, _COUNTS, _MATRIX, _VECTOR, _VECTOR, _MATRIX,
        types.float64[:, ::1],
    ),
    error_model="numpy",
)  # fmt: skip
def add_values(  # noqa: C901, PLR0912, PLR0915 - one compiled loop nest
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
    # A tree's nodes, parents first and siblings side by side. Unsigned places are never negative,
    # which need not be looked at again then.
    node_at, parent_of, above, split_at, column = np.empty((5, _ALL + 1), dtype=np.uint16)
    left_of = np.empty(_ALL + 1, dtype=np.uint16)
    cut, share = np.empty(_ALL + 1, dtype=np.float32), np.empty(_ALL + 1)
    kept, worth, kept_change, product = np.empty((4, _ALL + 1, _ORDER))
    factors, changes = np.empty((2, _ALL + 1, 3, _ORDER))
    way = np.empty(_ALL + 1, dtype=np.uint8)
    scaled = np.empty(X.shape[1], dtype=np.float32)
    added, lost_change = np.zeros((*X.shape, _ORDER)), -weights / (1.0 - points)
    # Behind all nodes: the split above where there is none.
    share[_ALL], kept[_ALL], worth[_ALL], kept_change[_ALL], way[_ALL] = 1.0, 1.0, 1.0, 0.0, _KEPT
    for tree in range(feature.shape[0]):
        rows, size, splits = counts[tree], 1, 0
        node_at[0] = 0
        at = 0
        while at < size:
            node = np.int64(node_at[at])
            leaf = node >= NODES or threshold[tree, node] == np.inf
            length = path[tree, _FIRST_LEAVES[node]] if leaf else 1.0
            if leaf:
                expected += length * (rows[node] / rows[0])
            else:
                split_at[splits], left_of[at] = at, size
                column[at], cut[at] = feature[tree, node], threshold[tree, node]
                for kid in range(2):
                    node_at[size + kid], parent_of[size + kid] = 2 * node + 1 + kid, at
                splits += 1
                size += 2
            if node > 0:
                parent = np.int64(parent_of[at])
                before, ancestor = _ALL, parent
                while ancestor > 0:
                    upper = np.int64(parent_of[ancestor])
                    if column[upper] == column[parent]:
                        before = ancestor
                        break
                    ancestor = upper
                above[at] = before
                own_share = rows[node] / rows[np.int64(node_at[parent])]
                share[at] = own_share * share[before]
                for k in range(_ORDER):
                    t = points[k]
                    lost = (1.0 - t) * share[at]
                    kept[at, k] = t + lost
                    worth[at, k] = 1.0 / kept[at, k]
                    kept_change[at, k] = weights[k] * (1.0 - share[at]) * worth[at, k]
                    # What a leaf's path is worth is a factor of its own.
                    factors[at, _LOST_BEFORE, k] = length * own_share
                    factors[at, _LOST, k] = length * lost * worth[before, k]
                    factors[at, _KEPT, k] = length * kept[at, k] * worth[before, k]
                    changes[at, _LOST_BEFORE, k] = 0.0
                    changes[at, _LOST, k] = lost_change[k] - kept_change[before, k]
                    changes[at, _KEPT, k] = kept_change[at, k] - kept_change[before, k]
            at += 1
        for r in range(X.shape[0]):
            for j in range(X.shape[1]):
                scaled[j] = np.float32((X[r, j] - scaling[CENTRE, j]) * scaling[INVERSE_SCALE, j])
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
    for r in range(X.shape[0]):
        for j in range(X.shape[1]):
            for k in range(_ORDER):
                values[r, j] += added[r, j, k]
    return expected
