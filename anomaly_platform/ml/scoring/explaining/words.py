"""An explanation as a sentence for whoever is on duty."""

from __future__ import annotations

import math
from functools import lru_cache

from anomaly_platform.ml.features.metrics.layout import FeatureLayout
from anomaly_platform.ml.scoring.explaining.numbers import (
    LEVEL,
    NEITHER,
    RUNS,
    SEASON,
    Explanation,
)
from anomaly_platform.ml.scoring.reasons import clock_of, duration

#: Beyond so many halves of the range's width the number says nothing more.
_MOST = 1e6


def sentence(
    value: float, found: Explanation, layout: FeatureLayout, time: int | None = None
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

    Examples
    --------
    >>> told = Explanation(12.0, 40.0, 4.793, "above", True, 1500.0, False, {"level": 1.0})
    >>> sentence(93.1, told, FeatureLayout(), 52_200_000_000)
    '93.1, expected 12 to 40 at 14:30; 4.8 times its usual spread above; for at least \
25 min; mostly by how far it lies from its usual level'
    """
    clock = "" if time is None else f" at {clock_of(time)}"
    said = [f"{_written(value, 6)}, {expected(found)}{clock}"]
    if found.direction != NEITHER:
        said.append(f"{_times(found.deviation)} its usual spread {found.direction}")
    if not found.lasting:
        said.append("a single reading")
    elif found.lasted_s:
        said.append(f"for at least {duration(1e6 * found.lasted_s)}")
    because = mostly(found, layout)
    return "; ".join([*said, because] if because else said)


def _times(deviation: float) -> str:
    if deviation < 1.05:
        return "just beyond"
    if deviation >= _MOST:
        return "over a million times"
    return f"{deviation:.2g} times" if deviation < 10.0 else f"{deviation:.0f} times"


def expected(found: Explanation) -> str:
    """Return the expected range in words.

    Examples
    --------
    >>> expected(Explanation(-math.inf, 40.0, 2.0, "above", False, 0.0))
    'expected at most 40'
    """
    low, high = found.expected_low, found.expected_high
    within = "within the expected" if found.direction == NEITHER else "expected"
    if math.isinf(low) and math.isinf(high):
        return "any value would do"
    if math.isinf(low):
        return f"{within} at most {_written(high, 4)}"
    if math.isinf(high):
        return f"{within} at least {_written(low, 4)}"
    # As many digits as tell the ends apart.
    size, width = max(abs(low), abs(high)), high - low
    digits = 3 + (max(0, math.ceil(math.log10(size / width))) if width > 0.0 else 3)
    return f"{within} {_written(low, digits)} to {_written(high, digits)}"


def _written(number: float, digits: int) -> str:
    """Return a number as people write it: 123000, not 1.23e+05."""
    return f"{float(f'{number:.{min(digits, 12)}g}'):.15g}"


def mostly(found: Explanation, layout: FeatureLayout) -> str | None:
    """Return in words which part says most; None where no part does."""
    part = found.main_part
    if part is None or not found.parts[part] > 0.0 or part == RUNS:
        return None
    if part == LEVEL or not found.inputs:
        return "mostly by how far it lies from its usual level"
    if part == SEASON:
        return "mostly by the time at which it comes"
    return f"mostly by {input_words(found.inputs[0].name, layout)}"


@lru_cache(maxsize=256)
def input_words(name: str, layout: FeatureLayout) -> str:
    """Return a model input in words.

    Examples
    --------
    >>> input_words("z_288", FeatureLayout())
    'its level against the last 24 h'
    """
    step = 1e6 * layout.frequency.total_seconds()
    first, last = (duration(step * rows) for rows in (layout.windows[0], layout.windows[-1]))
    if name == "level":
        return f"the level of the last {first} against the last {last}"
    if name == "spread":
        return f"how much the last {first} vary"
    if name == "step":
        return "its step from the reading before"
    return f"its level against the last {duration(step * int(name.removeprefix('z_')))}"
