"""Calibrates raw scores conformally: to p-values, to the one score, and to its views.

Nothing here knows which detector made a score. A calibration is fitted on scores of rows that the
detector was *not* fitted on, and is immutable afterwards.
"""

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

import numpy as np
import numpy.typing as npt

from anomaly_platform.ml.arrays import AnyArray, Arrays, Floats
from anomaly_platform.ml.bundles.checking import BadModelError, checked

KNOTS = 512
"""Length of the knot arrays of every calibration, so that those of many series stack."""

EXACT_KNOTS = 256
"""The highest distinct calibration scores, kept one by one."""

P_FLOOR = 1e-12
"""No p-value is smaller: a finite sample supports no stronger claim."""

THRESHOLD = 0.7
"""The score that a share alpha of normal data reaches."""

TAIL_NUMBERS = 4
"""Numbers of a calibration's tail."""


class CalibrationError(ValueError):
    """Scores that cannot be calibrated: none, NaN, or infinite ones in fitting."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """The distribution of a detector's raw scores on normal data.

    Attributes
    ----------
    values
        Knots in ascending order, shape (512,), padded with +inf.
    exceeding
        For each knot the number of calibration scores strictly above it, shape (512,).
    tail
        (rows, scale, shape, order): the number of calibration scores, the generalised Pareto tail
        beyond the largest, and whether the tail goes on falling where p-values end; 0 in
        calibrations that were fitted before it did.
    """

    values: Floats
    exceeding: npt.NDArray[np.uint32]
    tail: Floats

    @property
    def rows(self) -> int:
        """Number of scores that the calibration was fitted on."""
        return int(self.tail[0])

    @classmethod
    def fit(cls, scores: npt.ArrayLike, *, tail_floor: float | None = None) -> Self:
        """Fit on raw scores of held-out normal rows.

        The conformal p-value is exact at the 256 highest distinct scores. Below them, knots are
        thinned geometrically by rank, and a score between two knots gets the larger p-value, so
        thinning errs towards fewer alarms only. The tail is a generalised Pareto distribution
        fitted to the upper tenth by probability-weighted moments (Hosking and Wallis 1987), its
        shape held in [0, 0.5].

        Parameters
        ----------
        scores
            Raw scores, shape (n,), n >= 1, finite; higher = more anomalous.
        tail_floor
            Smallest scale of the tail in units of the raw score, > 0: what the detector declares
            as its ``tail_floor``. By default a tenth of the distance from median to maximum.

        Raises
        ------
        CalibrationError
            When there is no score, or one is NaN or infinite.
        """
        from anomaly_platform.ml.calibration.kernels import fill_knots, fit_tail

        if not (tail_floor is None or tail_floor > 0.0):
            raise CalibrationError(f"tail_floor must be positive, got {tail_floor}")
        ordered = np.array(scores, dtype=np.float64).ravel()
        ordered.sort()
        if ordered.size == 0:
            raise CalibrationError("no scores to calibrate on")
        # Sorting puts NaN last.
        if not (math.isfinite(ordered.item(0)) and math.isfinite(ordered.item(-1))):
            raise CalibrationError("calibration scores must be finite; found NaN or infinity")
        values, exceeding = np.empty(KNOTS), np.empty(KNOTS, dtype=np.uint32)
        if not fill_knots(ordered, values, exceeding):
            _fill_thinned(ordered, values, exceeding)
        tail = np.empty(TAIL_NUMBERS)
        fit_tail(ordered, tail_floor or 0.0, tail)
        return cls(values, exceeding, tail)

    def p_value(self, raw: npt.ArrayLike) -> Floats:
        """Return the p-value of each raw score: the share of normal rows at least as anomalous.

        (1 + #{calibration scores >= raw}) / (n + 1), which is valid for exchangeable data whatever
        the distribution (Vovk, Gammerman and Shafer 2005); beyond the largest calibration score
        the fitted tail goes on from 1 / (n + 1) and falls strictly, so that what lies further out
        never ranks beside what lies less far. Below 1e-11 it falls the more slowly the further
        out, and never to 1e-12.

        Parameters
        ----------
        raw
            Raw scores, shape (m,) or a scalar.

        Returns
        -------
        numpy.ndarray
            Shape (m,), in [1e-12, 1], never increasing in ``raw``.

        Raises
        ------
        CalibrationError
            When a raw score is NaN.
        """
        from anomaly_platform.ml.calibration.kernels import p_values

        scores = np.ascontiguousarray(np.atleast_1d(raw), dtype=np.float64)
        out = np.empty(scores.shape[0])
        bad = p_values(self.values, self.exceeding, self.tail, scores, P_FLOOR, out)
        if bad >= 0:
            raise CalibrationError(f"raw score {bad} is NaN; a row without a score has no p-value")
        return out

    def to_arrays(self) -> dict[str, AnyArray]:
        """Everything :meth:`p_value` depends on; the shapes are the same for every calibration."""
        return {"values": self.values, "exceeding": self.exceeding, "tail": self.tail}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """Rebuild a calibration from what :meth:`to_arrays` gave.

        Raises
        ------
        BadModelError
            When it is none.
        """
        values = checked(arrays, "values", (KNOTS,), finite=False)
        exceeding = checked(arrays, "exceeding", (KNOTS,), kinds="u")
        tail = checked(arrays, "tail", (None,))
        if tail.size not in (TAIL_NUMBERS - 1, TAIL_NUMBERS):
            raise BadModelError(f"the calibration's tail has {tail.size} numbers")
        if not (np.isfinite(values[0]) and (values[1:] >= values[:-1]).all()):
            raise BadModelError("the calibration's values do not ascend")
        if tail[0] < 1 or tail[1] <= 0 or not 0 <= tail[2] <= 1:
            raise BadModelError("the calibration's tail is none")
        if exceeding.max() > tail[0]:
            raise BadModelError("more scores of the calibration lie above one than there are")
        return cls(
            np.ascontiguousarray(values, dtype=np.float64),
            np.ascontiguousarray(exceeding, dtype=np.uint32),
            np.append(np.asarray(tail, dtype=np.float64), np.zeros(TAIL_NUMBERS - tail.size)),
        )


def _fill_thinned(ordered: Floats, values: Floats, exceeding: npt.NDArray[np.uint32]) -> None:
    """Write the highest 256 of more than 512 distinct scores, and others spaced by rank."""
    last = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), ordered.size - 1)
    above = ordered.size - 1 - last
    first = above.size - EXACT_KNOTS
    powers = np.linspace(1.0, 0.0, KNOTS - EXACT_KNOTS, endpoint=False)
    ranks = above[first] * (above[0] / above[first]) ** powers
    # ``above`` falls along the array: for each rank take the first knot that is not beyond it.
    lower = np.minimum(np.searchsorted(-above, -ranks, side="left"), first)
    chosen = np.concatenate([lower[np.diff(lower, append=first) > 0], np.arange(first, above.size)])
    values[: chosen.size], values[chosen.size :] = ordered[last[chosen]], np.inf
    exceeding[: chosen.size], exceeding[chosen.size :] = above[chosen], 0


def score_of_p(p: npt.ArrayLike, alpha: float) -> Floats:
    """Return the one score of a p-value: 1 - p ** (ln 0.3 / ln alpha).

    0 is perfectly ordinary; 0.7 is reached exactly from p = alpha down.

    Parameters
    ----------
    p
        P-values in (0, 1], shape (n,) or a scalar.
    alpha
        The share of normal data that may lie at or above 0.7, in (0, 1).

    Returns
    -------
    numpy.ndarray
        Shape (n,), in [0, 1).

    Raises
    ------
    CalibrationError
        When ``alpha`` or a p-value is out of its range.

    Examples
    --------
    >>> score_of_p([1.0, 0.01], alpha=0.01).tolist()
    [0.0, 0.7]
    """
    from anomaly_platform.ml.calibration.kernels import scores_of_p

    values = np.ascontiguousarray(np.atleast_1d(p), dtype=np.float64)
    if not bool(((values > 0.0) & (values <= 1.0)).all()):
        raise CalibrationError("p-values must be in (0, 1]")
    out = np.empty(values.shape[0])
    scores_of_p(values, exponent_of(alpha), out)
    return out


def p_of_score(score: npt.ArrayLike, alpha: float) -> Floats:
    """Return the p-value behind a score: the inverse of :func:`score_of_p`."""
    values = np.atleast_1d(np.asarray(score, dtype=np.float64))
    if not bool(((values >= 0.0) & (values < 1.0)).all()):
        raise CalibrationError("scores must be in [0, 1)")
    return np.asarray((1.0 - values) ** (1.0 / exponent_of(alpha)), dtype=np.float64)


def exponent_of(alpha: float) -> float:
    """Return the power of the p-value that :func:`score_of_p` takes from 1."""
    if not 0.0 < alpha < 1.0:
        raise CalibrationError(f"alpha must be in (0, 1), got {alpha}")
    return math.log(1.0 - THRESHOLD) / math.log(alpha)


class Severity(StrEnum):
    """How grave a barcode score is."""

    NONE = "NONE"
    LOW = "LOW"
    MEDIUM = "MEDIUM"
    HIGH = "HIGH"


def barcode_view(score: npt.ArrayLike, threshold: float = THRESHOLD) -> Floats:
    """Return the score as the barcode stream shows it: 0-100, an anomaly from 50 on.

    Piecewise linear, with the threshold at 50.
    """
    if not 0.0 <= threshold <= 1.0:
        raise CalibrationError(f"threshold must be in [0, 1], got {threshold}")
    s, t = np.atleast_1d(np.asarray(score, dtype=np.float64)), threshold
    return np.where(s < t, 50.0 * s / (t or 1.0), 50.0 + 50.0 * (s - t) / ((1.0 - t) or 1.0))
