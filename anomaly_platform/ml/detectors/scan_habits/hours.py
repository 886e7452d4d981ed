"""At which hours and on which days a place does what.

What belongs here: shipments by place, event type, hour and day of the week, and how much rarer than
an even spread a moment is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from anomaly_platform.ml.arrays import Arrays, Floats, Ints
from anomaly_platform.ml.bundles.checking import BadModelError, checked
from anomaly_platform.ml.detectors.scan_habits.steps import Steps, places_of

PRIOR: Final = 0.5
"""Shipments that an even spread counts as, in what happens at a place at all."""
LEAN: Final = 10.0
"""Shipments that all that happens at the place counts as, in what one event type does there."""


@dataclass(frozen=True)
class Hours:
    """Log of the share of each hour and day over an even one.

    Attributes
    ----------
    keys
        (k,) sorted `place · events + event`.
    at_hour, on_day
        (k, 24) and (k, 7).
    """

    events: int
    keys: Ints
    at_hour: Floats
    on_day: Floats

    @classmethod
    def fit(cls, steps: Steps, weights: Floats, events: int) -> Self:
        """Count training steps; `weights` (n,) says how much each counts."""
        used = steps.believed & (steps.place >= 0) & (steps.event >= 0)
        if not used.any():
            return cls.of_nothing(events)
        keys, key = np.unique((steps.place * events + steps.event)[used], return_inverse=True)
        hour, day = _moments(steps)
        return cls(
            events,
            keys,
            _ratios(keys // events, key, hour[used], weights[used], 24),
            _ratios(keys // events, key, day[used], weights[used], 7),
        )

    @classmethod
    def of_nothing(cls, events: int) -> Self:
        """Return what is known where no event type says anything: one key that no step has."""
        nowhere = np.full(1, -1, dtype=np.int64)
        return cls(events, nowhere, np.zeros((1, 24)), np.zeros((1, 7)))

    def surprise(self, steps: Steps) -> tuple[Floats, Floats]:
        """(n,) how much rarer hour and day are than in an even spread, in nats; 0 if unknown."""
        key = steps.place * self.events + steps.event
        at = places_of(self.keys, key)
        known = (steps.place >= 0) & (steps.event >= 0) & (self.keys[at] == key)
        hour, day = _moments(steps)
        return (
            np.where(known, -self.at_hour[at, hour], 0.0),
            np.where(known, -self.on_day[at, day], 0.0),
        )

    def to_arrays(self) -> Arrays:
        """Return the table."""
        sizes = np.array([self.events], dtype=np.int64)
        return {"sizes": sizes, **{name: getattr(self, name) for name in _ARRAYS}}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """Read what `to_arrays` returned."""
        events = int(checked(arrays, "sizes", (1,), kinds="i", low=1, high=1e6)[0])
        keys = checked(arrays, "keys", (None,), kinds="i", low=-1)
        if (np.diff(keys) <= 0).any():
            raise BadModelError("the array 'keys' does not ascend")
        return cls(
            events,
            keys,
            checked(arrays, "at_hour", (len(keys), 24)),
            checked(arrays, "on_day", (len(keys), 7)),
        )


_ARRAYS: Final = ("keys", "at_hour", "on_day")


def _moments(steps: Steps) -> tuple[Ints, Ints]:
    whole = steps.hour_of_week.astype(np.int64) % 168
    return whole % 24, whole // 24


def _ratios(place: Ints, key: Ints, part: Ints, weights: Floats, parts: int) -> Floats:
    count = np.bincount(key * parts + part, weights, len(place) * parts).reshape(-1, parts)
    there = np.zeros((int(place.max(initial=0)) + 1, parts))
    np.add.at(there, place, count)
    common = (there + PRIOR / parts) / (there.sum(axis=1, keepdims=True) + PRIOR)
    share = (count + LEAN * common[place]) / (count.sum(axis=1, keepdims=True) + LEAN)
    return np.asarray(np.log(share * parts))
