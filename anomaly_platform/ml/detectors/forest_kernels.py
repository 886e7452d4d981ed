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
from numba import njit, types

DEPTH = 8
NODES = 2**DEPTH - 1
LEAVES = 2**DEPTH
MAX_SAMPLES = 2**DEPTH
BLOCK = 64
ROBUST_ROWS = 1024
CONSTANT_STEP = 10.0

CENTRE, INVERSE_SCALE, LOW, HIGH, INVERSE_SPREAD, STEP = range(6)
SCALING_ROWS = 6

_U64 = np.uint64
_GOLDEN = _U64(0x9E3779B97F4A7C15)
_MIX_1 = _U64(0xBF58476D1CE4E5B9)
_MIX_2 = _U64(0x94D049BB133111EB)
_ONE = _U64(1)
_FIRST_LEAF = _U64(NODES)

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


@njit(types.float64(types.int64), cache=True, nogil=True)
def average_path_length(n: int) -> float:
    """Return the mean depth of an unsuccessful search among n points (Liu, Ting and Zhou 2008)."""
    if n <= 1:
        return 0.0
    if n == 2:
        return 1.0
    return 2.0 * (math.log(n - 1.0) + 0.5772156649015329) - 2.0 * (n - 1.0) / n


@njit(types.uint64(types.uint64), cache=True, nogil=True)
def _mix(z: Any) -> Any:
    z = (z ^ (z >> _U64(30))) * _MIX_1
    z = (z ^ (z >> _U64(27))) * _MIX_2
    return z ^ (z >> _U64(31))


@njit(types.uint64(types.uint64, types.uint64), cache=True, nogil=True)
def _below(random: Any, bound: Any) -> Any:
    """Map 64 random bits to an integer below ``bound`` (< 2**32)."""
    return ((random >> _U64(32)) * bound) >> _U64(32)


@njit(types.void(_MATRIX, types.uint64, types.float64[:, ::1]), cache=True, nogil=True)
def fit_scaling(X: Any, seed: Any, scaling: Any) -> None:
    """Write centre, scales and range of every column to ``scaling`` (6, d).

    The range is exact. Median and median absolute deviation come from at most 1,024 rows drawn by
    the seed, not from every k-th row, which could fall in step with a daily period.
    """
    n, d = X.shape
    size = min(n, ROBUST_ROWS)
    sample = np.empty(size)
    key = _mix(seed ^ _U64(0x5CA1E))
    for j in range(d):
        low, high = X[0, j], X[0, j]
        for i in range(1, n):
            x = X[i, j]
            low = min(low, x)
            high = max(high, x)
        for i in range(size):
            if n > size:
                sample[i] = X[np.int64(_below(_mix(key + _U64(i) * _GOLDEN), _U64(n))), j]
            else:
                sample[i] = X[i, j]
        centre = np.median(sample)
        for i in range(size):
            sample[i] = abs(sample[i] - centre)
        robust = 1.4826 * np.median(sample)
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


@njit(_GROW_SIGNATURE, cache=True, nogil=True)
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
    for depth in range(DEPTH + 1):
        for count in range(samples + 1):
            lengths[depth, count] = np.float32(depth + average_path_length(count))
    order = np.arange(n).astype(np.int32)
    columns = np.empty((d, samples), dtype=np.float32)
    rows = np.empty(samples, dtype=np.int32)
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
                count = end[node] - begin[node]
                if count == 0:
                    continue
                split = False
                low, high, column = np.float32(0), np.float32(0), 0
                if count > 1 and depth < DEPTH:
                    left = d
                    while left > 0 and not split:
                        state += _GOLDEN
                        pick = np.int64(_below(_mix(state), _U64(left)))
                        column = choice[pick]
                        left -= 1
                        choice[pick] = choice[left]
                        choice[left] = column
                        values = columns[column]
                        low = values[rows[begin[node]]]
                        high = low
                        for k in range(begin[node] + 1, end[node]):
                            x = values[rows[k]]
                            low = min(low, x)
                            high = max(high, x)
                        split = bool(high > low + np.float32(1e-7))
                if not split:
                    width = 1 << (DEPTH - depth)
                    leaf = (node - first) * width
                    path[tree, leaf : leaf + width] = lengths[depth, count]
                    continue
                state += _GOLDEN
                uniform = np.float64(_mix(state) >> _U64(11)) * 2.0**-53
                cut = np.float32(low + uniform * (np.float64(high) - low))
                if cut >= high:
                    cut = low
                values = columns[column]
                i, k = begin[node], end[node]
                while i < k:
                    if values[rows[i]] <= cut:
                        i += 1
                    else:
                        k -= 1
                        rows[i], rows[k] = rows[k], rows[i]
                feature[tree, node] = column
                threshold[tree, node] = cut
                begin[2 * node + 1], end[2 * node + 1] = begin[node], i
                begin[2 * node + 2], end[2 * node + 2] = i, end[node]


@njit(_SCORE_SIGNATURE, cache=True, nogil=True)
def score_rows(  # noqa: C901 - one compiled loop nest
    feature: Any,
    threshold: Any,
    path: Any,
    scaling: Any,
    normaliser: float,
    X: Any,
    out: Any,
) -> int:
    """Write raw scores to ``out``; return the flat position of the first bad value, or -1.

    Rows go in blocks of 64, so that a tree stays in the first-level cache for a block, and four
    rows descend a tree side by side, so that their loads overlap. A row's sums are its own, in
    the order of the trees: alone or in a batch it gets the same bits.
    """
    n, d = X.shape
    block = min(n, BLOCK)
    scaled = np.empty(block * d, dtype=np.float32)
    depth = np.empty(block)
    excess = np.empty(block)
    splits, cuts, lengths = feature.ravel(), threshold.ravel(), path.ravel()
    for start in range(0, n, BLOCK):
        m = min(BLOCK, n - start)
        for r in range(m):
            depth[r] = 0.0
            beyond = 0.0
            for j in range(d):
                x = X[start + r, j]
                if not math.isfinite(x):
                    return int((start + r) * d + j)
                scaled[r * d + j] = np.float32((x - scaling[CENTRE, j]) * scaling[INVERSE_SCALE, j])
                outside = max(scaling[LOW, j] - x, x - scaling[HIGH, j])
                if outside > 0.0:
                    beyond += scaling[STEP, j] + outside * scaling[INVERSE_SPREAD, j]
            excess[r] = beyond
        for tree in range(feature.shape[0]):
            root = _U64(tree * NODES)
            leaves = _U64(tree * LEAVES)
            r = 0
            while r + 4 <= m:
                x0 = _U64(r * d)
                x1, x2, x3 = x0 + _U64(d), x0 + _U64(2 * d), x0 + _U64(3 * d)
                n0, n1, n2, n3 = _U64(0), _U64(0), _U64(0), _U64(0)
                for _ in range(DEPTH):
                    k0, k1, k2, k3 = root + n0, root + n1, root + n2, root + n3
                    n0 += n0 + _ONE + _U64(scaled[x0 + _U64(splits[k0])] > cuts[k0])
                    n1 += n1 + _ONE + _U64(scaled[x1 + _U64(splits[k1])] > cuts[k1])
                    n2 += n2 + _ONE + _U64(scaled[x2 + _U64(splits[k2])] > cuts[k2])
                    n3 += n3 + _ONE + _U64(scaled[x3 + _U64(splits[k3])] > cuts[k3])
                depth[r] += lengths[leaves + n0 - _FIRST_LEAF]
                depth[r + 1] += lengths[leaves + n1 - _FIRST_LEAF]
                depth[r + 2] += lengths[leaves + n2 - _FIRST_LEAF]
                depth[r + 3] += lengths[leaves + n3 - _FIRST_LEAF]
                r += 4
            while r < m:
                x0 = _U64(r * d)
                n0 = _U64(0)
                for _ in range(DEPTH):
                    k0 = root + n0
                    n0 += n0 + _ONE + _U64(scaled[x0 + _U64(splits[k0])] > cuts[k0])
                depth[r] += lengths[leaves + n0 - _FIRST_LEAF]
                r += 1
        for r in range(m):
            score = 2.0 ** (-depth[r] / normaliser)
            if excess[r] > 0.0:
                score += 1.0 + math.log1p(min(excess[r], 1e300))
            out[start + r] = score
    return -1
