"""Isolation forest (Liu, Ting and Zhou 2008) as flat arrays, trained and scored by compiled loops.

Two layers: functions on plain arrays (`fit_forest`, `score_forest`), from which the forests of
thousands of series are stacked, and the detector object of the common contract. The loops are in
``forest_kernels``, which is imported where it is used: it loads numba.

A forest *saturates*: beyond the training range every tree sends a value the way of its extreme
training row, so twice as far is no more anomalous. The raw score therefore has a second term. For
a row inside the training range of every feature it is scikit-learn's anomaly score s in (0, 1]; for
a row outside it is

    s + 1 + log(1 + e),    e = sum over features of (distance beyond the range) / (robust scale)

which ranks strictly above everything inside and rises with the distance. The scale is the larger
of 1.4826 MAD and a tenth of the range. A feature that was constant in training and changes counts
as at least ten scales outside. Rounding errors (a relative 1e-9) are inside.
"""

from collections.abc import Sequence
from functools import cache
from types import ModuleType
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from anomaly_platform.ml.arrays import AnyArray, Arrays, Floats, Ints, Singles
from anomaly_platform.ml.bundles.checking import checked
from anomaly_platform.ml.detectors.base import FeatureSchemaError, as_matrix, non_finite
from anomaly_platform.ml.order_statistics import median

N_TREES = 100
MAX_SAMPLES = 256
"""Rows per tree at most ('auto' in scikit-learn); a depth of 8 follows from it."""

TAIL_FLOOR = 0.25
"""Smallest scale of a calibrated tail: leaving the training range alone is worth about that."""

SUSPECT_DEVIATION = 6.0
"""Robust standard deviations in one feature from which on a row may be set aside."""

SUSPECT_SCORE = 3.0
"""Robust standard deviations of the forest score from which on such a row is set aside."""


class ForestArrays(NamedTuple):
    """One forest as arrays; shapes depend on trees T and features d alone, so forests stack.

    Attributes
    ----------
    feature
        Feature of each split, (T, 255) u8.
    threshold
        Split points in scaled units, (T, 255) f32; +inf where a tree ended earlier.
    path_length
        Depth of each leaf plus the mean depth of a tree of the rows in it, (T, 256) f32.
    scaling
        Centre, inverse scale, low and high end of the training range, inverse scale beyond it, and
        the step of a constant feature, for each feature: (6, d) f64.
    normaliser
        Trees times the mean depth of a tree of ``max_samples`` rows, (1,) f64.
    """

    feature: npt.NDArray[np.uint8]
    threshold: Singles
    path_length: Singles
    scaling: Floats
    normaliser: Floats


def empty_forest(n_features: int, n_trees: int = N_TREES) -> ForestArrays:
    """Return arrays of the right shapes and dtypes, for one forest, uninitialised."""
    return ForestArrays(
        np.empty((n_trees, 255), dtype=np.uint8),
        np.empty((n_trees, 255), dtype=np.float32),
        np.empty((n_trees, 256), dtype=np.float32),
        np.empty((6, n_features)),
        np.empty(1),
    )


def fit_forest(
    X: Floats,
    seed: int,
    n_trees: int = N_TREES,
    max_samples: int | None = None,
    contamination: float = 0.0,
) -> ForestArrays:
    """Fit a forest on plain arrays.

    Parameters
    ----------
    X
        Training rows, (n, d) f64, C-contiguous and finite, n >= 2, 1 <= d <= 256.
    seed
        In [0, 2**64). The same rows and seed give the same bits, whatever was fitted before.
    n_trees
        Number of trees, >= 1.
    max_samples
        Rows per tree, 2-256; by default min(256, n).
    contamination
        The largest share of rows, in [0, 0.5], that may be set aside as suspect: rows that are at
        least six robust standard deviations off in some feature *and* stand out in a first
        forest's score. The forest is then fitted again on the others. It never sets an alarm rate.

    Raises
    ------
    ValueError
        When a parameter or the shape is out of its range.
    NonFiniteInputError
        When a value is NaN or infinite.
    """
    _check_fit(X, n_trees, max_samples, contamination)
    forest = _grow(X, seed, n_trees, max_samples)
    limit = int(contamination * X.shape[0])
    if limit:
        suspects = suspect_rows(X, forest, limit)
        if suspects.size:
            forest = _grow(np.delete(X, suspects, axis=0), seed, n_trees, max_samples)
    return forest


@cache
def _kernels() -> ModuleType:
    """Import the compiled loops once: an import statement costs a third of a row's score."""
    from anomaly_platform.ml.detectors import forest_kernels

    return forest_kernels


def _check_fit(X: Floats, n_trees: int, max_samples: int | None, contamination: float) -> None:
    if X.ndim != 2 or X.shape[0] < 2 or not 1 <= X.shape[1] <= 256:
        msg = f"a forest needs at least 2 rows and 1 to 256 features, got shape {X.shape}"
        raise FeatureSchemaError(msg)
    if n_trees < 1:
        raise ValueError(f"n_trees must be at least 1, got {n_trees}")
    if max_samples is not None and not 2 <= max_samples <= MAX_SAMPLES:
        raise ValueError(f"max_samples must be in 2..{MAX_SAMPLES}, got {max_samples}")
    if not 0.0 <= contamination <= 0.5:
        raise ValueError(f"contamination must be in [0, 0.5], got {contamination}")
    check_finite(X)


def check_finite(X: Floats) -> None:
    """Raise `NonFiniteInputError` where a value of (n, d) rows is NaN or infinite."""
    finite = np.isfinite(X)
    if not finite.all():
        raise non_finite(X, int(np.argmin(finite)))


def check_features(forest: ForestArrays, X: Floats) -> None:
    """Raise `FeatureSchemaError` where X is not (n, d) rows of the features of the forest."""
    if X.ndim != 2 or X.shape[1] != forest.scaling.shape[1]:
        msg = f"expected rows of {forest.scaling.shape[1]} features, got shape {X.shape}"
        raise FeatureSchemaError(msg)


def _grow(X: Floats, seed: int, n_trees: int, max_samples: int | None) -> ForestArrays:
    kernels = _kernels()
    samples = min(max_samples or MAX_SAMPLES, X.shape[0])
    forest = empty_forest(X.shape[1], n_trees)
    ordered = np.empty((X.shape[1], min(kernels.ROBUST_ROWS, X.shape[0])))
    kernels.draw_sample(X, seed, ordered)
    ordered.sort(axis=1)
    kernels.fit_scaling(X, ordered, forest.scaling)
    kernels.grow_forest(
        X, forest.scaling, seed, samples, forest.feature, forest.threshold, forest.path_length
    )
    forest.normaliser[0] = n_trees * kernels.average_path_length(samples)
    return forest


def suspect_rows(X: Floats, forest: ForestArrays, limit: int) -> Ints:
    """Return at most ``limit`` rows that stand out, the most anomalous first."""
    candidates = np.empty(X.shape[0], dtype=np.int64)
    found = _kernels().find_far_rows(X, forest.scaling, SUSPECT_DEVIATION, candidates)
    candidates = candidates[:found]
    if candidates.size == 0:
        return candidates
    step = max(1, X.shape[0] // 512)
    usual = score_forest(forest, np.ascontiguousarray(X[::step]))
    centre_score = median(usual)
    spread = 1.4826 * median(np.abs(usual - centre_score))
    scores = score_forest(forest, X[candidates])
    standing_out = scores > centre_score + SUSPECT_SCORE * spread
    candidates, scores = candidates[standing_out], scores[standing_out]
    return candidates[np.argsort(-scores, kind="stable")[:limit]]


def score_forest(
    forest: ForestArrays, X: Floats, feature_schema: Sequence[str] | None = None
) -> Floats:
    """Raw scores of rows, higher = more anomalous; see the module's docstring.

    Parameters
    ----------
    forest
        C-contiguous arrays, as `fit_forest` or a bundle gives them.
    X
        Rows, (n, d) f64, C-contiguous.
    feature_schema
        Names of the features, for messages.

    Returns
    -------
    numpy.ndarray
        (n,) f64: in (0, 1] inside the training range, above 1 outside. A row scored alone and in
        a batch gets the same bits.

    Raises
    ------
    FeatureSchemaError
        When the number of features is not the forest's.
    NonFiniteInputError
        When a value is NaN or infinite.
    """
    # Of one row, what surrounds the loops takes as long as they do: they look at the width.
    kernels = _kernels()
    if X.ndim != 2:
        check_features(forest, X)
    out = np.empty(len(X))
    bad = kernels.score_rows(
        forest.feature,
        forest.threshold,
        forest.path_length,
        forest.scaling,
        forest.normaliser.item(),
        X,
        out,
    )
    if bad != kernels.SCORED:
        check_features(forest, X)
        raise non_finite(X, bad, feature_schema)
    return out


class IsolationForest:
    """Isolation forest in the common contract of detectors.

    Parameters
    ----------
    feature_schema
        Names of the features, 1 to 256.
    n_trees
        Number of trees.
    max_samples
        Rows per tree, 2-256; by default min(256, rows).
    contamination
        The largest share of training rows that may be set aside as suspect, in [0, 0.5].
    """

    tail_floor: float = TAIL_FLOOR
    FIELDS: ClassVar[tuple[str, ...]] = ForestArrays._fields

    def __init__(
        self,
        feature_schema: Sequence[str],
        *,
        n_trees: int = N_TREES,
        max_samples: int | None = None,
        contamination: float = 0.1,
    ) -> None:
        self.feature_schema = tuple(feature_schema)
        self.n_trees = n_trees
        self.max_samples = max_samples
        self.contamination = contamination
        self._forest: ForestArrays | None = None

    @property
    def forest(self) -> ForestArrays:
        """The fitted arrays.

        Raises
        ------
        RuntimeError
            Before `fit`.
        """
        if self._forest is None:
            raise RuntimeError("the forest is not fitted yet; call fit first")
        return self._forest

    def fit(self, X: npt.ArrayLike, *, seed: int) -> Self:
        """Fit on rows (n, d); see `fit_forest`."""
        matrix = as_matrix(X, self.feature_schema)
        self._forest = fit_forest(matrix, seed, self.n_trees, self.max_samples, self.contamination)
        return self

    def score(self, X: npt.ArrayLike) -> Floats:
        """Raw scores (n,) of rows (n, d), higher = more anomalous; see the module's docstring."""
        matrix = np.ascontiguousarray(X, dtype=np.float64)
        return score_forest(self.forest, matrix, self.feature_schema)

    def to_arrays(self) -> dict[str, AnyArray]:
        """Return the fields of `ForestArrays` by name."""
        return self.forest._asdict()

    @classmethod
    def from_arrays(cls, arrays: Arrays, feature_schema: Sequence[str]) -> Self:
        """Rebuild a fitted forest from what `to_arrays` gave.

        Raises
        ------
        FeatureSchemaError
            When it is of other features.
        BadModelError
            When it is no forest: the kernels check no bounds.
        """
        scaling = checked(arrays, "scaling", (6, None), finite=False)
        features = len(feature_schema)
        if scaling.shape[1] != features:
            msg = f"the arrays are of {scaling.shape[1]} features, not {features}"
            raise FeatureSchemaError(msg)
        feature = checked(arrays, "feature", (None, 255), kinds="u", high=features - 1)
        trees = feature.shape[0]
        cut = checked(arrays, "threshold", (trees, 255), finite=False)
        path = checked(arrays, "path_length", (trees, 256), low=0)
        normaliser = checked(arrays, "normaliser", (1,), low=1e-9)
        forest = ForestArrays(
            np.ascontiguousarray(feature, dtype=np.uint8),
            np.ascontiguousarray(cut, dtype=np.float32),
            np.ascontiguousarray(path, dtype=np.float32),
            np.ascontiguousarray(scaling, dtype=np.float64),
            np.ascontiguousarray(normaliser, dtype=np.float64),
        )
        detector = cls(feature_schema, n_trees=forest.feature.shape[0])
        detector._forest = forest
        return detector

    @classmethod
    def from_sklearn(cls, estimator: Any, feature_schema: Sequence[str]) -> Self:
        """Take over the trees of a fitted ``sklearn.ensemble.IsolationForest``.

        Its scores, ``-estimator.score_samples(X)``, are kept to 1e-6; a range of training values
        is not known to it, so no row counts as outside.

        Raises
        ------
        ValueError
            When a tree is deeper than 8, that is, with ``max_samples`` above 256.
        """
        from anomaly_platform.ml.detectors.forest_kernels import average_path_length

        detector = cls(feature_schema, n_trees=len(estimator.estimators_))
        forest = empty_forest(len(detector.feature_schema), detector.n_trees)
        forest.scaling[:] = np.array([0.0, 1.0, -np.inf, np.inf, 0.0, 0.0])[:, None]
        forest.normaliser[0] = detector.n_trees * average_path_length(estimator.max_samples_)
        for position, (tree, columns) in enumerate(
            zip(estimator.estimators_, estimator.estimators_features_, strict=True)
        ):
            _copy_tree(tree.tree_, columns, position, forest)
        detector._forest = forest
        return detector


def _copy_tree(tree: Any, columns: Ints, position: int, forest: ForestArrays) -> None:
    """Lay a scikit-learn tree out as a complete one."""
    from anomaly_platform.ml.detectors.forest_kernels import average_path_length

    forest.feature[position] = 0
    forest.threshold[position] = np.inf
    pending = [(0, 0, 0)]
    while pending:
        source, node, depth = pending.pop()
        if tree.children_left[source] < 0:
            width = 1 << (8 - depth)
            leaf = (node + 1 - (1 << depth)) * width
            length = depth + average_path_length(int(tree.n_node_samples[source]))
            forest.path_length[position, leaf : leaf + width] = length
            continue
        if depth == 8:
            raise ValueError("a tree is deeper than 8; fit it with max_samples of at most 256")
        forest.feature[position, node] = columns[tree.feature[source]]
        cut = np.float32(tree.threshold[source])
        # Inputs are single precision: only rounding towards -inf keeps every comparison.
        if float(cut) > tree.threshold[source]:
            cut = np.nextafter(cut, np.float32(-np.inf))
        forest.threshold[position, node] = cut
        pending.append((tree.children_left[source], 2 * node + 1, depth + 1))
        pending.append((tree.children_right[source], 2 * node + 2, depth + 1))
