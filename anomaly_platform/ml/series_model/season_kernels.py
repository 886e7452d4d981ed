"""Compiled loops of ``seasonality``: profiles by phase, how well they repeat, taking them off.

The phase of a moment is its place in the period, counted from a Monday, so that a week begins
with its first working day.
"""

import math
from typing import Any

import numpy as np
from numba import types

from anomaly_platform.ml.compiled import compiled
from anomaly_platform.ml.sums import sum_of

_MATRIX = types.Array(types.float64, 2, "C", readonly=True)
_SINGLES = types.Array(types.float32, 2, "C", readonly=True)
_VECTOR = types.Array(types.float64, 1, "C", readonly=True)
_TIMES = types.Array(types.int64, 1, "C", readonly=True)
_OUT = types.float64[:, ::1]
#: A division by zero gives infinity, as everywhere else, not an exception.

_MONDAY = 3 * 86_400_000_000


@compiled(types.int64(types.int64, types.int64, types.int64))
def phase_of(time: int, period: int, phases: int) -> int:  # pragma: no cover
    """Return the phase of a moment, of `phases` in a period; all times in microseconds."""
    return ((time + _MONDAY) % period) * phases // period


def cycle_of(time: int, period: int) -> int:
    """Return which of its cycles a moment is in, counted from a Monday; in microseconds."""
    return (time + _MONDAY) // period


@compiled(
    types.float64[::1](_TIMES, _MATRIX, types.int64, types.int64),
    error_model="numpy",
)
def repetition(  # noqa: C901 - one compiled loop nest
    times: Any, inputs: Any, period: int, phases: int
) -> Any:
    """Return (inputs,) correlations between the profiles of the odd and of the even cycles.

    0 for an input whose profile is flat, and for all when fewer than four phases occur in both.
    """
    number = inputs.shape[1]
    sums = np.zeros((2, phases, number))
    counts = np.zeros((2, phases))
    for i in range(times.size):
        cycle, within = divmod(times[i] + _MONDAY, period)
        phase = within * phases // period
        half = cycle & 1
        counts[half, phase] += 1.0
        for j in range(number):
            sums[half, phase, j] += inputs[i, j]
    result = np.zeros(number)
    common = 0
    for phase in range(phases):
        if counts[0, phase] > 0.0 and counts[1, phase] > 0.0:
            for half in range(2):
                for j in range(number):
                    sums[half, common, j] = sums[half, phase, j] / counts[half, phase]
            common += 1
    if common < 4:
        return result
    for j in range(number):
        even = odd = 0.0
        for k in range(common):
            even += sums[0, k, j]
            odd += sums[1, k, j]
        even /= common
        odd /= common
        evens = odds = both = 0.0
        for k in range(common):
            a, b = sums[0, k, j] - even, sums[1, k, j] - odd
            evens += a * a
            odds += b * b
            both += a * b
        size = math.sqrt(evens * odds)
        if size > 1e-9:
            result[j] = both / size
    return result


@compiled(
    types.void(_TIMES, _MATRIX, types.int64, types.int64, _VECTOR, _OUT, _OUT),
    error_model="numpy",
)
def fill_profile(
    times: Any, inputs: Any, period: int, phases: int, shares: Any, offset: Any, widening: Any
) -> None:
    """Write offsets and widenings by phase, (inputs, ≥ phases), of inputs whose share is above 0.

    Parameters
    ----------
    times, inputs
        (n,) and (n, inputs).
    period, phases
        Microseconds, and the phases that it is cut into.
    shares
        (inputs,) by which the profile of each input is shrunk.
    offset, widening
        Filled with 0 and 1 before.
    """
    phase = np.empty(times.size, dtype=np.int64)
    counts = np.zeros(phases)
    for i in range(times.size):
        phase[i] = phase_of(times[i], period, phases)
        counts[phase[i]] += 1.0
    squares = np.empty(phases)
    for j in range(inputs.shape[1]):
        if shares[j] <= 0.0:
            continue
        for i in range(times.size):
            offset[j, phase[i]] += inputs[i, j]
        for k in range(phases):
            offset[j, k] *= shares[j] / max(counts[k], 1.0)
            squares[k] = 0.0
        for i in range(times.size):
            squares[phase[i]] += (inputs[i, j] - offset[j, phase[i]]) ** 2
        for k in range(phases):
            # A job that starts a few minutes early some days widens its neighbours, too.
            before, after = (k - 1) % phases, (k + 1) % phases
            near = squares[before] + squares[k] + squares[after]
            rows = counts[before] + counts[k] + counts[after]
            widening[j, k] = max(1.0, 2.0 * math.sqrt(near / max(rows, 1.0)))


@compiled(
    types.void(_TIMES, _MATRIX, types.int64, types.int64, _SINGLES, _SINGLES, _OUT),
    error_model="numpy",
)
def take_off(
    times: Any, inputs: Any, period: int, phases: int, offset: Any, widening: Any, out: Any
) -> None:
    """Write (n, inputs) as differences from their phase's offset, in units of its widening."""
    for i in range(times.size):
        phase = phase_of(times[i], period, phases)
        for j in range(inputs.shape[1]):
            out[i, j] = (inputs[i, j] - offset[j, phase]) / widening[j, phase]


@compiled(types.void(_TIMES, _MATRIX, types.int64, types.int64, types.float64[::1]))
def lay_on_grid(
    times: Any, inputs: Any, column: int, frequency: int, grid: Any
) -> None:  # pragma: no cover
    """Write one of (n, inputs) inputs, less its mean, to a grid of one place per expected row.

    Parameters
    ----------
    times, inputs
        (n,) microseconds since 1970, ascending, and (n, inputs).
    column
        Which of the inputs.
    frequency
        Expected microseconds between two rows.
    grid
        Filled with 0 before. Of several rows with one place the last one counts.
    """
    values = inputs[:, column].copy()
    mean = sum_of(values, 0, values.size) / values.size
    for i in range(values.size):
        grid[(times[i] - times[0] + frequency // 2) // frequency] = values[i] - mean


@compiled(types.int64(types.float64[::1], types.int64, types.int64))
def first_peak(sums: Any, rows: int, shortest: int) -> int:  # pragma: no cover
    """Return the first lag at which the mean product peaks nearly as high as anywhere, or 0.

    Multiples of a period peak as high as itself.

    Parameters
    ----------
    sums
        (lags,) products of (rows,) values and those a lag later, added up; overwritten.
    rows
        Values in all, more than lags.
    shortest
        Lag from which a peak counts, ≥ 1.
    """
    for lag in range(sums.size):
        sums[lag] /= rows - lag
    first, highest = 0, -math.inf
    for lag in range(shortest, sums.size - 1):
        if sums[lag] > sums[lag - 1] and sums[lag] >= sums[lag + 1]:
            first = first or lag
            highest = max(highest, sums[lag])
    for lag in range(max(first, 1), sums.size - 1):
        if sums[lag] > sums[lag - 1] and sums[lag] >= max(sums[lag + 1], 0.9 * highest):
            return lag
    return first
