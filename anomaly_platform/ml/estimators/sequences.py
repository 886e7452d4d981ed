"""Whole sequences of events, such as log sessions, as a scikit-learn estimator."""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, Self

import narwhals as nw
import numpy as np
import polars as pl

from anomaly_platform.ml.arrays import Floats
from anomaly_platform.ml.backtest.sessions import Session, SessionDetector, SessionParameters
from anomaly_platform.ml.bundles.bundle import Bundle
from anomaly_platform.ml.bundles.writer import BundleWriter
from anomaly_platform.ml.estimators.contract import Estimator, one_slot


@dataclass(eq=False, repr=False)
class SequenceDetector(Estimator):
    """Sequences of events, complete when they are judged: a score per sequence.

    A sequence is as odd as its most surprising event, its end included. Training takes minutes.

    Parameters
    ----------
    column
        Of a frame, the column that holds the sequences.
    alpha
        Share of normal sequences of a kind never seen, in (0, 1), that may reach the score 0.7.
    threshold
        Score in (0, 1) from which a sequence is an anomaly.
    folds
        Models that judge together, at least 2.
    hidden
        Width of each model.
    max_epochs
        Training ends after so many passes at the latest.
    random_state
        Seed; the same sequences and seed give the same bits.

    Examples
    --------
    >>> sessions = ["open" + " read" * (n % 7) + " write" * (n % 5) + " close" for n in range(90)]
    >>> detector = SequenceDetector(folds=2, hidden=16, max_epochs=8).fit(sessions)
    >>> usual, odd = detector.score_samples(["open read write close", "close delete open"])
    >>> bool(odd < usual)
    True
    """

    column: str = "events"
    _: KW_ONLY
    alpha: float = 0.03
    folds: int = 4
    hidden: int = 64
    max_epochs: int = 40

    def fit(self, X: Any, y: None = None) -> Self:  # noqa: ARG002  (scikit-learn's signature)
        """Learn from sequences that are normal.

        Parameters
        ----------
        X
            Sequences of event names, a text being names divided by blanks: a list or array of
            them, a column, or a frame with the column `column`.
        y
            Ignored.

        Raises
        ------
        ValueError
            When the column or a sequence is missing, or there are fewer than two per fold.
        """
        usual = SessionParameters()
        training = replace(usual.training, hidden=self.hidden, max_epochs=self.max_epochs)
        self.detector_ = SessionDetector.fit(
            self._read(X),
            seed=self.random_state,
            parameters=SessionParameters(self.alpha, self.folds, training),
        )
        return self

    def _read(self, X: Any) -> list[Session]:
        rows = nw.from_native(X, eager_only=True, allow_series=True, pass_through=True)
        if isinstance(rows, nw.DataFrame):
            if self.column not in rows.columns:
                raise ValueError(f"X has no column {self.column!r}: name the one of the sequences")
            rows = rows[self.column]
        rows = rows.to_list() if isinstance(rows, nw.Series) else rows
        return [_session(number, row) for number, row in enumerate(rows)]

    def _scores(self, X: Any) -> Floats:
        return self.detector_.score(self._read(X)).score

    def _store(self, writer: BundleWriter) -> tuple[Mapping[str, Any], pl.DataFrame]:
        return one_slot(writer, [self.column], self.detector_.to_arrays())

    def _restore(self, bundle: Bundle) -> None:
        with bundle:
            self.detector_ = SessionDetector.from_arrays(bundle.arrays(0))


def _session(number: int, row: Any) -> Session:
    if isinstance(row, str):
        return tuple(row.split())
    if not isinstance(row, (list, tuple, np.ndarray, pl.Series)):
        raise TypeError(f"row {number} is {row!r}: give a list of event names, or leave it out")
    return tuple(str(event) for event in row)
