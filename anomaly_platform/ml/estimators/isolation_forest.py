"""The isolation forest over rows of features, calibrated, as a scikit-learn estimator."""

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Self

import numpy as np
import polars as pl
from sklearn.utils.validation import check_is_fitted

from anomaly_platform.ml.arrays import Floats
from anomaly_platform.ml.bundles.bundle import Bundle
from anomaly_platform.ml.bundles.writer import BundleWriter
from anomaly_platform.ml.calibration.conformal import Calibration, score_of_p
from anomaly_platform.ml.detectors import isolation_forest as forests
from anomaly_platform.ml.detectors.base import as_matrix, part_of, under
from anomaly_platform.ml.estimators.contract import Estimator, array_frame, numbers, one_slot
from anomaly_platform.ml.frames import frame_like, is_frame, to_polars
from anomaly_platform.ml.series_model.model import calibration_start


@dataclass(eq=False, repr=False)
class IsolationForest(Estimator):
    """Isolation forest whose alarm rate is set by `alpha`.

    The forest learns from four fifths of the rows, drawn at random, and is calibrated on the
    rest. Beyond the range of the training rows the score goes on rising with the distance. For
    readings in order of time `SeriesDetector` and `HostDetector` know more.

    Parameters
    ----------
    n_estimators
        Trees.
    max_samples
        Rows per tree, 2 to 256; None means 256 or all.
    contamination
        Largest share of rows, in [0, 0.5], that may be set aside as suspect. It never sets the
        alarm rate.
    alpha
        Share of normal rows, in (0, 1), that may reach the score 0.7.
    threshold
        Score in (0, 1) from which a row is an anomaly.
    min_samples
        Fewest rows to learn from.
    random_state
        Seed; the same rows and seed give the same bits.

    Attributes
    ----------
    feature_names_in_
        The columns, in order; x0, x1, … for an array.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(1000, 2))
    >>> forest = IsolationForest().fit(X)
    >>> forest.predict([[0.1, -0.2], [9.0, 9.0]]).tolist()
    [1, -1]
    """

    n_estimators: int = 100
    _: KW_ONLY
    max_samples: int | None = None
    contamination: float = 0.1
    min_samples: int = 100

    def fit(self, X: Any, y: None = None) -> Self:  # noqa: ARG002  (scikit-learn's signature)
        """Learn from rows that are mostly normal.

        Parameters
        ----------
        X
            Frame of numbers, or array (rows, features); every value finite.
        y
            Ignored.

        Raises
        ------
        ValueError
            When a column is no number, a value is missing or infinite, or rows are too few.
        """
        names, matrix = self._read(X, None)
        if len(matrix) < self.min_samples:
            raise ValueError(
                f"X has {len(matrix)} rows, min_samples {self.min_samples} are needed: give more"
            )
        order = np.random.default_rng(self.random_state).permutation(len(matrix))
        start = calibration_start(len(matrix))
        forest = forests.IsolationForest(
            names,
            n_trees=self.n_estimators,
            max_samples=self.max_samples,
            contamination=self.contamination,
        ).fit(matrix[order[:start]], seed=self.random_state)
        held = matrix[order[start:]]
        limit = int(self.contamination * len(held))
        kept = np.delete(held, forests.suspect_rows(held, forest.forest, limit), axis=0)
        self._take(forest, Calibration.fit(forest.score(kept), tail_floor=forest.tail_floor))
        return self

    def explain(self, X: Any) -> Any:
        """Return how much each feature isolates each row: exact Shapley values of its paths.

        Parameters
        ----------
        X
            As in `fit`.

        Returns
        -------
        frame or numpy.ndarray
            (rows, features) splits by which a feature makes a row's mean path shorter than that of
            the training rows; the largest names what is odd. Frames come back as frames. A value
            beyond the training range has the path of the range's end. See `path_shapley`.

        Examples
        --------
        >>> import numpy as np
        >>> X = np.random.default_rng(0).normal(size=(1000, 3))
        >>> int(IsolationForest().fit(X).explain([[0.1, 6.0, -0.2]]).argmax())
        1
        """
        from anomaly_platform.ml.detectors.forest_shapley import path_shapley

        check_is_fitted(self)
        names, matrix = self._read(X, self.forest_.feature_schema)
        shorter = -path_shapley(self.forest_.forest, matrix).values
        if not is_frame(X):
            return shorter
        return frame_like(X, pl.DataFrame(shorter, schema=list(names), orient="row"))

    def _take(self, forest: forests.IsolationForest, calibration: Calibration) -> None:
        self.forest_, self.calibration_ = forest, calibration
        self.feature_names_in_ = np.array(forest.feature_schema, dtype=object)
        self.n_features_in_ = len(forest.feature_schema)

    def _read(self, X: Any, names: Sequence[str] | None) -> tuple[tuple[str, ...], Floats]:
        frame = numbers(to_polars(X) if is_frame(X) else array_frame(X, names), names)
        return tuple(frame.columns), as_matrix(frame.to_numpy(), frame.columns)

    def _scores(self, X: Any) -> Floats:
        raw = self.forest_.score(self._read(X, self.forest_.feature_schema)[1])
        return score_of_p(self.calibration_.p_value(raw), self.alpha)

    def _store(self, writer: BundleWriter) -> tuple[Mapping[str, Any], pl.DataFrame]:
        arrays = under("forest/", self.forest_.to_arrays())
        arrays |= under("calibration/", self.calibration_.to_arrays())
        return one_slot(writer, self.forest_.feature_schema, arrays)

    def _restore(self, bundle: Bundle) -> None:
        with bundle:
            arrays = bundle.arrays(0)
        self._take(
            forests.IsolationForest.from_arrays(part_of(arrays, "forest/"), bundle.features),
            Calibration.from_arrays(part_of(arrays, "calibration/")),
        )
