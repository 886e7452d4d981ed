"""Compiled arithmetic of the sequence model: a row's bits depend on nothing but the row.

Every sum has one order, no multiplication is fused with an addition, and the exponential of single
precision is made of nothing else. So a row gets the same bits in any company, on any number of
threads and with vectors of any width. A BLAS promises none of that: it sums in another order when
the product has another number of rows. Imports numba.
"""

import math
from typing import Any

import numpy as np
from numba import types

from anomaly_platform.ml.compiled import compiled
from anomaly_platform.ml.detectors.sequence_lstm.architecture import (
    BACKGROUND_SCALE,
    BACKGROUND_WEIGHT,
    LOG_SIGMA_MAX,
    LOG_SIGMA_MIN,
)
from anomaly_platform.ml.detectors.sequence_lstm.events import (
    ABSENT,
    SHORTEST_ELAPSED_HOURS,
    UNKNOWN,
)

PROBABILITY_FLOOR = 1e-7
"""No categorical surprise exceeds −log of this: what never happened is not infinitely unlikely."""
LAYER_NORM_EPSILON = 1e-5
LONGEST_LOG_HOURS = 20.0

_SINGLE = np.float32
_ZERO, _ONE, _TWO = _SINGLE(0.0), _SINGLE(1.0), _SINGLE(2.0)
_EPSILON = _SINGLE(LAYER_NORM_EPSILON)
_HIGHEST = _SINGLE(-math.log(PROBABILITY_FLOOR))
_LOG_TAU = math.log(2.0 * math.pi)
_FAR, _LOG2_E = _SINGLE(60.0), _SINGLE(math.log2(math.e))
_TO_WHOLE = _SINGLE(1.5 * 2**23)
"""Added and taken off again, it rounds a number to a whole one."""
_LN_2, _LN_2_REST = _SINGLE(0.693359375), _SINGLE(-2.12194440e-4)
"""The logarithm of 2 in two parts: a small whole number times the first is exact."""
_C0, _C1, _C2 = _SINGLE(1.9875691500e-4), _SINGLE(1.3981999507e-3), _SINGLE(8.3334519073e-3)
_C3, _C4, _C5 = _SINGLE(4.1665795894e-2), _SINGLE(1.6666665459e-1), _SINGLE(5.0000001201e-1)
"""Cephes' polynomial of expf: (exp(r) - 1 - r) / r² for r within ±ln(2) / 2."""

_VECTOR = types.Array(types.float32, 1, "C", readonly=True)
_MATRIX = types.Array(types.float32, 2, "C", readonly=True)
_OFFSETS = types.Array(types.int64, 1, "C", readonly=True)
_HOURS = types.Array(types.float64, 1, "C", readonly=True)
_CODES = types.Array(types.int32, 2, "C", readonly=True)
_OUT, _ROWS = types.float32[::1], types.float32[:, ::1]


@compiled(types.float32(types.float32))
def _exp(x: Any) -> Any:
    """Return exp(x) to a unit in the last place; where x is beyond ±60, exp(±60)."""
    x = min(max(x, -_FAR), _FAR)
    whole = (x * _LOG2_E + _TO_WHOLE) - _TO_WHOLE
    r = (x - whole * _LN_2) - whole * _LN_2_REST
    p = ((((_C0 * r + _C1) * r + _C2) * r + _C3) * r + _C4) * r + _C5
    power = np.int32((np.int32(whole) + np.int32(127)) << np.int32(23)).view(np.float32)
    return (p * (r * r) + r + _ONE) * power


@compiled(types.float32(types.float32), error_model="numpy")
def _sigmoid(x: Any) -> Any:
    return _ONE / (_ONE + _exp(-x))


@compiled(types.float32(types.float32), error_model="numpy")
def _tanh(x: Any) -> Any:
    return _TWO * _sigmoid(_TWO * x) - _ONE


@compiled()
def _exponentials(x: Any, out: Any) -> Any:
    """Write exp(x - max(x)) to out; return the largest x and the sum."""
    top, total = x[0], _ZERO
    for j in range(x.shape[0]):
        top = max(top, x[j])
    for j in range(x.shape[0]):
        out[j] = _exp(x[j] - top)
    for j in range(x.shape[0]):
        total += out[j]
    return top, total


@compiled(types.void(_VECTOR, _MATRIX, _OUT))
def _add_product(x: Any, weight: Any, out: Any) -> None:
    """Add x (k,) times weight (k, m) to out (m,), one product after the other in the order of k.

    Four of them at a time, so that `out` is read and written less often.
    """
    k = 0
    while k + 4 <= weight.shape[0]:
        x0, x1, x2, x3 = x[k], x[k + 1], x[k + 2], x[k + 3]
        for j in range(out.shape[0]):
            first = (out[j] + x0 * weight[k, j]) + x1 * weight[k + 1, j]
            out[j] = (first + x2 * weight[k + 2, j]) + x3 * weight[k + 3, j]
        k += 4
    while k < weight.shape[0]:
        for j in range(out.shape[0]):
            out[j] += x[k] * weight[k, j]
        k += 1


@compiled(_ROWS(_MATRIX, _MATRIX, _VECTOR))
def linear(x: Any, weight: Any, bias: Any) -> Any:
    """Return x (n, k) times weight (k, m) plus bias (m,)."""
    out = np.empty((x.shape[0], weight.shape[1]), dtype=np.float32)
    for row in range(x.shape[0]):
        out[row] = bias
        _add_product(x[row], weight, out[row])
    return out


@compiled(types.void(_MATRIX, types.int64[:, ::1], _ROWS))
def add_rows(table: Any, places: Any, out: Any) -> None:
    """Add rows of a table to each row of out (n, m): those at its places (n, k)."""
    for row in range(out.shape[0]):
        total = out[row]
        for place in places[row]:
            added = table[place]
            for j in range(total.shape[0]):
                total[j] += added[j]


@compiled(_ROWS(_ROWS, _OFFSETS, _MATRIX))
def recur(gates: Any, offsets: Any, weight: Any) -> Any:
    """Run the LSTM over sequences; return its hidden states (n, hidden).

    gates (n, 4 hidden): what each event's inputs add to the gates; overwritten. weight
    (hidden, 4 hidden): what the hidden state adds.
    """
    width = weight.shape[0]
    hidden = np.empty((gates.shape[0], width), dtype=np.float32)
    cell = np.empty(width, dtype=np.float32)
    for sequence in range(offsets.shape[0] - 1):
        cell[:] = _ZERO
        for row in range(offsets[sequence], offsets[sequence + 1]):
            gate, out = gates[row], hidden[row]
            if row > offsets[sequence]:
                _add_product(hidden[row - 1], weight, gate)
            for j in range(width):
                new = _sigmoid(gate[j]) * _tanh(gate[2 * width + j])
                cell[j] = _sigmoid(gate[width + j]) * cell[j] + new
                out[j] = _sigmoid(gate[3 * width + j]) * _tanh(cell[j])
    return hidden


@compiled(_ROWS(_MATRIX, _OFFSETS, types.int64, types.int64), error_model="numpy")
def attend(qkv: Any, offsets: Any, heads: int, span: int) -> Any:
    """Return (n, hidden) what each event reads of the last `span` events up to itself.

    qkv (n, 3 hidden): queries, keys and values side by side, in each of them head after head.
    """
    hidden = qkv.shape[1] // 3
    width = hidden // heads
    scale = _SINGLE(1.0 / math.sqrt(width))
    read = np.zeros((qkv.shape[0], hidden), dtype=np.float32)
    fits, weights = np.empty(span, dtype=np.float32), np.empty(span, dtype=np.float32)
    for sequence in range(offsets.shape[0] - 1):
        for row in range(offsets[sequence], offsets[sequence + 1]):
            first = max(offsets[sequence], row - span + 1)
            used = row - first + 1
            for head in range(0, hidden, width):
                query, out = qkv[row, head : head + width], read[row, head : head + width]
                for past in range(used):
                    key = qkv[first + past, hidden + head : hidden + head + width]
                    total = _ZERO
                    for j in range(width):
                        total += query[j] * key[j]
                    fits[past] = total * scale
                _, total = _exponentials(fits[:used], weights[:used])
                for past in range(used):
                    value = qkv[first + past, 2 * hidden + head : 2 * hidden + head + width]
                    weight = weights[past] / total
                    for j in range(width):
                        out[j] += weight * value[j]
    return read


@compiled(types.void(_ROWS, _VECTOR, _VECTOR), error_model="numpy")
def normalise(x: Any, weight: Any, bias: Any) -> None:
    """Bring each row of x (n, m) to mean 0 and variance 1, then to weight and bias (m,)."""
    width = _SINGLE(x.shape[1])
    for i in range(x.shape[0]):
        row, mean, variance = x[i], _ZERO, _ZERO
        for j in range(row.shape[0]):
            mean += row[j]
        mean /= width
        for j in range(row.shape[0]):
            row[j] -= mean
            variance += row[j] * row[j]
        spread = _SINGLE(math.sqrt(variance / width + _EPSILON))
        for j in range(row.shape[0]):
            row[j] = row[j] / spread * weight[j] + bias[j]


@compiled(
    types.Tuple((_ROWS, _OUT, _OUT))(  # type: ignore[no-untyped-call]
        _MATRIX, _CODES, types.int64, types.float64
    ),
    error_model="numpy",
)
def choose(logits: Any, codes: Any, column: int, unseen: float) -> Any:
    """Return probabilities (n, values), surprise (n,) of what came, and entropy (n,).

    The values that training knew share 1 - unseen, all others have unseen together. What came is a
    column of codes (n, fields).
    """
    rows, values = logits.shape
    p = np.empty((rows, values), dtype=np.float32)
    surprise, entropy = np.zeros(rows, dtype=np.float32), np.empty(rows, dtype=np.float32)
    for row in range(rows):
        fit, share, came = logits[row], p[row], codes[row, column]
        top, total = _exponentials(fit, share)
        known = _SINGLE((1.0 - unseen) / total)
        level = _SINGLE(top - math.log(np.float64(known)))
        mean = _SINGLE(unseen) * min(_SINGLE(-math.log(unseen)), _HIGHEST)
        for j in range(values):
            share[j] *= known
            mean += share[j] * min(level - fit[j], _HIGHEST)
        share[UNKNOWN] = unseen
        entropy[row] = mean
        if came != ABSENT:
            surprise[row] = -math.log(max(share[came], PROBABILITY_FLOOR))
    return p, surprise, entropy


@compiled(_ROWS(_ROWS, _MATRIX, _VECTOR, _HOURS, types.float64, types.float64), error_model="numpy")
def clock(hidden: Any, weight: Any, bias: Any, hours: Any, center: float, scale: float) -> Any:
    """Return (n, 3) −log density of the elapsed hours, its entropy, and the likeliest hours.

    hidden (n, k) before its tanh, overwritten; weight (k, 3 parts) and bias (3 parts,) lead to the
    weights, centres and log widths of a mixture of normals over log hours, standardised by center
    and scale.
    """
    parts = bias.shape[0] // 3
    raw, fit = np.empty(3 * parts, dtype=np.float32), np.empty(parts)
    out = np.empty((hidden.shape[0], 3), dtype=np.float32)
    for row in range(hidden.shape[0]):
        for j in range(hidden.shape[1]):
            hidden[row, j] = _tanh(hidden[row, j])
        raw[:] = bias
        _add_product(hidden[row], weight, raw)
        elapsed = (math.log(hours[row] + SHORTEST_ELAPSED_HOURS) - center) / scale
        top, total = np.float64(raw[:parts].max()), 0.0
        for j in range(parts):
            total += math.exp(raw[j] - top)
        level = top + math.log(total)
        wide = elapsed / BACKGROUND_SCALE
        background = -0.5 * wide * wide + math.log(BACKGROUND_WEIGHT / BACKGROUND_SCALE)
        most, highest, likeliest = background, -np.inf, 0.0
        entropy = 0.5 * (_LOG_TAU + 1.0)
        for j in range(parts):
            log_weight, centre = raw[j] - level, np.float64(raw[parts + j])
            log_sigma = min(max(np.float64(raw[2 * parts + j]), LOG_SIGMA_MIN), LOG_SIGMA_MAX)
            z = (elapsed - centre) * math.exp(-log_sigma)
            peak = log_weight - log_sigma
            fit[j] = peak - 0.5 * z * z + math.log1p(-BACKGROUND_WEIGHT)
            most = max(most, fit[j])
            # The entropy of a mixture is at most that of its parts, plus that of the choice.
            entropy -= math.exp(log_weight) * peak
            if peak > highest:
                highest, likeliest = peak, centre
        density = math.exp(background - most)
        for j in range(parts):
            density += math.exp(fit[j] - most)
        log_hours = likeliest * scale + center
        out[row, 0] = 0.5 * _LOG_TAU - most - math.log(density)
        out[row, 1] = entropy
        out[row, 2] = math.exp(min(max(log_hours, -LONGEST_LOG_HOURS), LONGEST_LOG_HOURS))
    return out
