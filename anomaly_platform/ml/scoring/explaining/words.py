"""An explanation as a sentence for whoever is on duty."""

from __future__ import annotations

import math
from enum import IntEnum
from functools import lru_cache

import numpy as np

from anomaly_platform.ml.arrays import Bools, Ints
from anomaly_platform.ml.features.metrics.layout import FeatureLayout
from anomaly_platform.ml.scoring.explaining.numbers import (
    LEVEL,
    NEITHER,
    RUNS,
    SEASON,
    Explanation,
)
from anomaly_platform.ml.scoring.reasons import clock_of, duration
from anomaly_platform.ml.written import as_bound, as_given

#: Beyond so many halves of the range's width the number says nothing more.
_MOST = 1e6


class Role(IntEnum):
    """As what a reading is told."""

    ANOMALY = 0
    #: Below the threshold, but somebody is told of it.
    CALL = 1
    #: Neither, but named as a cause of its host's score.
    CAUSE = 2


def roles_of(flagged: Bools) -> Ints:
    """Return (n,) roles of readings of which those that are not flagged are calls."""
    return np.where(flagged, Role.ANOMALY, Role.CALL).astype(np.int64)


def sentence(
    value: float,
    found: Explanation,
    layout: FeatureLayout,
    time: int | None = None,
    role: Role = Role.ANOMALY,
) -> str:
    """Return in words why a reading is unusual.

    Parameters
    ----------
    value
        The reading.
    found
        Its explanation.
    layout
        What the features are.
    time
        Of the reading, microseconds since 1970, where what is expected depends on it.
    role
        As what it is told.

    Examples
    --------
    >>> told = Explanation(12.0, 40.0, 4.793, "above", True, 1500.0, False, {"level": 1.0})
    >>> sentence(93.1, told, FeatureLayout(), 52_200_000_000)
    '93.1, expected 12 to 40 at 14:30 UTC; 4.8 times its usual spread above; for at least \
25 min; mostly by how far it lies from its usual level'
    >>> moved = Explanation(17.0, 23.0, 0.2, "none", True, None, True, {"level": 1.0})
    >>> sentence(20.1, moved, FeatureLayout())
    '20.1, usual is 17 to 23; unusual is what came before, mostly how far it lies from its level \
in training'
    """
    clock = "" if time is None else f" at {clock_of(time)}"
    written, usual = as_given(value), f"{expected(found, value)}{clock}"
    most = mostly(found, layout)
    if found.direction == NEITHER and role != Role.CAUSE:
        return f"{written}, usual is {usual}; unusual is {_before(found, layout, most)}"
    if found.direction == NEITHER:
        said = [f"{written}, by itself as expected ({usual})"]
    else:
        said = [f"{written}, expected {usual}"]
        if found.expected_low < found.expected_high:
            said.append(_how_far(found))
        if not found.lasting:
            said.append("a single reading")
        elif found.lasted_s:
            said.append(f"for at least {duration(1e6 * found.lasted_s)}")
    if role == Role.CAUSE:
        said.append("among the most unusual metrics of its host at that time")
    if most:
        said.append(f"mostly by {most}")
    return "; ".join(said)


def _before(found: Explanation, layout: FeatureLayout, most: str | None) -> str:
    """Return what is unusual of a reading whose value is not."""
    if found.still:
        return f"that it has not moved for {_window(layout.windows[0], layout)}"
    return "what came before" if most is None else f"what came before, mostly {most}"


def _how_far(found: Explanation) -> str:
    if found.deviation < 1.05:
        return f"just {found.direction}"
    return f"{_times(found.deviation)} its usual spread {found.direction}"


def _times(deviation: float) -> str:
    if deviation >= _MOST:
        return "over a million times"
    return f"{deviation:.2g} times" if deviation < 10.0 else f"{deviation:.0f} times"


def expected(found: Explanation, value: float) -> str:
    """Return the expected range of a reading in words.

    Examples
    --------
    >>> expected(Explanation(-math.inf, 40.0, 2.0, "above", False, 0.0), 80.0)
    'at most 40'
    >>> expected(Explanation(0.0, 0.0, 2.0, "above", False, 0.0), 1.0)
    '0'
    """
    low, high = found.expected_low, found.expected_high
    if math.isinf(low) and math.isinf(high):
        return "any value"
    if math.isinf(low):
        return f"at most {as_bound(high, value, 4)}"
    if math.isinf(high):
        return f"at least {as_bound(low, value, 4)}"
    if low == high:
        return as_bound(low, value, 6)
    # As many digits as tell the ends apart.
    digits = 3 + max(0, math.ceil(math.log10(max(abs(low), abs(high)) / (high - low))))
    return f"{as_bound(low, value, digits)} to {as_bound(high, value, digits)}"


def mostly(found: Explanation, layout: FeatureLayout) -> str | None:
    """Return in words which part says most; None where no part does."""
    part, is_ordinary = found.main_part, found.direction == NEITHER
    if part is None or not found.parts[part] > 0.0 or part == RUNS:
        return None
    if part == LEVEL or not found.inputs:
        level = "level in training" if is_ordinary else "usual level"
        return f"how far it lies from its {level}"
    if part == SEASON:
        return "the time at which it comes"
    # An ordinary value is one against the longest window.
    known = f"z_{layout.windows[-1]}" if is_ordinary else None
    name = next((one.name for one in found.inputs if one.name != known), None)
    return None if name is None else input_words(name, layout)


@lru_cache(maxsize=256)
def input_words(name: str, layout: FeatureLayout) -> str:
    """Return a model input in words.

    Examples
    --------
    >>> input_words("z_288", FeatureLayout())
    'its level against the last 24 h'
    """
    first, last = (_window(rows, layout) for rows in (layout.windows[0], layout.windows[-1]))
    if name == "level":
        return f"the level of the last {first} against the last {last}"
    if name == "spread":
        return f"how much the last {first} vary"
    if name == "step":
        return "its step from the reading before"
    return f"its level against the last {_window(int(name.removeprefix('z_')), layout)}"


def _window(rows: int, layout: FeatureLayout) -> str:
    return duration(1e6 * layout.frequency.total_seconds() * rows)
