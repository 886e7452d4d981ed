"""The numbers of an explanation, and how they are stored."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import polars as pl

ABOVE: Final = "above"
BELOW: Final = "below"
#: The value itself is no reason.
NEITHER: Final = "none"

#: What the evidence of a series comes from, in the order of `parts`.
FOREST, DISTANCE, SEASON, LEVEL, RUNS = "forest", "distance", "season", "level", "runs"
PARTS: Final = (FOREST, DISTANCE, SEASON, LEVEL, RUNS)
#: What its host, and the ranges that a stream has visited, add to it.
INNOVATION: Final = "innovation"
NOVELTY: Final = "novelty"

#: Columns of an explanation, and what Polars holds them as.
COLUMNS: Final = pl.Schema(
    {
        "expected_low": pl.Float64,
        "expected_high": pl.Float64,
        "deviation": pl.Float64,
        "direction": pl.String,
        "lasting": pl.Boolean,
        "lasted_s": pl.Float64,
        "explanation": pl.String,
    }
)


class InputShare(NamedTuple):
    """What one model input adds to the raw score, in its units.

    Attributes
    ----------
    name
        Of the input (`series_model.inputs`).
    forest
        Its exact Shapley value in the forest's score.
    distance
        Its term of the logarithm of the inputs' distance from ordinary.
    """

    name: str
    forest: float
    distance: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a reading is unusual.

    Attributes
    ----------
    expected_low, expected_high
        Which readings would not have reached the threshold, all else being as it is; infinite
        where there is no end, and where none would do, what is usual at that time
        (`expected.expected_ranges`), within what the series can have (`bounds`).
    deviation
        Distance from the middle of the range that scoring found, in halves of its width, ≥ 0: 1 is
        its edge.
    direction
        `above`, `below`, or `none` where the reading lies within.
    lasting
        Whether it is more than this one reading.
    lasted_s
        For how many seconds at least; None where that is not known.
    unavoidable
        Whether no value at all would have done: what is unusual came before this reading.
    parts
        Share of each part in the evidence; they add up to 1, or are all 0 where no part makes the
        reading odder than an ordinary one. What excuses a reading is negative.
    inputs
        What each model input adds to the raw score, the largest first. Of one part they add up to
        the forest's score less `usual`, and to the logarithm of the distance.
    usual
        The forest's score of an ordinary reading.
    still
        Whether a series that never rests has rested for the shortest window; not stored.
    """

    expected_low: float
    expected_high: float
    deviation: float
    direction: str
    lasting: bool
    lasted_s: float | None
    unavoidable: bool = False
    parts: Mapping[str, float] = field(default_factory=dict)
    inputs: tuple[InputShare, ...] = ()
    usual: float | None = None
    still: bool = False

    @property
    def main_part(self) -> str | None:
        """The part that says most."""
        return max(self.parts, key=self.parts.__getitem__) if self.parts else None

    def columns(self) -> dict[str, Any]:
        """Return the values of `COLUMNS`, the explanation itself as JSON."""
        values = self.plain()
        return {**values, "explanation": json.dumps(values["explanation"])}

    def plain(self) -> dict[str, Any]:
        """Return the same as JSON values: no number is infinite."""
        return {
            "expected_low": _finite(self.expected_low),
            "expected_high": _finite(self.expected_high),
            "deviation": _finite(self.deviation),
            "direction": self.direction,
            "lasting": self.lasting,
            "lasted_s": self.lasted_s,
            "explanation": {
                "unavoidable": self.unavoidable,
                "parts": dict(self.parts),
                "features": [
                    {"name": name, "forest": forest, "distance": distance}
                    for name, forest, distance in self.inputs
                ],
                "usual": self.usual,
            },
        }


def percentages(parts: Mapping[str, float]) -> dict[str, int]:
    """Return the shares of what makes a reading unusual, of the whole of it, the largest first.

    What excuses the reading is left out, and the others are rounded so that they add up to 100.

    Parameters
    ----------
    parts
        As in `Explanation`.

    Examples
    --------
    >>> percentages({"forest": 0.27, "level": 0.75, "season": -0.02})
    {'level': 74, 'forest': 26}
    """
    adding = {name: share for name, share in parts.items() if share > 0.0}
    whole = math.fsum(adding.values())
    exact = {name: 100.0 * share / whole for name, share in adding.items()}
    rounded = {name: math.floor(share) for name, share in exact.items()}
    ordered = sorted(exact, key=lambda name: rounded[name] - exact[name])
    for name in ordered[: 100 - sum(rounded.values())]:
        rounded[name] += 1
    told = sorted(rounded.items(), key=lambda one: -one[1])
    return {name: share for name, share in told if share > 0}


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
