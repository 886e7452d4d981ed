"""Trims outliers off calibration rows: incidents that nobody has reported.

A calibration takes its rows for normal. Of sixteen hundred of them the largest two decide what is
rare at α = 0.001, so that a handful of unreported incidents hides every later one that is no
larger. What is ordinary is therefore read from the bulk, which a few incidents hardly move: from
the median to the 90 % quantile the scores are taken for the beginning of an exponential tail, and
where such a tail would leave `EXPECTED` rows, rows beyond are outliers, with their neighbours, on
which an incident casts its shadow. The bulk is read again without them until nothing changes.

This is clipping, as sigma clipping is, with an exponential tail in the place of the normal one. It
does not cut heavy tails short: raw scores are logarithms of distances, and an exponential tail of
the logarithm is a power law. A clean series loses about `EXPECTED` of its highest rows, so it is
done where the calibration part is long enough to spare them and where few of its rows decide what
is rare. At α = 0.01 a dozen and more do, and clipping would cost more than it finds.

A short calibration part has no bulk to spare: of a hundred rows, one spike takes thirteen with it,
since the shortest window remembers it for twelve, and its like is then as rare as one in fifty. So
spikes are also told by the readings themselves (`spikes`): by their distance from the median of
those around them, as the Hampel filter does (Pearson 2002), where a power law fitted to the largest
distances of all other rows (Hill 1975) would reach as far less than once in `SPIKES_EXPECTED`
series. They are looked for from the outermost inwards and judged in turn without those that lie
further out, as in the generalised test of Rosner (1983), so that one does not hide another.

Outliers are left out of their series' calibration, not out of what the series tells its host,
whose own calibration sees every row and so keeps its rate of false alarms.
"""

import math

import numpy as np

from anomaly_platform.ml.arrays import Bools, Floats
from anomaly_platform.ml.order_statistics import quantile_of_sorted

#: Rows of a clean calibration part that may lie beyond the limit, if the tail is exponential.
EXPECTED = 3.0
#: Quantiles between which the tail is read.
BULK = (0.5, 0.9)
#: Rows before and after an outlier that are set aside with it.
NEIGHBOURS = 4
#: Each half of a calibration part must keep rows enough, whatever share is allowed.
MOST = 0.25
#: A shorter calibration part cannot spare the rows.
LEAST_ROWS = 1000
#: Rows that decide what is rare, from which on none is set aside.
FEW = 10.0
_ROUNDS = 8
#: Rows of a series without spikes that may be taken for one.
SPIKES_EXPECTED = 0.05
#: Rows to either side whose median a spike is far from; a longer incident is none.
_BESIDE = 3
#: One spike at least may be set aside, and one in so many rows: more of them are what is usual.
_ROWS_A_SPIKE = 250
#: Share of the distances that the power law is fitted to, how many at least, and the least heavy.
_TAIL_SHARE = 0.1
_TAIL_ROWS = 10
_TAIL_INDEX = 0.1


def few_decide(alpha: float, rows: int) -> bool:
    """Return whether a spike in a calibration part of so many rows hides its like and itself."""
    return 2.0 / (rows + 1.0) > alpha


def decided_by_few(alpha: float, rows: int) -> bool:
    """Return whether a calibration part can spare rows, and few of them decide what is rare."""
    return rows >= LEAST_ROWS and alpha * rows < FEW


def outliers(scores: Floats, share: float, alpha: float) -> Bools:
    """Return (c,) which rows of a calibration part are outliers.

    Parameters
    ----------
    scores
        (c,) raw scores in order of time, finite.
    share
        Largest share of rows, in [0, 1], that may be set aside, `MOST` at most. Where more are
        outliers, the series is like that, and nothing more is set aside.
    alpha
        What is rare, in (0, 1): the highest ``alpha`` × c rows decide. As many rows stay as a
        p-value of alpha needs, 1/alpha.
    """
    rows = scores.size
    aside = np.zeros(rows, dtype=np.bool_)
    most = min(int(min(share, MOST) * rows), rows - math.ceil(1.0 / alpha))
    if most < 1 or not decided_by_few(alpha, rows):
        return aside
    for _ in range(_ROUNDS):
        beyond = scores > tail_limit(scores[~aside], EXPECTED)
        found = with_neighbours(beyond, NEIGHBOURS, NEIGHBOURS)
        if int(found.sum()) > most:
            return aside
        if np.array_equal(found, aside):
            break
        aside = found
    return aside


# Between readings near the largest float distances are infinite.
@np.errstate(all="ignore")
def spikes(values: Floats, alpha: float, calibrating: int, shortest: int) -> Bools:
    """Return (n,) which rows of a series are evident spikes or remember one.

    Parameters
    ----------
    values
        (n,) readings in order of time, finite.
    alpha
        What is rare, in (0, 1).
    calibrating
        Rows of the calibration part. None is set aside where not `few_decide`.
    shortest
        Rows of the shortest window, which remembers each.
    """
    aside = np.zeros(values.size, dtype=np.bool_)
    rows = math.ceil(_TAIL_SHARE * values.size)
    if not few_decide(alpha, calibrating) or rows < _TAIL_ROWS:
        return aside
    around = np.lib.stride_tricks.sliding_window_view(
        np.pad(values, _BESIDE, mode="reflect"), 2 * _BESIDE + 1
    )
    far = np.abs(values - np.median(around, axis=1))
    order = np.argsort(-far, kind="stable")
    found, most = 0, max(1, values.size // _ROWS_A_SPIKE)
    for k in range(most + 1):
        others = far[order[k + 1 : k + 1 + rows]]
        begin = others[-1]
        if not begin > 0.0:
            break
        index = max(float(np.mean(np.log(others / begin))), _TAIL_INDEX)
        if rows * (far[order[k]] / begin) ** (-1.0 / index) < SPIKES_EXPECTED:
            found = k + 1
    for row in order[: found if found <= most else 0]:
        aside[row : row + shortest + 1] = True
    return aside


def tail_limit(scores: Floats, expected: float) -> float:
    """Return the score beyond which so many rows of (c,) ordinary scores would lie."""
    ordered = np.sort(scores)
    low, high = (quantile_of_sorted(ordered, q) for q in BULK)
    scale = (high - low) / math.log((1.0 - BULK[0]) / (1.0 - BULK[1]))
    if not scale > 0.0:
        return math.inf
    return low + scale * math.log((1.0 - BULK[0]) * scores.size / expected)


def with_neighbours(rows: Bools, before: int, after: int) -> Bools:
    """Return (c,) the rows and so many next to them."""
    steps = np.zeros(rows.size + 1, dtype=np.int64)
    at = np.flatnonzero(rows)
    np.add.at(steps, np.maximum(at - before, 0), 1)
    np.add.at(steps, np.minimum(at + after + 1, rows.size), -1)
    return np.asarray(np.cumsum(steps[:-1]) > 0)
