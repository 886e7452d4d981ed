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
    and ``goes`` whether they send the row this way. Its factor in a leaf's product is
    t goes + (1 - t) share, and the integrand (goes - share) / factor times the product. A second
    split by the same feature replaces the first one's factor, and the difference is what is added.
    """
    expected = 0.0
    above = np.empty(_ALL, dtype=np.int64)  # nearest node above that split by the same feature
    share = np.empty(_ALL)
    goes = np.empty(_ALL)
    product = np.empty((_ALL, _ORDER))
    total = np.empty((_ALL, _ORDER))
    scaled = np.empty(X.shape[1], dtype=np.float32)
    for tree in range(feature.shape[0]):
        rows = counts[tree]
        for node in range(_ALL):
            if rows[node] and (node >= NODES or threshold[tree, node] == np.inf):
                expected += path[tree, _FIRST_LEAVES[node]] * (rows[node] / rows[0])
        # The split above by the same feature, which no row changes: -1 for none.
        above[0] = -1
        for node in range(1, _ALL):
            if not rows[node]:
                continue
            above[node] = -1
            ancestor = (node - 1) // 2
            column = feature[tree, ancestor]
            while ancestor > 0:
                parent = (ancestor - 1) // 2
                if feature[tree, parent] == column:
                    above[node] = ancestor
                    break
                ancestor = parent
        for r in range(X.shape[0]):
            for j in range(X.shape[1]):
                scaled[j] = np.float32((X[r, j] - scaling[CENTRE, j]) * scaling[INVERSE_SCALE, j])
            product[0, :] = 1.0
            for node in range(1, _ALL):
                if not rows[node]:
                    continue
                parent = (node - 1) // 2
                right = scaled[feature[tree, parent]] > threshold[tree, parent]
                own_goes = 1.0 if right == (node == 2 * parent + 2) else 0.0
                own_share = rows[node] / rows[parent]
                before = above[node]
                share[node] = own_share * share[before] if before >= 0 else own_share
                goes[node] = own_goes * goes[before] if before >= 0 else own_goes
                for k in range(_ORDER):
                    t = points[k]
                    factor = t * goes[node] + (1.0 - t) * share[node]
                    if before >= 0:
                        factor /= t * goes[before] + (1.0 - t) * share[before]
                    product[node, k] = product[parent, k] * factor
            for node in range(_ALL - 1, 0, -1):
                if not rows[node]:
                    continue
                if node < NODES and threshold[tree, node] < np.inf:
                    for k in range(_ORDER):
                        total[node, k] = total[2 * node + 1, k] + total[2 * node + 2, k]
                else:
                    length = path[tree, _FIRST_LEAVES[node]]
                    for k in range(_ORDER):
                        total[node, k] = length * product[node, k]
                before = above[node]
                added = 0.0
                for k in range(_ORDER):
                    t = points[k]
                    change = (goes[node] - share[node]) / (t * goes[node] + (1.0 - t) * share[node])
                    if before >= 0:
                        change -= (goes[before] - share[before]) / (
                            t * goes[before] + (1.0 - t) * share[before]
                        )
                    added += weights[k] * total[node, k] * change
                values[r, feature[tree, (node - 1) // 2]] += added
    return expected
