"""What all estimators share: scores, decisions, and bundles that keep them."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils.validation import check_is_fitted

from anomaly_platform.ml.arrays import Arrays, Floats
from anomaly_platform.ml.bundles.bundle import Bundle, open_bundle
from anomaly_platform.ml.bundles.format import BundleError
from anomaly_platform.ml.bundles.writer import BundleWriter
from anomaly_platform.ml.frames import column_like


@dataclass(eq=False, repr=False, kw_only=True)
class Estimator(OutlierMixin, BaseEstimator):  # type: ignore[misc]
    """A detector with scikit-learn's contract.

    The score of a row is the platform's: 0 is perfectly ordinary, and a share `alpha` of normal
    rows lies above 0.7. `score_samples` returns it negated, so that odder rows are lower.

    Parameters
    ----------
    alpha
        Share of normal rows, in (0, 1), that may reach the score 0.7.
    threshold
        Score in (0, 1) from which a row is an anomaly.
    random_state
        Seed; the same rows and seed give the same bits.
    """

    alpha: float = 0.01
    threshold: float = 0.7
    random_state: int = 42

    @property
    def offset_(self) -> float:
        """What `score_samples` returns at the threshold."""
        return -float(self.threshold)

    @abstractmethod
    def fit(self, X: Any, y: None = None) -> Self:
        """Learn from rows that are mostly normal."""

    def score_samples(self, X: Any) -> Any:
        """Return (rows,) scores, lower for odder rows; NaN where a row has none.

        Parameters
        ----------
        X
            As in `fit`.

        Returns
        -------
        Series or numpy.ndarray
            Of the library that `X` is from, in the order of its rows.
        """
        return column_like(X, -self._fitted_scores(X), "score")

    def decision_function(self, X: Any) -> Any:
        """Return `score_samples` minus `offset_`: at most 0 for an anomaly."""
        return column_like(X, -self._fitted_scores(X) - self.offset_, "decision")

    def predict(self, X: Any) -> Any:
        """Return (rows,) −1 for an anomaly, else 1; a row without a score is none."""
        flags = -self._fitted_scores(X) <= self.offset_
        return column_like(X, np.where(flags, -1, 1), "prediction")

    def save(self, folder: str | Path) -> str:
        """Write the fitted estimator as a bundle, without pickle, and return its digest.

        Raises
        ------
        BundleExistsError
            When another bundle is at `folder` already.
        """
        check_is_fitted(self)
        plain = (str, int, float, bool, type(None))
        kept = {k: v for k, v in self.get_params(deep=False).items() if isinstance(v, plain)}
        with BundleWriter(Path(folder)) as writer:
            manifest, series = self._store(writer)
            about = {"class": type(self).__name__, "parameters": kept}
            return writer.publish({**manifest, "estimator": about}, series)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read what `save` wrote; its scores are the same to the bit.

        Raises
        ------
        BundleError
            When there is no bundle, it is damaged, or another estimator's.
        """
        bundle = open_bundle(Path(folder))
        about = bundle.manifest.get("estimator", {})
        if about.get("class") != cls.__name__:
            bundle.close()
            raise BundleError(f"{folder} holds a {about.get('class')}, not a {cls.__name__}")
        estimator = cls(**about["parameters"])
        estimator._restore(bundle)
        return estimator

    def _fitted_scores(self, X: Any) -> Floats:
        check_is_fitted(self)
        return self._scores(X)

    @abstractmethod
    def _scores(self, X: Any) -> Floats:
        """(rows,) scores, higher = odder."""

    @abstractmethod
    def _store(self, writer: BundleWriter) -> tuple[Mapping[str, Any], pl.DataFrame]:
        """Write all that a score depends on; return the manifest and the table of series."""

    @abstractmethod
    def _restore(self, bundle: Bundle) -> None:
        """Take over what `_store` wrote."""


def one_slot(
    writer: BundleWriter, features: Sequence[str], arrays: Arrays
) -> tuple[Mapping[str, Any], pl.DataFrame]:
    """Write the arrays of a model that is the only one of its bundle, as `_store` does."""
    series = {"entity": ["*"], "metric": ["*"], "slot": [writer.append(arrays)]}
    return {"feature_schema": {"features": list(features)}}, pl.DataFrame(series)


def numbers(frame: pl.DataFrame, expected: Sequence[str] | None = None) -> pl.DataFrame:
    """Return the columns, which must be numbers; the expected ones in their order, if given.

    Raises
    ------
    ValueError
        When a column is missing, unknown or no number; the message names it.
    """
    wanted = frame.columns if expected is None else list(expected)
    missing = [name for name in wanted if name not in frame.columns]
    unknown = [name for name in frame.columns if name not in wanted]
    if missing or unknown:
        raise ValueError(
            f"the columns are not those of fit: missing {missing}, unknown {unknown}; "
            f"give {', '.join(wanted)}"
        )
    for name in wanted:
        if not (frame[name].dtype.is_numeric() or frame[name].dtype in (pl.Boolean, pl.Null)):
            raise ValueError(
                f"column {name!r} is {frame[name].dtype}, not numbers: leave it out or encode it"
            )
    if frame.is_empty():
        raise ValueError("X has no rows")
    return frame.select(pl.col(wanted).cast(pl.Float64))


def array_frame(X: Any, names: Sequence[str] | None) -> pl.DataFrame:
    """Return a two-dimensional array as a frame; with columns `names`, or x0, x1 and so on.

    Raises
    ------
    ValueError
        When it has other dimensions, or not as many columns as there are names.
    """
    matrix = np.asarray(X, dtype=np.float64)
    if matrix.ndim != 2:
        raise ValueError(f"X has the shape {matrix.shape}, not rows and columns: reshape it")
    names = names or [f"x{column}" for column in range(matrix.shape[1])]
    if matrix.shape[1] != len(names):
        raise ValueError(
            f"X has {matrix.shape[1]} columns, {len(names)} are needed: {', '.join(names)}"
        )
    return pl.DataFrame(matrix, schema=list(names), orient="row")
