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
from numba import types

from anomaly_platform.ml.arrays import Floats
from anomaly_platform.ml.compiled import compiled
from anomaly_platform.ml.detectors.forest_descent import DEPTH, LEAVES, NODES
from anomaly_platform.ml.detectors.forest_kernels import (
    CENTRE,
    INVERSE_SCALE,
    MAX_SAMPLES,
    average_path_length,
)
from anomaly_platform.ml.detectors.isolation_forest import (
    ForestArrays,
    check_features,
    check_finite,
)
from anomaly_platform.ml.vectors import (
    WIDTH,
    add,
    divide,
    load,
    multiply,
    spread,
    store,
    subtract,
)

_NODES_AT, _WEIGHTS = np.polynomial.legendre.leggauss(WIDTH)
#: Where between 0 and 1 the polynomial is evaluated, and the weight there.
_POINTS = (_NODES_AT + 1) / 2
_SHARES = _WEIGHTS / 2
#: What is added is held for each row, feature and point; a tree is laid out once for all of them.
_ROWS_AT_ONCE = 1024
#: What a row is to a split: see `add_values`.
_LOST_BEFORE, _LOST, _KEPT = range(3)
_ALL = NODES + LEAVES
_DEPTHS = np.floor(np.log2(np.arange(1, _ALL + 1))).astype(np.int64)
_FIRST_LEAVES = (np.arange(1, _ALL + 1) - (1 << _DEPTHS)) << (DEPTH - _DEPTHS)
_LENGTHS = np.array([average_path_length(count) for count in range(1, MAX_SAMPLES + 1)])
#: Parts of a split so small that each is near to two lengths at most, and the first one's place.
_PARTS = 256.0
_FEWER = np.searchsorted(
    (_LENGTHS[1:-1] + _LENGTHS[:-2]) / 2, np.arange(_LENGTHS[-1] * _PARTS + 1.0) / _PARTS
)
_U64 = np.uint64
_ONE, _TWO, _THREE, _FOUR = _U64(1), _U64(2), _U64(3), _U64(WIDTH)
_WAY, _NODE = _U64(2 * WIDTH), _U64(2 * WIDTH * 3)

_SINGLES = types.Array(types.float32, 2, "C", readonly=True)
_MATRIX = types.Array(types.float64, 2, "C", readonly=True)
_VECTOR = types.Array(types.float64, 1, "C", readonly=True)
_FEATURES = types.Array(types.uint8, 2, "C", readonly=True)


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
    """A tree's nodes, parents first and siblings side by side.

    The children of split s are nodes 2 s + 1 and 2 s + 2. Behind all nodes is what stands for the
    split above where there is none. What there is for each point lies side by side in one axis.

    Attributes
    ----------
    node_at
        Number of a node in the forest's arrays.
    split_at, column, cut
        Place of a split, its feature and threshold, from the root down.
    above
        Per split, place of the child at which an earlier split by the same feature ended.
    last
        Per node and feature, the same of all splits above it, as words of four places.
    leaf, rows, length
        Whether a node is one; its training rows; what a leaf's path is worth, 1 for a split.
    share, worth, kept_change
        See `add_values`: share of training rows, and per point one by the factor where a row is
        kept, and the integrand.
    ways
        Per node and way, and there per point, what a product is multiplied by, and then what its
        feature is given.
    """

    node_at: Any
    split_at: Any
    column: Any
    cut: Any
    above: Any
    last: Any
    leaf: Any
    rows: Any
    length: Any
    share: Any
    worth: Any
    kept_change: Any
    ways: Any


def path_shapley(forest: ForestArrays, X: Floats) -> PathShapley:
    """Return what each feature adds to the mean path length of rows.

    Parameters
    ----------
    forest
        A fitted forest.
    X
        Rows, (n, d) f64, C-contiguous and finite, in the units of training.

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
    values, expected = np.zeros(X.shape), 0.0
    for start in range(0, max(1, len(X)), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        expected = add_values(
            forest.feature,
            forest.threshold,
            forest.path_length,
            forest.scaling,
            _POINTS,
            _SHARES,
            X[rows],
            values[rows],
        )
    return PathShapley(values / trees, expected / trees)


@compiled(types.int64(types.float64))
def _rows_of(beyond: float) -> int:
    """Return how many rows a leaf held whose path goes on by ``beyond`` splits."""
    within = min(max(beyond, 0.0), _LENGTHS[MAX_SAMPLES - 1])
    fewer = np.int64(_FEWER[_U64(within * _PARTS)])
    nearer = within - _LENGTHS[fewer] < _LENGTHS[fewer + 1] - within
    return int(fewer + (1 if nearer else 2))


@compiled(error_model="numpy")
def _lay_out(tree: Any, feature: Any, threshold: Any, path: Any) -> int:
    """Write a tree's nodes; return how many splits it has.

    Nothing is asked of a node: which are leaves is hard to guess, and a wrong guess costs more than
    what is written in vain.
    """
    size, splits, at = 1, 0, 0
    tree.node_at[0] = 0
    while at < size:
        node = np.int64(tree.node_at[at])
        inner = min(node, NODES - 1)
        leaf: Any = node >= NODES or threshold[inner] == np.inf
        length = np.float64(path[_FIRST_LEAVES[node]])
        tree.rows[at], tree.leaf[at] = _rows_of(length - _DEPTHS[node]), leaf
        tree.length[at] = length if leaf else 1.0
        tree.split_at[splits] = at
        tree.column[splits], tree.cut[splits] = feature[inner], threshold[inner]
        tree.node_at[size], tree.node_at[size + 1] = 2 * node + 1, 2 * node + 2
        splits += 1 - leaf
        size += 2 - 2 * leaf
        at += 1
    for split in range(splits - 1, -1, -1):
        tree.rows[tree.split_at[split]] = tree.rows[2 * split + 1] + tree.rows[2 * split + 2]
    return splits


@compiled()
def _find_above(tree: Any, splits: int) -> None:
    """Write where the last split by the same feature is above each split.

    Four places of features are copied at once from a node to its children; to go up the tree for
    them takes longer, as how far is hard to guess.
    """
    words = _U64(tree.last.shape[1])
    last = tree.last.view(np.uint16)
    for split in range(_U64(splits)):
        at, column = _U64(tree.split_at[split]), _U64(tree.column[split])
        left, right = split + split + _ONE, split + split + _TWO
        for word in range(words):
            tree.last[left, word] = tree.last[right, word] = tree.last[at, word]
        tree.above[split] = last[at, column]
        last[left, column], last[right, column] = left, right


@compiled(error_model="numpy")
def _weigh(tree: Any, splits: int, points: Any, weights: Any, expected: float) -> float:
    """Write factors and changes; return `expected` with the tree's mean length.

    What a leaf's path is worth is a factor of its own.
    """
    if splits == 0:
        return float(expected + tree.length[0])
    one, nothing, start = spread(1.0), spread(0.0), _U64(0)
    t, weight = load(points, start), load(weights, start)
    rest = subtract(one, t)
    lost_change = divide(subtract(nothing, weight), rest)
    for split in range(_U64(splits)):
        before, rows = _U64(tree.above[split]), tree.rows[_U64(tree.split_at[split])]
        worth_before = load(tree.worth, before * _FOUR)
        change_before = load(tree.kept_change, before * _FOUR)
        for at in range(split + split + _ONE, split + split + _THREE):
            own_share = tree.rows[at] / rows
            share, length = own_share * tree.share[before], spread(tree.length[at])
            tree.share[at] = share
            expected += tree.leaf[at] * tree.length[at] * (tree.rows[at] / tree.rows[0])
            lost = multiply(rest, spread(share))
            kept = add(t, lost)
            worth = divide(one, kept)
            change = multiply(multiply(weight, spread(1.0 - share)), worth)
            store(tree.worth, at * _FOUR, worth)
            store(tree.kept_change, at * _FOUR, change)
            way = at * _NODE
            store(tree.ways, way, multiply(length, spread(own_share)))
            store(tree.ways, way + _FOUR, nothing)
            way += _WAY
            store(tree.ways, way, multiply(multiply(length, lost), worth_before))
            store(tree.ways, way + _FOUR, subtract(lost_change, change_before))
            way += _WAY
            store(tree.ways, way, multiply(multiply(length, kept), worth_before))
            store(tree.ways, way + _FOUR, subtract(change, change_before))
    return float(expected)


@compiled()
def _scale(X: Any, scaling: Any, scaled: Any) -> None:
    for r in range(X.shape[0]):
        for j in range(X.shape[1]):
            scaled[r, j] = np.float32((X[r, j] - scaling[CENTRE, j]) * scaling[INVERSE_SCALE, j])


@compiled()
def _add_points(added: Any, values: Any) -> None:
    for r in range(values.shape[0]):
        for j in range(values.shape[1]):
            for k in range(WIDTH):
                values[r, j] += added[r, j * WIDTH + k]


@compiled(error_model="numpy")
def _share_out(
    tree: Any, splits: Any, scaled: Any, way: Any, product: Any, into: Any, added: Any
) -> None:
    """Add what a tree gives the features of a row, in two passes: products down, sums up.

    Places are unsigned: never negative ones need not be looked at again.
    """
    store(product, _U64(0), spread(1.0))
    for split in range(splits):
        left, right = split + split + _ONE, split + split + _TWO
        going = _U64(scaled[_U64(tree.column[split])] > tree.cut[split])
        known = _U64(way[_U64(tree.above[split])] == _KEPT)
        one, other = known * (_TWO - going), known * (_ONE + going)
        way[left], way[right] = one, other
        first, second = left * _NODE + one * _WAY, right * _NODE + other * _WAY
        into[split + split], into[left] = first, second
        above = load(product, _U64(tree.split_at[split]) * _FOUR)
        store(product, left * _FOUR, multiply(above, load(tree.ways, first)))
        store(product, right * _FOUR, multiply(above, load(tree.ways, second)))
    split = splits
    while split > _U64(0):
        split -= _ONE
        left, right = split + split + _ONE, split + split + _TWO
        one, other = load(product, left * _FOUR), load(product, right * _FOUR)
        store(product, _U64(tree.split_at[split]) * _FOUR, add(one, other))
        one = multiply(one, load(tree.ways, into[split + split] + _FOUR))
        other = multiply(other, load(tree.ways, into[left] + _FOUR))
        column = _U64(tree.column[split]) * _FOUR
        store(added, column, add(load(added, column), add(one, other)))


@compiled(
    types.float64(
        _FEATURES, _SINGLES, _SINGLES, _MATRIX, _VECTOR, _VECTOR, _MATRIX, types.float64[:, ::1]
    ),
    error_model="numpy",
)
def add_values(
    feature: Any,
    threshold: Any,
    path: Any,
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
    # Behind a complete tree's last node, two more are written in vain.
    node_at, split_at, above = np.empty((3, _ALL + 2), dtype=np.uint16)
    column, way, leaf = np.empty((3, _ALL + 1), dtype=np.uint8)
    last = np.empty((_ALL + 1, (X.shape[1] + WIDTH - 1) // WIDTH), dtype=np.uint64)
    cut, rows = np.empty(_ALL + 1, dtype=np.float32), np.empty(_ALL + 1, dtype=np.int64)
    length, share = np.empty((2, _ALL + 1))
    worth, kept_change, product = np.empty((3, (_ALL + 1) * WIDTH))
    ways = np.empty((_ALL + 1) * 6 * WIDTH)
    tree = _Tree(
        node_at,
        split_at,
        column,
        cut,
        above,
        last,
        leaf,
        rows,
        length,
        share,
        worth,
        kept_change,
        ways,
    )
    share[_ALL], worth[_ALL * WIDTH :], kept_change[_ALL * WIDTH :] = 1.0, 1.0, 0.0
    way[_ALL] = _KEPT
    last.view(np.uint16)[0] = _ALL
    into = np.empty(_ALL + 1, dtype=np.uint64)
    scaled = np.empty(X.shape, dtype=np.float32)
    added = np.zeros((X.shape[0], X.shape[1] * WIDTH))
    _scale(X, scaling, scaled)
    expected = 0.0
    for i in range(feature.shape[0]):
        splits = _lay_out(tree, feature[i], threshold[i], path[i])
        _find_above(tree, splits)
        expected = _weigh(tree, splits, points, weights, expected)
        for r in range(X.shape[0]):
            _share_out(tree, _U64(splits), scaled[r], way, product, into, added[r])
    _add_points(added, values)
    return expected
