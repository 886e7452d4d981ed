"""Whole sequences of events, such as log sessions, as a scikit-learn estimator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import narwhals as nw
import numpy as np
import numpy.typing as npt
import polars as pl

from anomaly_platform.ml.backtest.sessions import Session, SessionDetector, SessionParameters
from anomaly_platform.ml.estimators.contract import Estimator, Floats
from anomaly_platform.ml.frames import is_frame, to_polars


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
    >>> sessions = [["open", *["read"] * (n % 5), "close"] for n in range(40)]
    >>> detector = SequenceDetector(folds=2, hidden=16, max_epochs=4).fit(sessions)
    >>> usual, odd = detector.score_samples([["open", "read", "close"], ["close", "open"]])
    >>> bool(odd < usual)
    True
    """

    def __init__(
        self,
        column: str = "events",
        *,
        alpha: float = 0.03,
        threshold: float = 0.7,
        folds: int = 4,
        hidden: int = 64,
        max_epochs: int = 40,
        random_state: int = 42,
    ) -> None:
        self.column = column
        self.alpha = alpha
        self.threshold = threshold
        self.folds = folds
        self.hidden = hidden
        self.max_epochs = max_epochs
        self.random_state = random_state

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
        if is_frame(X):
            frame = to_polars(X)
            if self.column not in frame.columns:
                raise ValueError(f"X has no column {self.column!r}: name the one of the sequences")
            rows: Any = frame[self.column].to_list()
        elif nw.dependencies.is_into_series(X):
            rows = nw.from_native(X, series_only=True).to_list()
        else:
            rows = X
        return [_session(number, row) for number, row in enumerate(rows)]

    def _scores(self, X: Any) -> Floats:
        return self.detector_.score(self._read(X)).score

    def _to_arrays(self) -> tuple[Sequence[str], dict[str, npt.NDArray[Any]]]:
        return [self.column], self.detector_.to_arrays()

    def _from_arrays(self, names: Sequence[str], arrays: dict[str, npt.NDArray[Any]]) -> None:
        del names
        self.detector_ = SessionDetector.from_arrays(arrays)


def _session(number: int, row: Any) -> Session:
    if isinstance(row, str):
        return tuple(row.split())
    if not isinstance(row, (list, tuple, np.ndarray, pl.Series)):
        raise TypeError(f"row {number} is {row!r}: give a list of event names, or leave it out")
    return tuple(str(event) for event in row)
