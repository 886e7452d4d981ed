"""Order statistics of a sorted window: keeping it sorted from row to row, quantiles, MAD.

Compiled, on plain arrays of which the first `size` entries are in use; `kernels` says which rows
a window holds.
"""

from anomaly_platform.ml.arrays import Floats
from anomaly_platform.ml.compiled import compiled


@compiled()
def position(ordered: Floats, size: int, value: float) -> int:  # pragma: no cover
    """First index of `ordered[:size]` whose entry is not below `value`, found without branches."""
    at = 0
    while size > 0:
        half = (size + 1) >> 1
        at += half * (ordered[at + half - 1] < value)
        size -= half
    return at


@compiled()
def insert(ordered: Floats, size: int, value: float) -> None:  # pragma: no cover
    """Insert a value into `ordered[:size]`, whose array has room for it."""
    k = position(ordered, size, value)
    for i in range(size, k, -1):
        ordered[i] = ordered[i - 1]
    ordered[k] = value


@compiled()
def remove(ordered: Floats, size: int, value: float) -> None:  # pragma: no cover
    """Remove a value that `ordered[:size]` holds."""
    k = position(ordered, size, value)
    for i in range(k, size - 1):
        ordered[i] = ordered[i + 1]


@compiled()
def replace(ordered: Floats, size: int, old: float, new: float) -> None:  # pragma: no cover
    """Remove one value and insert another, moving only what lies between the two."""
    k = position(ordered, size, old)
    p = position(ordered, size, new)
    if p > k:
        moved = ordered[k + 1 : p]
        target = ordered[k:p]
        for i in range(moved.size):
            target[i] = moved[i]
        ordered[p - 1] = new
    else:
        for i in range(k, p, -1):
            ordered[i] = ordered[i - 1]
        ordered[p] = new


@compiled()
def quantile(ordered: Floats, size: int, q: float) -> float:  # pragma: no cover
    """Linear-interpolation quantile of a sorted array, as NumPy's default."""
    place = q * (size - 1)
    k = int(place)
    rest = place - k
    if rest == 0.0:
        return float(ordered[k])
    return float(ordered[k] * (1.0 - rest) + ordered[k + 1] * rest)


@compiled()
def _nth_deviation(
    ordered: Floats, size: int, centre: float, split: int, n: int
) -> float:  # pragma: no cover
    """Return the n-th smallest (from 0) |x − centre|; `split` = entries below the centre.

    The deviations left of the centre and right of it are two sorted lists: a binary search for
    how many of the n + 1 smallest lie left finds the answer in a logarithmic number of steps.
    """
    right = size - split
    lo = max(0, n + 1 - right)
    hi = min(split, n + 1)
    while lo < hi:
        left_taken = (lo + hi) >> 1
        # One more from the left is right as long as it is nearer than the last taken right.
        if centre - ordered[split - 1 - left_taken] < ordered[split + n - left_taken] - centre:
            lo = left_taken + 1
        else:
            hi = left_taken
    result: float = 0.0
    if lo > 0:
        result = centre - ordered[split - lo]
    if n + 1 - lo > 0:
        result = max(result, ordered[split + n - lo] - centre)
    return result


@compiled()
def mad(ordered: Floats, size: int, centre: float) -> float:  # pragma: no cover
    """Median absolute deviation of `ordered[:size]` from its median `centre`."""
    split = position(ordered, size, centre)
    upper = _nth_deviation(ordered, size, centre, split, size // 2)
    if size % 2 == 1:
        return upper
    lower = _nth_deviation(ordered, size, centre, split, size // 2 - 1)
    return 0.5 * lower + 0.5 * upper
