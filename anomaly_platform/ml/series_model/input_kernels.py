"""The arithmetic of the model inputs, compiled: one pass over the rows instead of a dozen.

`inputs` says what the inputs mean. Each row's inputs are computed from that row alone, in scalar
operations whose rounding does not depend on how many rows there are: one row gets the bits that
it gets in a batch.
"""

import math
from typing import Any

from numba import types

from anomaly_platform.ml.compiled import compiled
from anomaly_platform.ml.features.metrics.ordered import quantile

_MATRIX = types.Array(types.float64, 2, "C", readonly=True)
_VECTOR = types.Array(types.float64, 1, "C", readonly=True)
_OUT = types.float64[:, ::1]
#: A part of a larger table as well.
_TABLE = types.Array(types.float64, 2, "A", readonly=True)
_COLUMN = types.Array(types.float64, 1, "A", readonly=True)
#: A division by zero gives infinity, as everywhere else, not an exception.

_TO_SIGMA = 1.4826
#: Share of the training spread below which a trailing spread is not believed.
FLOOR_SHARE = 0.25
_EXTREME = 1e3
#: How many spreads of the others a reading is off that they are not judged by.
_FAR_OFF = 8.0
#: Units shrink to this part at most.
_LEAST_LEFT = 0.25
#: From when on units shrink: values that the longest window holds at least, the jitter and the
#: shortest window's spread below which it is quiet, and the typical one of these spreads.
FULL, QUIET_JITTER, CALM, USUAL = range(4)
QUIET_UNITS = 4


@compiled(types.float64(types.float64), error_model="numpy")
def _asinh(x: float) -> float:
    """Return asinh(x) within two ulps, several times faster than the C library's own."""
    size = abs(x)
    if size > 1e150:
        result = math.log(size) + math.log(2.0)
    else:
        square = size * size
        result = math.log1p(size + square / (1.0 + math.sqrt(1.0 + square)))
    return math.copysign(result, x)


@compiled(
    types.void(_TABLE, types.float64, types.float64, _OUT),
    error_model="numpy",
)
def relate(columns: Any, floor: float, step: float, out: Any) -> None:
    """Write the relations of (n,) readings, neither centred nor in units, to ``out``.

    Parameters
    ----------
    columns
        (2 w + 3, n) for w windows, the shortest first: value, difference to the first lag, the
        median of each window, the standard deviation of each, the longest one's MAD.
    floor
        Added to every trailing spread, in squares.
    step
        Typical size of the difference.
    out
        (n, w + 3): a z per window, level, spread, step; infinite or NaN where readings overflow.
    """
    windows = (columns.shape[0] - 3) // 2
    median, std, mad = 2, 2 + windows, 2 + 2 * windows
    for i in range(columns.shape[1]):
        value = columns[0, i]
        spread = math.hypot(_TO_SIGMA * columns[mad, i], floor)
        for k in range(windows - 1):
            own = math.hypot(columns[std + k, i], floor)
            out[i, k] = _asinh((value - columns[median + k, i]) / own)
        last = windows - 1
        out[i, last] = _asinh((value - columns[median + last, i]) / spread)
        out[i, windows] = _asinh((columns[median, i] - columns[median + last, i]) / spread)
        out[i, windows + 1] = math.log(math.hypot(columns[std, i], floor) / spread)
        out[i, windows + 2] = _asinh(columns[1, i] / step)


@compiled(
    types.void(
        _COLUMN, _COLUMN, _COLUMN, _COLUMN, _COLUMN, _COLUMN, types.float64, types.int64, _OUT
    ),
    error_model="numpy",
)
def forget_spikes(
    mean: Any,
    median: Any,
    std: Any,
    low: Any,
    high: Any,
    deviation: Any,
    floor: float,
    rows: int,
    out: Any,
) -> None:
    """Write the relation `spread` again where one reading alone makes the shortest window wide.

    A spike would widen it for as long as the window holds it, and ordinary readings would be the
    more unusual for it. Where the reading farthest from the window's median is off by many spreads
    of the others, the spread is theirs, or the usual one where theirs is lost in rounding.

    Parameters
    ----------
    mean, median, std, low, high
        (n,) of the shortest window; smallest and largest reading.
    deviation
        (n,) the longest window's MAD.
    floor
        As in `relate`.
    rows
        Of the shortest window. Where it holds fewer values, the spread stays what it was.
    out
        What `relate` has written.
    """
    column = out.shape[1] - 2
    for i in range(out.shape[0]):
        above, below = high[i] - median[i], median[i] - low[i]
        far = high[i] if above > below else low[i]
        squares = rows * std[i] * std[i]
        off = far - mean[i]
        left = squares - off * off * rows / (rows - 1.0)
        usual = math.hypot(_TO_SIGMA * deviation[i], floor)
        # What is left may be no more than rounding.
        own = usual
        if left > 1e-10 * squares:
            own = math.hypot(math.sqrt(left / (rows - 1.0)), floor)
        if max(above, below) > _FAR_OFF * own:
            out[i, column] = math.log(own / usual)


@compiled(types.void(_MATRIX, _VECTOR, _VECTOR, _OUT), error_model="numpy")
def standardise(relations: Any, medians: Any, tails: Any, out: Any) -> None:
    """Write (n, inputs) relations, less their medians, in units of their tails, to ``out``.

    Readings near the largest float overflow on the way; their inputs are merely extreme.
    """
    for i in range(relations.shape[0]):
        for j in range(relations.shape[1]):
            x = (relations[i, j] - medians[j]) / tails[j]
            if math.isnan(x):
                x = 0.0
            elif math.isinf(x):
                x = math.copysign(_EXTREME, x)
            out[i, j] = x


@compiled(
    types.void(_OUT, _VECTOR, _TABLE, _VECTOR, _COLUMN, types.float64, types.float64, _VECTOR),
    error_model="numpy",
)
def rescale_for_noise(
    inputs: Any,
    growth: Any,
    stds: Any,
    typical: Any,
    deviation: Any,
    floor: float,
    narrow: float,
    tails: Any,
) -> None:
    """Measure (n, inputs) inputs in units that have widened with the noise, in place.

    What is measured in a trailing spread has the noise in its unit as far as that spread has
    widened, and is divided by the rest. The shortest window's z stays: its spread is that of the
    last rows, and knows at once when the noise is over. A spread that is wider than usual is a
    logarithm, and loses the rest's, down to what is usual. Where the longest window's spread is
    narrower than it has ever been, as when a daily course flattens, its unit is no smaller for it.

    Parameters
    ----------
    inputs
        As `relate` orders them, in units of their tails.
    growth
        (n,) by how much the noise has grown, ≥ 1.
    stds, typical
        (w − 2, n) standard deviations of the windows between, and what is typical of each.
    deviation
        (n,) the longest window's MAD.
    floor
        As in `relate`: `FLOOR_SHARE` of the spread that is typical of it.
    narrow
        Below which the longest window's spread rarely was.
    tails
        (inputs,)
    """
    columns = inputs.shape[1]
    for i in range(inputs.shape[0]):
        spread = math.hypot(_TO_SIGMA * deviation[i], floor)
        if growth[i] > 1.0 or spread < narrow:
            inputs[i, columns - 1] /= growth[i]
            for k in range(typical.size):
                if typical[k] > 0.0:
                    inputs[i, k + 1] /= max(growth[i] / max(stds[k, i] / typical[k], 1.0), 1.0)
            rest = growth[i] / max(spread * FLOOR_SHARE / floor, 1.0)
            if spread < narrow:
                rest *= narrow / spread
            if rest > 1.0:
                inputs[i, columns - 4] /= rest
                inputs[i, columns - 3] /= rest
                if inputs[i, columns - 2] > 0.0:
                    narrowed = inputs[i, columns - 2] - math.log(rest) / tails[columns - 2]
                    inputs[i, columns - 2] = max(narrowed, 0.0)
                else:
                    inputs[i, columns - 2] /= rest


@compiled(
    types.void(_OUT, _COLUMN, _COLUMN, _TABLE, _VECTOR, types.float64, _VECTOR),
    error_model="numpy",
)
def shrink_units(
    inputs: Any, count: Any, jitter: Any, stds: Any, typical: Any, floor: float, quiet: Any
) -> None:
    """Measure (n, inputs) inputs in units that have shrunk with the noise, in place.

    Only what has the noise for its measure: the step, and the z of all windows but the longest, as
    far as their own spread has not shrunk with it. Where the longest window's jitter is less than
    it ever was, units are smaller by as much, but by no more than the shortest window's spread is:
    they are what they were soon after the noise has come back.

    Parameters
    ----------
    inputs
        As `relate` orders them, in units of their tails.
    count, jitter
        (n,) of the longest window.
    stds, typical
        (w − 1, n) standard deviations of the other windows, and what is typical of those behind
        the shortest.
    floor
        As in `relate`.
    quiet
        `QUIET_UNITS` numbers from `noise.quiet_units`.
    """
    columns = inputs.shape[1]
    for i in range(inputs.shape[0]):
        is_quiet = 0.0 < jitter[i] < quiet[QUIET_JITTER] and stds[0, i] < quiet[CALM]
        if is_quiet and count[i] >= quiet[FULL]:
            left = max(jitter[i] / quiet[QUIET_JITTER], stds[0, i] / quiet[CALM], _LEAST_LEFT)
            inputs[i, columns - 1] /= left
            for k in range(stds.shape[0]):
                known = quiet[USUAL] if k == 0 else typical[k - 1]
                shrunk = math.hypot(stds[k, i], floor) / math.hypot(known, floor)
                if left < shrunk:
                    inputs[i, k] /= left / min(shrunk, 1.0)


@compiled(
    types.void(_MATRIX, types.float64, types.float64[::1], types.float64[::1]),
    error_model="numpy",
)
def centres_and_tails(ordered: Any, share: float, medians: Any, tails: Any) -> None:
    """Write the median of each of (inputs, n) sorted rows, and a quantile of the distances from it.

    The largest distances are at the ends of a sorted row: those beyond the quantile are taken
    off one by one, from the end that is farther away.
    """
    size = ordered.shape[1]
    place = share * (size - 1)
    below = int(place)
    for j in range(ordered.shape[0]):
        row = ordered[j]
        centre = quantile(row, size, 0.5)
        low, high = 0, size - 1
        above = nearer = max(centre - row[low], row[high] - centre)
        for _ in range(size - below):
            above = nearer
            left, right = centre - row[low], row[high] - centre
            if left > right:
                nearer = left
                low += 1
            else:
                nearer = right
                high -= 1
        medians[j] = centre
        tails[j] = nearer + (above - nearer) * (place - below)
