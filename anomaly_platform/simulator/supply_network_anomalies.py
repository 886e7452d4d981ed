"""What goes subtly wrong: labelled deviations that no rule sees.

What belongs here: the book of labels, and the five subtle kinds. They change where goods go, how
long they stay and when they are handled, within what every rule allows. The violations that rules
must find are in `supply_network_violations`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from anomaly_platform.ml.arrays import Bools, Floats, Ints
from anomaly_platform.ml.detectors.rules.parameters import RULE_KINDS
from anomaly_platform.simulator import supply_network_journeys as at
from anomaly_platform.simulator.supply_network_journeys import (
    Journeys,
    Traffic,
    closed_for,
    proceed,
)
from anomaly_platform.simulator.supply_network_world import HUB, RETAILER, WHOLESALER, WMS

SUBTLE_KINDS: Final = (
    "unused_route",
    "dwell_off",
    "closed_hours",
    "lot_like_other_product",
    "diverted_pallet",
)
#: Done to a pallet or a lot at once; every other kind is done to a single code.
OF_MANY_CODES: Final = ("lot_like_other_product", "diverted_pallet")
KINDS: Final = (*RULE_KINDS, *SUBTLE_KINDS)
_LOOKALIKE_MIN_RATIO: Final = np.log(2.0)


@dataclass
class Book:
    """Who was touched, and which scan is to blame.

    Attributes
    ----------
    kind
        (units, slots) index into `KINDS` plus one; 0 is ordinary.
    magnitude
        (units, slots) how far from ordinary, in the unit of the kind.
    free
        (units,) units that nothing has happened to yet.
    horizon
        Hours: scans outside [0, horizon) are never seen, so nothing is done there.
    extra
        Scans that are no part of a journey: unit, slot (whose words they use), place, hour, kind
        (0 for an ordinary one), magnitude.
    forged
        Units with a forged code, by the way in which it is forged.
    """

    kind: Ints
    magnitude: Floats
    free: Bools
    horizon: float
    extra: list[tuple[Ints, Ints, Ints, Floats, Ints, Floats]] = field(default_factory=list)
    forged: dict[str, Ints] = field(default_factory=dict)

    @classmethod
    def of(cls, journeys: Journeys, horizon: float) -> Book:
        """Open an empty book."""
        count = len(journeys.product)
        return cls(
            kind=np.zeros((count, at.SLOTS), dtype=np.int64),
            magnitude=np.zeros((count, at.SLOTS)),
            free=np.ones(count, dtype=bool),
            horizon=horizon,
        )

    def seen(self, hours: Floats) -> Bools:
        """Whether a scan falls into the simulated time (a scan that does not happen does not)."""
        with np.errstate(invalid="ignore"):
            return (hours >= 0.0) & (hours < self.horizon)

    def all_seen(self, journeys: Journeys, *slots: int) -> Bools:
        """Whether all of these scans of a unit fall into the simulated time."""
        return np.asarray(self.seen(journeys.time[:, list(slots)]).all(axis=1))

    def take(self, rng: np.random.Generator, candidates: Bools, count: int) -> Ints:
        """Choose at most `count` untouched units among the candidates and mark them as touched."""
        pool = np.flatnonzero(candidates & self.free)
        chosen = np.sort(rng.choice(pool, min(count, len(pool)), replace=False))
        self.free[chosen] = False
        return chosen

    def blame(self, units: Ints, slot: int | Ints, kind: str, magnitude: float | Floats) -> None:
        """Label a scan of each unit."""
        self.kind[units, slot] = KINDS.index(kind) + 1
        self.magnitude[units, slot] = magnitude

    def add_scan(
        self,
        units: Ints,
        slot: int | Ints,
        place: Ints,
        hours: Floats,
        *,
        kind: str | None,
        magnitude: Floats,
    ) -> None:
        """Add scans that are no part of the journey; they come after a scan of the same second."""
        code = 0 if kind is None else KINDS.index(kind) + 1
        slots, codes = np.full(len(units), slot), np.full(len(units), code)
        self.extra.append((units, slots, place, hours, codes, magnitude))


def imitate_other_products(traffic: Traffic, book: Book, count: int) -> Ints:
    """Let lots of about `count` units follow the habits of another product; before they travel."""
    world, rng, journeys = traffic.world, traffic.rng, traffic.journeys
    sizes = np.bincount(journeys.lot)
    begins = journeys.time[np.searchsorted(journeys.lot, np.arange(len(sizes))), at.AGGREGATION]
    order = rng.permutation(np.flatnonzero(book.seen(begins)))
    lots = order[: np.searchsorted(sizes[order].cumsum(), count) + 1] if count else order[:0]
    products = len(world.season_phase)
    role = np.arange(len(sizes))
    for lot in lots:
        own = journeys.product[np.searchsorted(journeys.lot, lot)]
        role[lot] = (own + rng.integers(1, products)) % products
    units = np.flatnonzero(np.isin(journeys.lot, lots))
    journeys.behaves_like[units] = role[journeys.lot[units]]
    return units


def blame_imitators(traffic: Traffic, book: Book, units: Ints) -> None:
    """Label the scans at which a lot really differs from its own product's habits."""
    world, journeys = traffic.world, traffic.journeys
    book.free[units] = False
    own, role = journeys.product[units], journeys.behaves_like[units]
    pace = np.log(world.dwell_hours.mean(axis=1))
    unlike = np.abs(pace[own] - pace[role]) + (world.cold_chain[own] != world.cold_chain[role])
    legs = (
        *((at.AGGREGATION, at.WMS_IN), (at.WMS_OUT, at.HUB_IN)),
        *((at.HUB_OUT, at.W_IN), (at.HUB_OUT, at.R_IN), (at.W_OUT, at.R_IN)),
    )
    for leaving, arriving in legs:
        source, goal = journeys.place[units, leaving], journeys.place[units, arriving]
        direct = journeys.place[units, at.W_IN] < 0
        bypass = (leaving, arriving) == (at.HUB_OUT, at.R_IN)
        real = (source >= 0) & (goal >= 0) & (direct | (not bypass))
        foreign = real & (world.route_weight[own, source, goal] == 0.0)
        book.blame(units[foreign], arriving, "lot_like_other_product", unlike[foreign])
    for tier in (WMS, HUB, WHOLESALER):
        place = journeys.place[units, at.DEPARTURES[tier]]
        ratio = np.abs(np.log(world.dwell_hours[own, place] / world.dwell_hours[role, place]))
        off = (place >= 0) & (ratio >= _LOOKALIKE_MIN_RATIO)
        book.blame(units[off], at.DEPARTURES[tier], "lot_like_other_product", unlike[off])


def divert_pallets(traffic: Traffic, book: Book, count: int) -> None:
    """Send whole pallets from the hub to a wholesaler who gets other products, but never this."""
    world, rng, journeys = traffic.world, traffic.rng, traffic.journeys
    eligible = book.free & book.all_seen(journeys, at.HUB_IN, at.W_IN)
    anyone = world.route_weight.max(axis=0)
    done = 0
    for pallet in rng.permutation(np.unique(journeys.pallet[eligible])):
        if done >= count:
            break
        first, last = np.searchsorted(journeys.pallet, [pallet, pallet + 1])
        units = np.arange(first, last)
        hub, product = journeys.place[first, at.HUB_IN], journeys.product[first]
        possible = (
            (anyone[hub] > 0) & (world.route_weight[product, hub] == 0) & (world.tier == WHOLESALER)
        )
        if not possible.any() or not book.free[units].all():
            continue
        planned = journeys.place[first, at.W_IN]
        goal = rng.choice(np.flatnonzero(possible))
        proceed(traffic, units, HUB, target=np.full(len(units), goal))
        book.free[units] = False
        book.blame(units, at.W_IN, "diverted_pallet", world.distance_km[planned, goal] / 100.0)
        done += len(units)


def use_unused_routes(traffic: Traffic, book: Book, count: int) -> None:
    """Send single units over legal routes that nobody ever uses."""
    world, rng, journeys = traffic.world, traffic.rng, traffic.journeys
    anyone = world.route_weight.max(axis=0) > 0
    for tier, next_tier in ((HUB, WHOLESALER), (WHOLESALER, RETAILER)):
        arrived, leaves, next_in = at.ARRIVALS[tier], at.DEPARTURES[tier], at.ARRIVALS[next_tier]
        through = book.all_seen(journeys, arrived, next_in) & (journeys.place[:, at.W_IN] >= 0)
        units = book.take(rng, through, round(count / 2))
        source = journeys.place[units, arrived]
        unused = (world.tier == next_tier)[None, :] & ~anyone[source]
        goal = (rng.random(unused.shape) * unused).argmax(axis=1)
        proceed(traffic, units, tier, alone=True, target=goal)
        assert (journeys.place[units, leaves] == source).all()
        book.blame(units, next_in, "unused_route", world.distance_km[source, goal] / 100.0)


def change_dwell(traffic: Traffic, book: Book, count: int) -> None:
    """Keep single units at a place far longer or shorter than this product stays there."""
    rng, journeys = traffic.rng, traffic.journeys
    for tier in (WMS, HUB, WHOLESALER):
        arrived, leaves = at.ARRIVALS[tier], at.DEPARTURES[tier]
        units = book.take(rng, book.all_seen(journeys, arrived, leaves), round(count / 3))
        usual = journeys.time[units, leaves] - journeys.time[units, arrived]
        factor = np.exp(rng.uniform(np.log(3.0), np.log(12.0), len(units)))
        longer = (rng.random(len(units)) < 0.6) & (usual * factor < 300.0)
        factor = np.where(longer, factor, 1.0 / factor)
        proceed(traffic, units, tier, alone=True, dwell_factor=factor)
        stay = journeys.time[units, leaves] - journeys.time[units, arrived]
        # Opening hours may undo most of it: what is labelled is what really happened.
        really = np.abs(np.log(stay / usual))
        odd = really >= np.log(2.5)
        book.blame(units[odd], leaves, "dwell_off", really[odd])


def handle_after_hours(traffic: Traffic, book: Book, count: int) -> None:
    """Ship or sell single units while the place is closed; magnitude in hours from its hours."""
    world, clock, rng, journeys = traffic.world, traffic.clock, traffic.rng, traffic.journeys
    for tier, slot in ((WMS, at.WMS_OUT), (WHOLESALER, at.W_OUT), (RETAILER, at.SALE)):
        arrived = at.ARRIVALS[tier]
        units = book.take(rng, book.all_seen(journeys, arrived, slot), round(count / 3))
        place, planned = journeys.place[units, slot], journeys.time[units, slot]
        closed = 24.0 - (world.closes[place] - world.opens[place])
        offset = rng.uniform(0.5, np.maximum(closed / 2.0, 0.6))
        before = rng.random(len(units)) < 0.5
        hour = np.where(before, world.opens[place] - offset, world.closes[place] + offset)
        night = planned - clock.of_day(planned) + hour
        earliest = journeys.time[units, arrived] + 0.5
        if tier == RETAILER:
            earliest = np.fmax(earliest, journeys.time[units, at.R_OUT] + 0.5)
        night = np.where(night - planned > 12.0, night - 24.0, night)
        night = np.where(night < earliest, night + 24.0, night)
        if tier == RETAILER:
            journeys.time[units, slot] = night
        else:
            proceed(traffic, units, tier, alone=True, leave_at=night)
        really = closed_for(world, clock, place, night) > 0
        book.blame(units[really], slot, "closed_hours", offset[really])
        if tier != RETAILER:
            next_in = at.HUB_IN if tier == WMS else at.R_IN
            goal, arrival = journeys.place[units, next_in], journeys.time[units, next_in]
            shut = closed_for(world, clock, goal, arrival) > 0
            book.blame(units[shut], next_in, "closed_hours", offset[shut])
