"""The settings of a detector that can be tuned, and candidates drawn around those of today."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TypeVar

import numpy as np

_T = TypeVar("_T")

#: What today's alpha and windows are multiplied with.
_ALPHA_FACTORS = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0)
_SHORT_FACTORS = (0.5, 1.0, 2.0)
_LONG_FACTORS = (0.25, 0.5, 1.0, 2.0)
_CONTAMINATIONS = (0.0, 0.02, 0.05, 0.1, 0.2)
_TREES = (50, 100)
#: Bounds that no candidate leaves, whatever the factors give.
_ALPHAS = (1e-4, 0.1)
_LEAST_LONGEST_WINDOW = 30
#: Each setting of a candidate is another one than today's with this probability.
_CHANGED = 0.5
_DRAWS_PER_CANDIDATE = 20


@dataclass(frozen=True)
class DetectorSettings:
    """What training is told about the detector of a metric stream.

    Attributes
    ----------
    alpha
        Share of normal readings in (0, 1) that may lie above the standard threshold.
    windows
        Trailing windows of the features in rows, ascending.
    contamination
        Largest share of rows that fitting may set aside as suspect.
    trees
        Trees of a forest.
    """

    alpha: float
    windows: tuple[int, ...]
    contamination: float
    trees: int


def candidates(
    present: DetectorSettings,
    count: int,
    *,
    seed: int,
    longest_window: int | None,
) -> list[DetectorSettings]:
    """Draw settings near today's, none of them twice, today's not among them.

    Parameters
    ----------
    present
        Today's.
    count
        How many; fewer come where there are no more.
    seed
        Of the draw.
    longest_window
        Rows that a window may hold at most; None leaves the windows as they are.
    """
    rng = np.random.default_rng(seed)
    found: dict[DetectorSettings, None] = {}
    for _ in range(_DRAWS_PER_CANDIDATE * count):
        if len(found) == count:
            break
        one = _drawn(present, rng, longest_window)
        if one != present:
            found.setdefault(one)
    return list(found)


def _drawn(
    present: DetectorSettings, rng: np.random.Generator, longest_window: int | None
) -> DetectorSettings:
    def other(values: Sequence[_T], now: _T) -> _T:
        return values[int(rng.integers(len(values)))] if rng.random() < _CHANGED else now

    low, high = min(_ALPHAS[0], present.alpha), max(_ALPHAS[1], present.alpha)
    alpha = min(max(present.alpha * other(_ALPHA_FACTORS, 1.0), low), high)
    one = replace(
        present,
        alpha=float(f"{alpha:.3g}") if alpha != present.alpha else alpha,
        contamination=other(_CONTAMINATIONS, present.contamination),
        trees=other(_TREES, present.trees),
    )
    short, long = other(_SHORT_FACTORS, 1.0), other(_LONG_FACTORS, 1.0)
    if longest_window is None:
        return one
    *shorter, longest = present.windows
    scaled = [max(2, round(window * short)) for window in shorter]
    most = max(longest_window, longest)
    scaled.append(min(max(round(longest * long), _LEAST_LONGEST_WINDOW), most))
    rising = all(a < b for a, b in pairwise(scaled))
    return replace(one, windows=tuple(scaled)) if rising else one
