"""How long goods of a product stay at a place: a hazard that knows the place's hours.

What belongs here: fitting the hazard of leaving, and the log density of a stay. Time counts only
while a place is at work: what waits for the doors to open was not held up. The median of a product
at a place leans, where few shipments were seen, on that of the place and on the product's own pace.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from anomaly_platform.ml.arrays import Arrays, Floats, Ints
from anomaly_platform.ml.bundles.checking import BadModelError, checked
from anomaly_platform.ml.detectors.scan_habits.stay_kernels import (
    BINS,
    LOWEST,
    WIDTH,
    expected,
    log_densities,
)
from anomaly_platform.ml.detectors.scan_habits.steps import Steps, places_of, totals

ROUNDS: Final = 4
PRIOR: Final = 2.0
"""Stays that the bin below counts as, in the hazard of a bin."""
FACTOR_PRIOR: Final = 0.1
"""Stays that the prior of an hour's or day's factor counts as."""
HABIT: Final = 0.25
"""How far a product's median at a place lies from what place and product let expect (log)."""
MOVES: Final = np.linspace(-1.0, 1.0, 41)
"""Corrections of a log median that are tried."""
SHORTEST: Final = 0.05
"""Hours; stays are no shorter to the model: three minutes."""
LEAST_RATE: Final = 1e-4


@dataclass(frozen=True)
class Stays:
    """The hazard of leaving.

    Attributes
    ----------
    cells
        (cells,) sorted `(place · events + before) · events + event`.
    pairs
        (pairs,) sorted `before · events + event`.
    medians
        (cells, products) log of median hours.
    at_hour, on_day, g
        Factors of the hazard, as in `stay_kernels`.
    usual
        (pairs, 2) between which logs of a stay over its median nine of ten lie.
    """

    events: int
    cells: Ints
    pairs: Ints
    medians: Floats
    at_hour: Floats
    on_day: Floats
    g: Floats
    usual: Floats

    @classmethod
    def fit(cls, steps: Steps, weights: Floats, events: int, products: int) -> Self:
        """Learn from the stays of training steps; `weights` (n,) says how much each counts."""
        used = steps.is_stay & steps.believed & (steps.product >= 0)
        if not used.any():
            return cls.of_nothing(events, products)
        keys, pair_keys = _keys(steps.place, steps.before, steps.event, events)
        cells, cell = np.unique(keys[used], return_inverse=True)
        pairs, pair = np.unique(pair_keys[used], return_inverse=True)
        hours, leaves = np.maximum(steps.hours[used], SHORTEST), steps.hour_of_week[used]
        product, weight = steps.product[used], weights[used]
        # What travels together is looked at once.
        alike = np.stack([cell * products + product, _quarters(hours), _quarters(leaves)])
        _, first, group = np.unique(alike, axis=1, return_index=True, return_inverse=True)
        weight = totals(group.ravel(), weight, len(first))
        cell, pair, product = cell[first], pair[first], product[first]
        hours, leaves = hours[first], leaves[first]
        cell_product = cell * products + product
        seen = totals(cell_product, weight, len(cells) * products).reshape(-1, products)
        rough = _rough_medians(np.log(hours), cell, product, seen)
        medians = rough
        at_hour, on_day = np.ones((len(cells), 24)), np.ones((len(cells), 7))
        g = np.ones((len(pairs), BINS))
        hour, day = (leaves % 168 // 1).astype(np.int64) % 24, (leaves % 168 // 24).astype(np.int64)
        by_hour = totals(cell * 24 + hour, weight, at_hour.size).reshape(at_hour.shape)
        by_day = totals(cell * 7 + day, weight, on_day.size).reshape(on_day.shape)
        for number in range(ROUNDS):
            own = medians[cell, product]
            u = ((np.log(hours) - own - LOWEST) / WIDTH).astype(np.int64).clip(0, BINS - 1)
            by_bin = totals(pair * BINS + u, weight, g.size).reshape(g.shape)
            for _ in range(3):
                should = expected(hours, leaves, cell, pair, own, weight, at_hour, on_day, g)
                at_hour = np.maximum(
                    at_hour * (by_hour + FACTOR_PRIOR) / (should[0] + FACTOR_PRIOR), LEAST_RATE
                )
                should = expected(hours, leaves, cell, pair, own, weight, at_hour, on_day, g)
                on_day = np.maximum(
                    on_day * (by_day + FACTOR_PRIOR) / (should[1] + FACTOR_PRIOR), LEAST_RATE
                )
                should = expected(hours, leaves, cell, pair, own, weight, at_hour, on_day, g)
                g = _smoothed(by_bin, should[2] / g)
            if number < ROUNDS - 1:
                tried = own[:, None] + MOVES
                log_p = log_densities(hours, leaves, cell, pair, tried, at_hour, on_day, g)
                fit = np.stack(
                    [totals(cell_product, weight * one, seen.size) for one in log_p.T], axis=1
                )
                away = medians.reshape(-1, 1) + MOVES - rough.reshape(-1, 1)
                best = MOVES[np.argmax(fit - 0.5 * (away / HABIT) ** 2, axis=1)]
                medians = medians + np.where(seen > 0, best.reshape(seen.shape), 0.0)
        usual = _usual(np.log(hours) - medians[cell, product], weight, pair, len(pairs))
        return cls(events, cells, pairs, medians, at_hour, on_day, g, usual)

    @classmethod
    def of_nothing(cls, events: int, products: int) -> Self:
        """Return what is known where goods never stay: one cell that no step is in."""
        nowhere, one = np.full(1, -1, dtype=np.int64), np.zeros((1, products))
        rates = np.ones((1, 24)), np.ones((1, 7)), np.ones((1, BINS))
        return cls(events, nowhere, nowhere.copy(), one, *rates, np.zeros((1, 2)))

    def usual_hours(self, steps: Steps, step: int) -> tuple[float, float] | None:
        """Between which hours nine of ten stays like this one last; None where nothing is known."""
        kind = steps.place[[step]], steps.before[[step]], steps.event[[step]]
        key, pair_key = _keys(*kind, self.events)
        at = int(places_of(self.cells, key)[0])
        if self.cells[at] != key[0] or steps.product[step] < 0:
            return None
        pair = int(places_of(self.pairs, pair_key)[0])
        low, high = np.exp(self.medians[at, steps.product[step]] + self.usual[pair])
        return float(low), float(high)

    def log_p(self, steps: Steps, shifts: Floats) -> Floats:
        """(n, products + shifts) log densities of each stay; NaN where nothing is known.

        The first columns suppose each product in turn; the others the own one, at medians that
        are `shifts` higher.
        """
        products = self.medians.shape[1]
        out = np.full((len(steps.rows), products + len(shifts)), np.nan)
        keys, pair_keys = _keys(steps.place, steps.before, steps.event, self.events)
        at = places_of(self.cells, keys)
        known = steps.is_stay & (self.cells[at] == keys) & (steps.product >= 0)
        if not known.any():
            return out
        cell = at[known]
        pair = places_of(self.pairs, pair_keys[known])
        own = self.medians[cell, steps.product[known]]
        tried = np.concatenate([self.medians[cell], own[:, None] + shifts], axis=1)
        hours = np.maximum(steps.hours[known], SHORTEST)
        out[known] = log_densities(
            hours, steps.hour_of_week[known], cell, pair, tried, self.at_hour, self.on_day, self.g
        )
        return out

    def to_arrays(self) -> Arrays:
        """Return the tables."""
        return {
            "sizes": np.array([self.events], dtype=np.int64),
            **{name: getattr(self, name) for name in _ARRAYS},
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays, products: int) -> Self:
        """Read what `to_arrays` returned."""
        events = int(checked(arrays, "sizes", (1,), kinds="i", low=1, high=1e6)[0])
        cells = checked(arrays, "cells", (None,), kinds="i")
        pairs = checked(arrays, "pairs", (None,), kinds="i")
        if (np.diff(cells) <= 0).any() or (np.diff(pairs) <= 0).any():
            raise BadModelError("the cells or pairs of the stays do not ascend")
        shapes = {
            "medians": (len(cells), products),
            "at_hour": (len(cells), 24),
            "on_day": (len(cells), 7),
            "g": (len(pairs), BINS),
            "usual": (len(pairs), 2),
        }
        tables = {
            name: checked(
                *(arrays, name, shape),
                low=1e-12 if name in ("at_hour", "on_day", "g") else -50.0,
                high=1e9 if name not in ("medians", "usual") else 50.0,
            )
            for name, shape in shapes.items()
        }
        return cls(events, cells, pairs, **tables)


_ARRAYS: Final = ("cells", "pairs", "medians", "at_hour", "on_day", "g", "usual")


def _keys(place: Ints, before: Ints, event: Ints, events: int) -> tuple[Ints, Ints]:
    pair = before * events + event
    return place * events * events + pair, pair


def _quarters(hours: Floats) -> Ints:
    return np.asarray(np.rint(4.0 * hours), dtype=np.int64)


def _smoothed(count: Floats, exposure: Floats) -> Floats:
    """(pairs, BINS) rates: each leans on the bin below, so that what is rare goes on as it was."""
    out = np.empty_like(count)
    before = np.full(len(count), 1e-3)
    for u in range(count.shape[1]):
        before = (count[:, u] + PRIOR * before) / (exposure[:, u] + PRIOR)
        out[:, u] = before = np.maximum(before, 1e-6)
    return out


def _usual(away: Floats, weight: Floats, pair: Ints, pairs: int) -> Floats:
    """(pairs, 2) weighted quantiles of a twentieth and of nineteen twentieths."""
    out = np.zeros((pairs, 2))
    for one in range(pairs):
        rows = np.flatnonzero(pair == one)
        rows = rows[np.argsort(away[rows], kind="stable")]
        reached = np.cumsum(weight[rows])
        at = np.searchsorted(reached, np.array([0.05, 0.95]) * reached[-1])
        out[one] = away[rows[np.minimum(at, len(rows) - 1)]]
    return out


def _rough_medians(log_hours: Floats, cell: Ints, product: Ints, seen: Floats) -> Floats:
    """(cells, products) log medians from cell and product alone, by two sweeps of medians."""
    pace = np.zeros(seen.shape[1])
    place = np.zeros(seen.shape[0])
    for _ in range(3):
        place = _medians_by(log_hours - pace[product], cell, len(place))
        pace = _medians_by(log_hours - place[cell], product, len(pace))
    return place[:, None] + pace[None, :]


def _medians_by(values: Floats, group: Ints, groups: int) -> Floats:
    """Return the (groups,) median of each group; 0 for an empty one."""
    order = np.lexsort((values, group))
    sizes = np.bincount(group, minlength=groups)
    middle = np.cumsum(sizes) - sizes + sizes // 2
    found = values[order][np.minimum(middle, len(values) - 1)]
    return np.where(sizes > 0, found, 0.0)
