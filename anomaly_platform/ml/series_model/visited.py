"""Which ranges a series has visited: a bit for each, and a few numbers, whatever the series' age.

What belongs here: the state, its beginning in the training rows, and what a reading makes of it.
What is made of a reading in a range that was never visited is decided where readings are scored.

The range of the first readings is cut into parts of one width, and the parts go on beyond it. A
reading in a part that no earlier one was in is novel; from then on the part is known. After a call
a further novel reading is none for a while, and its part is known all the same. A series that goes
on in one direction, as a trend does, would call once per part. So each further new part on the same
side makes twice as many parts behind it known as the one before: a trend over a hundred parts calls
a few times. Parts further out than `FURTHEST` count as one.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from anomaly_platform.ml.arrays import Arrays, Floats, Ints
from anomaly_platform.ml.bundles.checking import BadModelError, checked
from anomaly_platform.ml.compiled import compiled

#: Into how many parts the range of the first readings is cut.
PARTS: Final = 15
#: Share of the first readings, and of how many at most, for which nothing is called again.
QUIET_SHARE: Final = 0.2
QUIET_ROWS: Final = 750
#: Parts on either side that are told apart.
FURTHEST: Final = 2048
#: At most so many doublings.
_MOST_DOUBLINGS: Final = 6
#: Width of a part where the first readings are all the same, as a share of their size.
_AT_REST: Final = 1e-3
#: Parts whose bits a number of a state holds: as many as a float counts without rounding.
_PER_NUMBER: Final = 52
#: Numbers of a state: lower end and width of the parts, readings of quiet after a call, time of the
#: first reading; then readings that are still quiet, the side of the last new part and how many
#: there were on it; the lowest and the highest known part, and reading; then the bits.
LOW, WIDTH, QUIET, SINCE, WAITS, SIDE, TIMES, LOWEST, HIGHEST, LEAST, MOST = range(11)
BITS: Final = 11
VISITED_SIZE: Final = BITS + -(-(2 * FURTHEST + 1) // _PER_NUMBER)


def nothing_visited() -> Floats:
    """Return the state of a series whose ranges nobody knows: nothing is novel."""
    state = np.zeros(VISITED_SIZE)
    state[LOWEST], state[HIGHEST] = 2 * FURTHEST + 1, -1.0
    return state


def visited_by(first: Floats, since: int = 0) -> Floats:
    """Return the state after the first readings of a series.

    Parameters
    ----------
    first
        (n,) readings, which are learned from; NaN where one is missing.
    since
        Time of the first one, microseconds since 1970.
    """
    state = nothing_visited()
    quiet = round(QUIET_SHARE * min(first.size, QUIET_ROWS))
    # Readings that cannot be written to are another type, compiled once more.
    _begin(state, np.array(first, dtype=np.float64), float(quiet), float(since))
    return state


def parts_of(state: Floats, values: Floats) -> Ints:
    """Return in which part each of (n,) readings lies."""
    # In halves, since the distance of the largest floats is none.
    far = np.floor((values / 2 - state[LOW] / 2) / (state[WIDTH] / 2))
    parts: Ints = np.clip(far, -FURTHEST, FURTHEST).astype(np.int64) + FURTHEST
    return parts


def parts_known(state: Floats) -> int:
    """Return how many parts are known."""
    return sum(int(bits).bit_count() for bits in state[BITS:].tolist())


def read_visited(arrays: Arrays, name: str) -> Floats:
    """Return the state that a bundle has of a series; without one, nothing is novel.

    Raises
    ------
    BadModelError
        When it is no such state.
    """
    if name not in arrays:
        return nothing_visited()
    state: Floats = np.asarray(checked(arrays, name, (VISITED_SIZE,)), dtype=np.float64)
    bits = state[BITS:]
    if not ((bits >= 0.0) & (bits < 2.0**_PER_NUMBER) & (bits == np.floor(bits))).all():
        raise BadModelError(f"the bits of {name} are no whole numbers of {_PER_NUMBER} bits")
    words = bits.astype(np.int64)
    used = np.flatnonzero(words)
    ends = (2.0 * FURTHEST + 1, -1.0)
    if used.size:
        first, last = int(words[used[0]]), int(words[used[-1]])
        low, high = (first & -first).bit_length() - 1, last.bit_length() - 1
        ends = (float(_PER_NUMBER * used[0] + low), float(_PER_NUMBER * used[-1] + high))
    if (state[LOWEST], state[HIGHEST]) != ends or ends[1] > 2 * FURTHEST:
        raise BadModelError(f"the ends of {name} are not those of its bits")
    return state


@compiled(error_model="numpy")
def _is_known(state: Any, part: int) -> bool:  # pragma: no cover
    bits = int(state[BITS + part // _PER_NUMBER])
    return bool((bits >> (part % _PER_NUMBER)) & 1)


@compiled(error_model="numpy")
def _know(state: Any, part: int) -> None:  # pragma: no cover
    if not _is_known(state, part):
        state[BITS + part // _PER_NUMBER] += float(1 << (part % _PER_NUMBER))
    state[LOWEST], state[HIGHEST] = min(state[LOWEST], part), max(state[HIGHEST], part)


@compiled(error_model="numpy")
def _part(state: Any, value: float) -> int:  # pragma: no cover
    # In halves, since the distance of the largest floats is none.
    far = np.floor((value / 2 - state[LOW] / 2) / (state[WIDTH] / 2))
    return int(min(max(far, -FURTHEST), FURTHEST)) + FURTHEST


@compiled(error_model="numpy")
def _begin(state: Any, first: Any, quiet: float, since: float) -> None:  # pragma: no cover
    """Cut the range of the first readings into parts, and know those that they are in."""
    low, high = np.inf, -np.inf
    for value in first:
        if np.isfinite(value):
            low, high = min(low, value), max(high, value)
    if low > high:
        return
    width = high / PARTS - low / PARTS
    if width == 0.0:
        width = _AT_REST * (abs(low) if low != 0.0 else 1.0)
    state[LOW], state[WIDTH], state[QUIET], state[SINCE] = low, width, quiet, since
    state[LEAST], state[MOST] = low, high
    for value in first:
        if np.isfinite(value):
            _know(state, _part(state, value))


@compiled(error_model="numpy")
def _write_bounds(state: Any, part: int, bounds: Any) -> None:  # pragma: no cover
    """Write between which readings a new part lies: of all, or of those around a gap."""
    bounds[0], bounds[1] = state[LEAST], state[MOST]
    if part < state[LOWEST] or part > state[HIGHEST]:
        return
    below = above = part
    while below > 0 and not _is_known(state, below):
        below -= 1
    while above < 2 * FURTHEST and not _is_known(state, above):
        above += 1
    bounds[0] = state[LOW] + (below + 1 - FURTHEST) * state[WIDTH]
    bounds[1] = state[LOW] + (above - FURTHEST) * state[WIDTH]


@compiled(error_model="numpy")
def visit(state: Any, value: float, bounds: Any) -> bool:  # pragma: no cover
    """Take a reading in, and return whether it is a call.

    Parameters
    ----------
    state
        (`VISITED_SIZE`,), changed in place.
    value
        The reading, NaN where it is missing.
    bounds
        Filled for a call: the lowest and the highest reading before, or the gap that it lies in.
    """
    if not state[WIDTH] > 0.0:
        return False
    state[WAITS] = max(state[WAITS] - 1.0, 0.0)
    if not np.isfinite(value):
        return False
    part = _part(state, value)
    if _is_known(state, part):
        state[LEAST], state[MOST] = min(state[LEAST], value), max(state[MOST], value)
        return False
    call = state[WAITS] == 0.0
    if call:
        state[WAITS] = state[QUIET] + 1.0
        _write_bounds(state, part, bounds)
    state[LEAST], state[MOST] = min(state[LEAST], value), max(state[MOST], value)
    side = 0.0
    if part > state[HIGHEST]:
        side = 1.0
    elif part < state[LOWEST]:
        side = -1.0
    more = 0
    if side != 0.0:
        state[TIMES] = state[TIMES] + 1.0 if side == state[SIDE] else 0.0
        state[SIDE] = side
        more = 2 ** int(min(state[TIMES], _MOST_DOUBLINGS)) - 1
    for k in range(more + 1):
        _know(state, min(max(part + int(side) * k, 0), 2 * FURTHEST))
    return bool(call)
