"""The arithmetic of a host's rows: each one depends on the `REACH` rows before it and nothing else.

So the bits of a row are the same wherever a batch starts, as long as these come with it.
"""

import math
from typing import Any

from anomaly_platform.ml.compiled import compiled
from anomaly_platform.ml.host_model.reach import AVERAGED, FILLED, LAGS

#: No error counts for more standard deviations.
_MOST_FAR = 1e9
#: How many times the usual time rows may take before there is a gap between them.
_MOST_APART = 2.0


@compiled(error_model="numpy")
def standardise(
    rows: Any, centres: Any, scales: Any, limit: float, filled: Any
) -> None:  # pragma: no cover
    """Write the (n, k) rows in units of their metric, within ±`limit`.

    What is missing is the newest reading of the `FILLED` rows before it, else what is usual, 0.
    """
    for j in range(rows.shape[1]):
        newest, age = 0.0, FILLED
        for i in range(rows.shape[0]):
            age += 1
            if not math.isnan(rows[i, j]):
                x = (rows[i, j] - centres[j]) / scales[j]
                newest, age = min(max(x, -limit), limit), 0
            filled[i, j] = newest if age <= FILLED else 0.0


@compiled(error_model="numpy")
def project(filled: Any, projection: Any, factors: Any) -> None:  # pragma: no cover
    """Write (n, m) factors of the (n, k) rows; `projection` is (k, m)."""
    for i in range(filled.shape[0]):
        for a in range(projection.shape[1]):
            factors[i, a] = 0.0
        for j in range(projection.shape[0]):
            for a in range(projection.shape[1]):
                factors[i, a] += filled[i, j] * projection[j, a]


@compiled(error_model="numpy")
def errors_of(
    times: Any,
    rows: Any,
    factors: Any,
    spacing: float,
    centres: Any,
    scales: Any,
    weights: Any,
    out: Any,
) -> None:  # pragma: no cover
    """Write how far each metric lies from what the `LAGS` rows before let expect, in its units.

    Parameters
    ----------
    times, rows
        (n,) microseconds since 1970; (n, k) readings, NaN where one is missing.
    factors
        (n, m) what predicts.
    spacing
        Usual microseconds between rows.
    centres, scales
        (k,) of the metrics.
    weights
        (1 + `LAGS` m, k), those of the constant first, then of the row before, and so on.
    out
        (n, k), filled; NaN for missing readings, and for rows after a gap.
    """
    metrics, number = rows.shape[1], factors.shape[1]
    for i in range(rows.shape[0]):
        if i < LAGS or times[i] - times[i - LAGS] > _MOST_APART * LAGS * spacing:
            for j in range(metrics):
                out[i, j] = math.nan
            continue
        for j in range(metrics):
            out[i, j] = weights[0, j]
        for lag in range(1, LAGS + 1):
            for a in range(number):
                x, place = factors[i - lag, a], 1 + (lag - 1) * number + a
                for j in range(metrics):
                    out[i, j] += x * weights[place, j]
        for j in range(metrics):
            error = abs((rows[i, j] - centres[j]) / scales[j] - out[i, j])
            out[i, j] = error if not error > _MOST_FAR else _MOST_FAR


@compiled(error_model="numpy")
def averages(times: Any, errors: Any, spacing: float, out: Any) -> None:  # pragma: no cover
    """Write the means of the (n, k) errors over the last `AVERAGED` rows, their own included.

    Errors from before a gap do not count. NaN where a metric has no reading, and where fewer than
    half of the rows have an error.
    """
    longest = _MOST_APART * AVERAGED * spacing
    for i in range(errors.shape[0]):
        first = max(i - AVERAGED + 1, 0)
        while times[i] - times[first] > longest:
            first += 1
        for j in range(errors.shape[1]):
            total, count = 0.0, 0
            for r in range(first, i + 1):
                if not math.isnan(errors[r, j]):
                    total += errors[r, j]
                    count += 1
            known = 2 * count >= AVERAGED and not math.isnan(errors[i, j])
            out[i, j] = total / count if known else math.nan
