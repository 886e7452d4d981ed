"""Fewer points that look the same, and the range in which a value was to be expected."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from anomaly_platform.ml.order_statistics import quantile_of_sorted
from anomaly_platform.queries.operation.points import Floats, Points

#: The band: the median of so many seconds before a moment, and so many spreads to either side.
RANGE_WINDOW_S: Final = 86_400.0
_SPREADS: Final = 3.0
#: Of a normal distribution the quartiles lie so many standard deviations apart.
_QUARTILES_APART: Final = 1.349
_FEWEST: Final = 8


@dataclass(frozen=True, slots=True)
class ExpectedRange:
    """Where values were to be expected at some times; NaN where too little came before."""

    low: Floats
    high: Floats


def kept_points(points: Points, spans: int) -> npt.NDArray[np.int64]:
    """Return which points a picture needs: of each of many spans of time the extremes.

    First, last, least and greatest value and highest score of each span are kept, and every
    flagged point.

    Parameters
    ----------
    spans : int
        Into how many spans of equal length the time is divided; about one per pixel.
    """
    if len(points) <= 4 * spans:
        return np.arange(len(points))
    first, last = points.times[0], points.times[-1]
    span_of = np.minimum(((points.times - first) * (spans / (last - first))).astype(int), spans - 1)
    begins = np.flatnonzero(np.diff(span_of, prepend=-1))
    ends = np.append(begins[1:], len(points)) - 1
    kept = [begins, ends, np.flatnonzero(points.flagged)]
    kept += [
        _greatest(ordered, span_of, begins)
        for ordered in (
            np.nan_to_num(points.values, nan=-np.inf),
            np.nan_to_num(-points.values, nan=-np.inf),
            np.nan_to_num(points.scores, nan=-np.inf),
        )
    ]
    return np.unique(np.concatenate(kept))


def _greatest(
    values: Floats, span_of: npt.NDArray[np.int64], begins: npt.NDArray[np.intp]
) -> npt.NDArray[np.intp]:
    """Return a place of the greatest value of each span."""
    tops = np.maximum.reduceat(values, begins)
    ranks = np.searchsorted(span_of[begins], span_of)
    hits = np.flatnonzero(values == tops[ranks])
    _, firsts = np.unique(ranks[hits], return_index=True)
    return hits[firsts]


def expected_range(points: Points, at: Floats) -> ExpectedRange:
    """Return the range to be expected at some times: median and spread of the window before each.

    Parameters
    ----------
    points : Points
        Those of the window before the first time as well.
    at : array
        Unix seconds, ascending.
    """
    known = np.isfinite(points.values)
    times, values = points.times[known], points.values[known]
    low, high = np.full((2, at.size), np.nan)
    lower = np.searchsorted(times, at - RANGE_WINDOW_S, side="left")
    upper = np.searchsorted(times, at, side="left")
    for n, (begin, end) in enumerate(zip(lower, upper, strict=True)):
        if end - begin >= _FEWEST:
            ordered = np.sort(values[begin:end])
            below, middle, above = (quantile_of_sorted(ordered, q) for q in (0.25, 0.5, 0.75))
            spread = _SPREADS * (above - below) / _QUARTILES_APART
            low[n], high[n] = middle - spread, middle + spread
    return ExpectedRange(low, high)
