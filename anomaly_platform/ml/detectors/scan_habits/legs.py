"""Which routes goods of a product take: how likely the next place is, for each product.

What belongs here: counts of legs, and the probability that they give. A route that others take and
a product never took, though it had many occasions, is closed to it; where there were few occasions
nothing is known. Shipments are counted and not units.

For a leg from s to g of product p with N shipments of p from s, of which n went to g, let b be the
share of what leaves s that goes to g wherever the route is open, and o the sum of b over the routes
from s that are open to p. Then u = b / min(o + b / (n + 1), 1) is how much an open route is used:
goods that may not go to some places go the more to the others. b / (n + 1) is there since a route
that p never took is asked about as if it were open, and o does not have it: it comes on top, in
full where n is 0. λ = N · u is what is expected. P(open | n) weighs a negative binomial with mean
λ against stray shipments, a share of all. P = P(open | n) · (n + k · u) / (N + k). Which routes
are open and how much each is used follow from each other, and are found in rounds.

The routes from s that nobody took share what one shipment more would, on top of the others' b, and
count as open. So from a place that nothing left in training all places are equally likely, and over
all places P sums to about 1 at most: to 1 + 1 / (t + 1) where t shipments left the place.

Sets that were fused before that have b as the share of everything from s, u = b and no k.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from anomaly_platform.ml.arrays import Arrays, Bools, Floats, Ints
from anomaly_platform.ml.bundles.checking import BadModelError, checked
from anomaly_platform.ml.detectors.scan_habits.steps import Steps, places_of, totals

OPEN: Final = 0.6
"""Share of the routes from a place that are open to a product, before anything is seen."""
STRAY: Final = 0.003
"""Share of shipments that go where they never should."""
ELSEWHERE: Final = 2.0
"""How much a product's coming to a place from elsewhere may speak for a route (log odds)."""
NOT_ELSEWHERE: Final = 4.0
"""How much its not coming there from elsewhere may speak against it: goods have to go somewhere."""
LEAN: Final = 6.0
"""Shipments that the use others make of a route counts as, in how much a product uses it."""
LEAST_OPEN: Final = 1e-6
"""Share of a source's routes that are open to a product at least."""
ROUNDS: Final = 5
SWEEPS: Final = 10
"""Of shares, while the same routes are open."""
SHAPE: Final = 6.0
"""How alike products are in their use of open routes: shape of the gamma around the share."""
RAREST: Final = 1e-4
"""Share of legs that go anywhere at all: no leg is a surprise beyond it."""
PRIOR: Final = 1.0
"""Shipments that the even share of all places counts as, in the share of a route."""


class NothingOrdinaryError(ValueError):
    """There are no goods of which anything could be ordinary."""


@dataclass(frozen=True)
class Legs:
    """Shipments by route, and by product and route.

    Attributes
    ----------
    places
        How many places there are; the source `places` stands for a first scan.
    keys, share
        (routes,) sorted `source · places + place`, and the share of what leaves the source, were
        all its routes open.
    own_keys, own
        (seen,) sorted `route key · products + product`, and shipments.
    left_keys, left
        Sorted `source · products + product`, and shipments that left the source.
    total
        (places + 1,) shipments that left each source.
    reached, should_reach
        (places · products,) shipments of each product that came to each place, and how many
        would have, were all routes open to it.
    open_share
        ((places + 1) · products,) sum of the shares of the routes from each source that are open
        to each product, those that nobody took included; None in sets that were fused before it
        was looked at.
    """

    places: int
    products: int
    keys: Ints
    share: Floats
    own_keys: Ints
    own: Floats
    left_keys: Ints
    left: Floats
    total: Floats
    reached: Floats
    should_reach: Floats
    open_share: Floats | None = None

    @classmethod
    def fit(cls, steps: Steps, weights: Floats, places: int, products: int) -> Self:
        """Count the legs of training steps; `weights` (n,) says how much each counts."""
        source, moved = _source(steps, places)
        used = moved & steps.believed & (steps.product >= 0)
        if not used.any():
            raise NothingOrdinaryError("no scan of a known product has a place")
        source, place = source[used], steps.place[used]
        product, weight = steps.product[used], weights[used]
        total = totals(source, weight, places + 1)
        keys, count = _summed(source * places + place, weight)
        own_keys, own = _summed((source * places + place) * products + product, weight)
        left_keys, left = _summed(source * products + product, weight)
        source, place = keys // places, keys % places
        of_source = source[:, None] * products + np.arange(products)
        of_place = place[:, None] * products + np.arange(products)
        n = _found(own_keys, own, keys[:, None] * products + np.arange(products), 0.0)
        leaves = _found(left_keys, left, of_source, 0.0)
        reached = totals(of_place.ravel(), n.ravel(), places * products)
        taken = totals(source, np.ones(len(keys)), places + 1)
        untaken = (1.0 - taken / places) * PRIOR / (total + PRIOR)
        share, is_open = count / total[source], np.where(n > 0, 1.0, OPEN)
        for _ in range(ROUNDS):
            for _ in range(SWEEPS):
                open_share = _open_share(of_source, share, is_open, untaken)
                could = (leaves * is_open / open_share[of_source]).sum(axis=1)
                share = ((n * is_open).sum(axis=1) + PRIOR / places) / (could + PRIOR)
                share = share / totals(source, share, places + 1)[source]
            open_share = _open_share(of_source, share, is_open, untaken)
            usual = leaves * _use(share[:, None], open_share[of_source], n)
            should = totals(of_place.ravel(), usual.ravel(), places * products)
            elsewhere = reached[of_place] - n, should[of_place] - usual
            is_open = _p_open(n, usual, leaves, *elsewhere, NOT_ELSEWHERE)
        return cls(
            *(places, products, keys, share, own_keys, own, left_keys, left, total),
            *(reached, should, open_share),
        )

    def log_p(self, steps: Steps) -> Floats:
        """(n, products) log probability of each leg, were it of that product; 0 without a leg."""
        source, moved = _source(steps, self.places)
        route = np.where(moved, source * self.places + steps.place, 0)
        routes, which = np.unique(route, return_inverse=True)
        table = self._log_p(routes[:, None], np.arange(self.products))
        return np.where(moved[:, None], table[which], 0.0)

    def _log_p(self, route: Ints, product: Ints) -> Floats:
        """(n, products) log probability of (n, 1) routes for products."""
        source, place = route // self.places, route % self.places
        never = PRIOR / self.places / (self.total[source] + PRIOR)
        share = _found(self.keys, self.share, route, never)
        own = _found(self.own_keys, self.own, route * self.products + product, 0.0)
        left = _found(self.left_keys, self.left, source * self.products + product, 0.0)
        use, against = share, np.inf
        if self.open_share is not None:
            use = _use(share, self.open_share[source * self.products + product], own)
            against = NOT_ELSEWHERE
        usual = left * use
        reached = self.reached[place * self.products + product] - own
        should = self.should_reach[place * self.products + product] - usual
        is_open = _p_open(own, usual, left, reached, should, against)
        if self.open_share is not None:
            use = (own + LEAN * use) / (left + LEAN)
        return np.asarray(np.log(use * is_open + RAREST / self.places))

    def counted(self, steps: Steps, step: int) -> tuple[float, float]:
        """Return the shipments of a step's product on its route, and from its source at all."""
        source = self.places if steps.begins[step] else int(steps.source[step])
        product = int(steps.product[step])
        own = np.array([(source * self.places + steps.place[step]) * self.products + product])
        left = np.array([source * self.products + product])
        return (
            float(_found(self.own_keys, self.own, own, 0.0)[0]),
            float(_found(self.left_keys, self.left, left, 0.0)[0]),
        )

    def to_arrays(self) -> Arrays:
        """Return the counts."""
        return {
            "sizes": np.array([self.places, self.products], dtype=np.int64),
            **{name: getattr(self, name) for name in _ARRAYS},
            **({} if self.open_share is None else {"open_share": self.open_share}),
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """Read what `to_arrays` returned."""
        places, products = checked(arrays, "sizes", (2,), kinds="i", low=1, high=1e6).tolist()
        found = {
            name: checked(arrays, name, (None,), kinds="i" if name.endswith("keys") else "f", low=0)
            for name in _ARRAYS
        }
        for keys, values in (("keys", "share"), ("own_keys", "own"), ("left_keys", "left")):
            if len(found[keys]) != len(found[values]) or (np.diff(found[keys]) <= 0).any():
                raise BadModelError(f"the array {keys!r} does not ascend, or fits no {values!r}")
        reach = places * products
        if len(found["reached"]) != reach or len(found["should_reach"]) != reach:
            raise BadModelError("the routes do not say how many shipments reach each place")
        if found["keys"][-1] >= (places + 1) * places:
            raise BadModelError("there is a route from no place")
        if len(found["total"]) != places + 1 or not (found["share"] > 0).all():
            raise BadModelError("the routes have no totals, or shares of 0")
        open_share = None
        if "open_share" in arrays:
            open_share = checked(arrays, "open_share", ((places + 1) * products,), low=1e-9)
        return cls(places, products, **found, open_share=open_share)


_ARRAYS: Final = (
    "keys",
    "share",
    "own_keys",
    "own",
    "left_keys",
    "left",
    "total",
    "reached",
    "should_reach",
)


def _as_open(count: Floats, usual: Floats, stray: Floats) -> Floats:
    """Log ratio of a count under an open route, which expects `usual`, to one that is closed."""
    usual, stray = np.maximum(usual, 1e-9), np.maximum(stray, 1e-9)
    beside = np.log1p(usual / SHAPE) - np.log1p(stray / SHAPE)
    return np.asarray(count * np.log(usual / stray) - (count + SHAPE) * beside)


def _p_open(
    count: Floats, usual: Floats, left: Floats, reached: Floats, should: Floats, against: float
) -> Floats:
    """How probable it is that routes are open, from their count and what came from elsewhere."""
    odds = _as_open(count, usual, STRAY * left) + np.log(OPEN / (1.0 - OPEN))
    odds = odds + np.clip(_as_open(reached, should, STRAY * should), -against, ELSEWHERE)
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(odds, -60.0, 60.0))))


def _open_share(of_source: Ints, share: Floats, is_open: Floats, untaken: Floats) -> Floats:
    """((places + 1) · products,) sum of the shares of the routes that are open.

    Those that nobody took count as open: `untaken` (places + 1,) is their share.
    """
    always = np.repeat(untaken, of_source.shape[1])
    seen = totals(of_source.ravel(), (share[:, None] * is_open).ravel(), len(always))
    return np.maximum(always + seen, LEAST_OPEN)


def _use(share: Floats, open_share: Floats, count: Floats) -> Floats:
    """How much a product uses routes, were they open: those that it never took come on top."""
    return np.asarray(share / np.minimum(open_share + share / (count + 1.0), 1.0))


def _source(steps: Steps, places: int) -> tuple[Ints, Bools]:
    """(n,) where each step comes from, and whether it went anywhere that is known."""
    first = steps.begins & (steps.place >= 0)
    return np.where(first, places, steps.source), first | steps.is_leg


def _summed(keys: Ints, weights: Floats) -> tuple[Ints, Floats]:
    distinct, inverse = np.unique(keys, return_inverse=True)
    return distinct, totals(inverse, weights, len(distinct))


def _found(keys: Ints, values: Floats, wanted: Ints, otherwise: Floats | float) -> Floats:
    """(n,) the value of each wanted key, or what stands for one that is not there."""
    at = places_of(keys, wanted)
    return np.where(keys[at] == wanted, values[at], otherwise)
