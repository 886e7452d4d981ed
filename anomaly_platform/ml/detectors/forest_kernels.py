"""Compiled loops of the isolation forest: growing trees and scoring rows.

The layout is a *complete* binary tree of depth 8 for every tree of the forest: node k has the
children 2k+1 and 2k+2, a split sends x <= threshold to the left, and where the grown tree ends
early the threshold is +inf (always left) and all leaves below share one path length. So a row
takes exactly eight comparisons per tree, without pointers and without branches.

Everything is deterministic: random numbers come from a counter-based generator (SplitMix64, Steele,
Lea and Flood 2014) keyed by the seed and the tree, never from global state.
"""

import math
from typing import Any

import numpy as np
from numba import types

from anomaly_platform.ml.compiled import compiled
from anomaly_platform.ml.detectors.forest_descent import (
    DEPTH,
    LEAVES,
    NODES,
    TOGETHER,
    add_lengths,
    descend_upper,
    sum_of_five,
    sum_of_one,
    sum_of_twenty,
)
from anomaly_platform.ml.features.metrics.ordered import mad, quantile

MAX_SAMPLES = LEAVES
BLOCK = 64
#: Rows left over from which on it is faster to let sixteen descend.
_WORTH_FILLING_UP = 8
ROBUST_ROWS = 1024
CONSTANT_STEP = 10.0
#: What `score_rows` returns where all values are good; where rows are of other features.
SCORED, OTHER_WIDTH = -1, -2

CENTRE, INVERSE_SCALE, LOW, HIGH, INVERSE_SPREAD, STEP = range(6)
_U64 = np.uint64
_GOLDEN = _U64(0x9E3779B97F4A7C15)
_MIX_1 = _U64(0xBF58476D1CE4E5B9)
_MIX_2 = _U64(0x94D049BB133111EB)
_ONE = _U64(1)

_MATRIX = types.Array(types.float64, 2, "C", readonly=True)
_FEATURES = types.Array(types.uint8, 2, "C", readonly=True)
_SINGLES = types.Array(types.float32, 2, "C", readonly=True)
_SCORE_SIGNATURE = types.int64(
    _FEATURES, _SINGLES, _SINGLES, _MATRIX, types.float64, _MATRIX, types.float64[::1]
)
_GROW_SIGNATURE = types.void(
    _MATRIX,
    _MATRIX,
    types.uint64,
    types.int64,
    types.uint8[:, ::1],
    types.float32[:, ::1],
    types.float32[:, ::1],
)


@compiled(types.float64(types.int64))
def average_path_length(n: int) -> float:
    """Return the mean depth of an unsuccessful search among n points (Liu, Ting and Zhou 2008)."""
    if n <= 1:
        return 0.0
    if n == 2:
        return 1.0
    return 2.0 * (math.log(n - 1.0) + 0.5772156649015329) - 2.0 * (n - 1.0) / n


@compiled(types.uint64(types.uint64))
def _mix(z: Any) -> Any:
    z = (z ^ (z >> _U64(30))) * _MIX_1
    z = (z ^ (z >> _U64(27))) * _MIX_2
    return z ^ (z >> _U64(31))


@compiled(types.uint64(types.uint64, types.uint64))
def _below(random: Any, bound: Any) -> Any:
    """Map 64 random bits to an integer below ``bound`` (< 2**32)."""
    return ((random >> _U64(32)) * bound) >> _U64(32)


@compiled(types.void(_MATRIX, types.uint64, types.float64[:, ::1]))
def draw_sample(X: Any, seed: Any, sample: Any) -> None:
    """Write rows of ``X`` to the columns of ``sample`` (d, min(n, 1024)): all, or drawn by seed.

    Not every k-th row: that could fall in step with a daily period.
    """
    n, d = X.shape
    size = sample.shape[1]
    key = _mix(seed ^ _U64(0x5CA1E))
    for i in range(size):
        row: Any = i
        if n > size:
            row = np.int64(_below(_mix(key + _U64(i) * _GOLDEN), _U64(n)))
        for j in range(d):
            sample[j, i] = X[row, j]


@compiled(
    types.void(_MATRIX, types.float64[:, ::1], types.float64[:, ::1]),
)
def fit_scaling(X: Any, ordered: Any, scaling: Any) -> None:
    """Write centre, scales and range of every column to ``scaling`` (6, d).

    The range is exact. Median and median absolute deviation come from ``ordered``, the rows of
    `draw_sample`, each sorted: the library's sort is several times faster than a compiled
    median, and one sort serves both.
    """
    n, d = X.shape
    size = ordered.shape[1]
    for j in range(d):
        scaling[LOW, j] = X[0, j]
        scaling[HIGH, j] = X[0, j]
    for i in range(1, n):
        for j in range(d):
            x = X[i, j]
            scaling[LOW, j] = min(scaling[LOW, j], x)
            scaling[HIGH, j] = max(scaling[HIGH, j], x)
    for j in range(d):
        low, high = scaling[LOW, j], scaling[HIGH, j]
        centre = quantile(ordered[j], size, 0.5)
        robust = 1.4826 * mad(ordered[j], size, centre)
        # Rounding may move a value by some ulps between one computation and the next.
        slack = 1e-9 * max(abs(low), abs(high))
        width = 0.1 * high - 0.1 * low
        scaling[CENTRE, j] = centre
        scaling[LOW, j] = low - slack
        scaling[HIGH, j] = high + slack
        if high - low <= slack:
            magnitude = abs(centre)
            scaling[INVERSE_SCALE, j] = 1.0 / magnitude if magnitude > 1e-300 else 1.0
            scaling[INVERSE_SPREAD, j] = scaling[INVERSE_SCALE, j]
            scaling[STEP, j] = CONSTANT_STEP
            continue
        spread = max(robust, width) if robust < math.inf else width
        scale = robust if 0.01 * width < robust < math.inf else width
        scaling[INVERSE_SCALE, j] = 1.0 / max(scale, 1e-300)
        scaling[INVERSE_SPREAD, j] = 1.0 / max(spread, 1e-300)
        scaling[STEP, j] = 0.0


@compiled(types.int64(_MATRIX, _MATRIX, types.float64, types.int64[::1]))
def find_far_rows(X: Any, scaling: Any, deviation: float, found: Any) -> int:
    """Write the rows of which a value is so many robust deviations off; return how many there are.

    ``found`` has room for all rows.
    """
    count = 0
    for i in range(X.shape[0]):
        for j in range(X.shape[1]):
            if abs((X[i, j] - scaling[CENTRE, j]) * scaling[INVERSE_SCALE, j]) >= deviation:
                found[count] = i
                count += 1
                break
    return count


@compiled(_GROW_SIGNATURE)
def grow_forest(  # noqa: C901, PLR0912, PLR0915 - one compiled loop nest
    X: Any, scaling: Any, seed: Any, samples: int, feature: Any, threshold: Any, path: Any
) -> None:
    """Grow one tree per row of ``feature``, as ExtraTree does with one random feature per split.

    Each tree sees ``samples`` rows drawn without replacement. A node is split at a uniform point
    of the range of a random feature that is not constant in it, until depth 8 or one row is left.
    """
    n, d = X.shape
    scaled = np.empty((n, d), dtype=np.float32)
    for i in range(n):
        for j in range(d):
            scaled[i, j] = np.float32((X[i, j] - scaling[CENTRE, j]) * scaling[INVERSE_SCALE, j])
    lengths = np.empty((DEPTH + 1, samples + 1), dtype=np.float32)
    for count in range(samples + 1):
        beyond = average_path_length(count)
        for depth in range(DEPTH + 1):
            lengths[depth, count] = np.float32(depth + beyond)
    order = np.arange(n).astype(np.int32)
    columns = np.empty((d, samples), dtype=np.float32)
    # Indices are unsigned: without a sign there is no wrapping of negative ones to check for.
    rows = np.empty(samples, dtype=np.uint32)
    spare = np.empty(samples, dtype=np.uint32)
    begin = np.zeros(NODES + LEAVES, dtype=np.int32)
    end = np.zeros(NODES + LEAVES, dtype=np.int32)
    choice = np.arange(d).astype(np.int32)
    for tree in range(feature.shape[0]):
        state = _mix(_mix(seed) + _U64(tree + 1) * _GOLDEN)
        for k in range(samples):
            state += _GOLDEN
            other = k + np.int64(_below(_mix(state), _U64(n - k)))
            row = order[other]
            order[other] = order[k]
            order[k] = row
            for j in range(d):
                columns[j, k] = scaled[row, j]
            rows[k] = k
        feature[tree, :] = 0
        threshold[tree, :] = np.inf
        begin[:] = 0
        end[:] = 0
        end[0] = samples
        for depth in range(DEPTH + 1):
            first = (1 << depth) - 1
            for node in range(first, 2 * first + 1):
                start, stop = _U64(begin[node]), _U64(end[node])
                held = stop - start
                if held == 0:
                    continue
                split = False
                low, high, column = np.float32(0), np.float32(0), 0
                if held > 1 and depth < DEPTH:
                    left = d
                    while left > 0 and not split:
                        state += _GOLDEN
                        pick = np.int64(_below(_mix(state), _U64(left)))
                        column = choice[pick]
                        left -= 1
                        choice[pick] = choice[left]
                        choice[left] = column
                        values = columns[column]
                        low = values[rows[start]]
                        high = low
                        for k in range(start + _ONE, stop):
                            x = values[rows[k]]
                            low = x if x < low else low
                            high = x if x > high else high
                        split = bool(high > low + np.float32(1e-7))
                if not split:
                    width = 1 << (DEPTH - depth)
                    leaf = (node - first) * width
                    path[tree, leaf : leaf + width] = lengths[depth, held]
                    continue
                state += _GOLDEN
                uniform = np.float64(_mix(state) >> _U64(11)) * 2.0**-53
                cut = np.float32(low + uniform * (np.float64(high) - low))
                if cut >= high:
                    cut = low
                values = columns[column]
                kept, after = start, stop
                if depth == DEPTH - 1:
                    # Of the leaves below, the number of rows is all that is asked.
                    for k in range(start, stop):
                        kept += _U64(values[rows[k]] <= cut)
                else:
                    # From both ends, in whatever order: a node asks for the ends of its values. And
                    # without a branch, which would be guessed wrongly every other time.
                    for k in range(start, stop):
                        row = rows[k]
                        stays = _U64(values[row] <= cut)
                        spare[kept] = row
                        spare[after - _ONE] = row
                        kept += stays
                        after -= _ONE - stays
                feature[tree, node] = column
                threshold[tree, node] = cut
                begin[2 * node + 1], end[2 * node + 1] = start, kept
                begin[2 * node + 2], end[2 * node + 2] = kept, stop
            rows, spare = spare, rows


@compiled(_SCORE_SIGNATURE)
def score_rows(  # noqa: C901, PLR0912 - one compiled loop nest
    feature: Any,
    threshold: Any,
    path: Any,
    scaling: Any,
    normaliser: float,
    X: Any,
    out: Any,
) -> int:
    """Write raw scores to ``out``; return `SCORED`, or the flat position of the first bad value.

    Rows of another number of features than the forest's are not scored: `OTHER_WIDTH`.

    Rows go in blocks of 64, so that a tree stays in the first-level cache for a block, and sixteen
    rows descend a tree side by side: feature by feature the sixteen lie together. A row that is
    left over descends twenty trees side by side; where many are, sixteen go as if there were as
    many. A row's sums are its own, in the order of the trees: alone or in a batch it gets the same
    bits.
    """
    n, d = X.shape
    if d != scaling.shape[1]:
        return OTHER_WIDTH
    room = min(n, BLOCK)
    room += -room % TOGETHER
    singles, doubles = np.empty(room * (d + 1), dtype=np.float32), np.empty(2 * room)
    scaled, reached = singles[: room * d], singles[room * d :].view(np.uint32)
    depth, excess = doubles[:room], doubles[room:]
    splits, cuts, lengths = feature.ravel(), threshold.ravel(), path.ravel()
    trees = feature.shape[0]
    for start in range(0, n, BLOCK):
        m = min(BLOCK, n - start)
        together = m if m % TOGETHER >= _WORTH_FILLING_UP else m - m % TOGETHER
        for r in range(m):
            depth[r] = 0.0
            beyond = 0.0
            place, step = r * d, 1
            if r < together:
                place, step = (r - r % TOGETHER) * d + r % TOGETHER, TOGETHER
            for j in range(d):
                x = X[start + r, j]
                if not math.isfinite(x):
                    return int((start + r) * d + j)
                scaled[place + j * step] = np.float32(
                    (x - scaling[CENTRE, j]) * scaling[INVERSE_SCALE, j]
                )
                outside = max(scaling[LOW, j] - x, x - scaling[HIGH, j])
                if outside > 0.0:
                    beyond += scaling[STEP, j] + outside * scaling[INVERSE_SPREAD, j]
            excess[r] = beyond
        if together:
            for tree in range(trees):
                split = splits[tree * NODES : (tree + 1) * NODES]
                cut = cuts[tree * NODES : (tree + 1) * NODES]
                length = lengths[tree * LEAVES : (tree + 1) * LEAVES]
                descend_upper(scaled, d, split, cut, -(-together // TOGETHER), reached)
                for r in range(0, together, TOGETHER):
                    x = scaled[r * d : (r + TOGETHER) * d]
                    add_lengths(x, split, cut, length, reached[r:], depth[r:])
        for r in range(together, m):
            x = scaled[r * d : (r + 1) * d]
            total, tree = 0.0, 0
            while tree + 20 <= trees:
                total = sum_of_twenty(x, splits, cuts, lengths, tree, total)
                tree += 20
            while tree + 5 <= trees:
                total = sum_of_five(x, splits, cuts, lengths, tree, total)
                tree += 5
            while tree < trees:
                total = sum_of_one(x, splits, cuts, lengths, tree, total)
                tree += 1
            depth[r] = total
        for r in range(m):
            score = 2.0 ** (-depth[r] / normaliser)
            if excess[r] > 0.0:
                score += 1.0 + math.log1p(min(excess[r], 1e300))
            out[start + r] = score
    return SCORED
