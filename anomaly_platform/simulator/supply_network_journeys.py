"""How goods travel through the world: lots, pallets, cases and units, from the factory to the till.

What belongs here: ordinary journeys as arrays, one row per unit (one EPC) and one column per scan
point. Units of one case share their lorry and therefore their times; a lot is split into pallets,
a pallet into cases, and a case is sold unit by unit. `proceed` takes goods from any stop onwards,
so that what goes wrong at one stop has its consequences at the next ones.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np

from anomaly_platform.ml.arrays import Bools, Floats, Ints
from anomaly_platform.simulator.supply_network_world import (
    FACTORY,
    HUB,
    MAX_TRANSIT_HOURS,
    MIN_TRANSIT_HOURS,
    RETAILER,
    WHOLESALER,
    WMS,
    World,
)

# Scan points of a journey, in the order in which they are passed.
AGGREGATION, WMS_IN, WMS_OUT, HUB_IN, HUB_OUT, W_IN, W_OUT, R_IN, R_OUT, SALE = range(10)
RETURN_W_IN, RETURN_W_OUT, RETURN_HUB_IN = range(10, 13)
SLOTS: Final = 13
ARRIVALS: Final = {WMS: WMS_IN, HUB: HUB_IN, WHOLESALER: W_IN, RETAILER: R_IN}
DEPARTURES: Final = {
    FACTORY: AGGREGATION,
    WMS: WMS_OUT,
    HUB: HUB_OUT,
    WHOLESALER: W_OUT,
    RETAILER: R_OUT,
}
RETURN_SHARE: Final = 0.04
SHELF_HOURS: Final = 45.0
_DWELL_SPREAD: Final = 0.28


@dataclass(frozen=True)
class Journeys:
    """What happens to every unit.

    Attributes
    ----------
    time
        (units, 13) hours since the start of the simulation; NaN where a scan does not happen.
    place
        (units, 13) index of the place of each scan, −1 where there is none.
    product, behaves_like
        (units,) the product, and the product whose habits the lot follows (the same, normally).
    lot, pallet, case
        (units,) consecutive numbers of the group that a unit travels in.
    age_days
        (units,) days between manufacture and aggregation.
    returned
        (units,) goods that go back unsold.
    """

    time: Floats
    place: Ints
    product: Ints
    behaves_like: Ints
    lot: Ints
    pallet: Ints
    case: Ints
    age_days: Floats
    returned: Bools


@dataclass(frozen=True)
class Clock:
    """Hours since the start as hours of the day and days of the week (UTC)."""

    start: datetime

    def of_day(self, hours: Floats) -> Floats:
        """Hour of the day, 0 ≤ h < 24."""
        return (hours + self.start.hour + self.start.minute / 60.0) % 24.0

    def weekday(self, hours: Floats) -> Ints:
        """Day of the week, Monday 0."""
        days = np.floor((hours + self.start.hour + self.start.minute / 60.0) / 24.0)
        return (days.astype(np.int64) + self.start.weekday()) % 7


@dataclass(frozen=True)
class Traffic:
    """Journeys under way in a world: what every step of a simulation works on."""

    world: World
    clock: Clock
    rng: np.random.Generator
    journeys: Journeys


def load_lots(
    world: World, clock: Clock, rng: np.random.Generator, *, units: int, first: float, last: float
) -> Traffic:
    """Draw lots and what they are made of; nothing has moved yet.

    Parameters
    ----------
    units
        About how many units to make.
    first, last
        Hours since the start between which lots leave the factory.
    """
    lots = max(1, round(units / 72.0))
    products = len(world.season_phase)
    days = np.arange(np.floor(first / 24.0), np.ceil(last / 24.0), dtype=np.float64)
    month = clock.start.month - 1 + days / 30.4
    volume = 1.0 + 0.4 * np.cos(2 * np.pi * (month[:, None] - world.season_phase) / 12.0)
    volume *= np.where(clock.weekday(days * 24.0) == 6, 0.0, 1.0)[:, None]
    drawn = rng.choice(volume.size, lots, p=(volume / volume.sum()).ravel())
    lot_product = drawn % products
    lot_day = days[drawn // products]
    lot_time = lot_day * 24.0 + rng.choice([6.0, 14.0], lots) + rng.uniform(0.0, 7.5, lots)
    lot_time -= clock.of_day(np.zeros(1))[0]
    lot_age = np.where(
        rng.random(lots) < 0.03, rng.uniform(200.0, 1600.0, lots), rng.exponential(6.0, lots)
    )
    lot_place = rng.choice(np.flatnonzero(world.tier == FACTORY), lots)
    pallet_lot = np.repeat(np.arange(lots), rng.integers(2, 5, lots))
    case_pallet = np.repeat(np.arange(len(pallet_lot)), 2)
    unit_case = np.repeat(np.arange(len(case_pallet)), rng.integers(8, 17, len(case_pallet)))
    unit_pallet = case_pallet[unit_case]
    unit_lot = pallet_lot[unit_pallet]
    count = len(unit_case)
    journeys = Journeys(
        time=np.full((count, SLOTS), np.nan),
        place=np.full((count, SLOTS), -1, dtype=np.int64),
        product=lot_product[unit_lot],
        behaves_like=lot_product[unit_lot].copy(),
        lot=unit_lot,
        pallet=unit_pallet,
        case=unit_case,
        age_days=np.floor(lot_age)[unit_lot],
        returned=rng.random(count) < RETURN_SHARE,
    )
    journeys.time[:, AGGREGATION] = lot_time[unit_lot]
    journeys.place[:, AGGREGATION] = lot_place[unit_lot]
    return Traffic(world, clock, rng, journeys)


def proceed(
    traffic: Traffic,
    units: Ints,
    stop: int,
    *,
    alone: bool = False,
    target: Ints | None = None,
    dwell_factor: Floats | None = None,
    leave_at: Floats | None = None,
) -> None:
    """Take goods that have arrived at a stop from there to the end of their journey, in place.

    Parameters
    ----------
    units, stop
        Which units, and the tier at which all of them are (factory to wholesaler).
    alone
        Each unit by itself, rather than with its lot, pallet and case.
    target
        (len(units),) the next place, instead of one drawn from the product's routes; −1 draws.
    dwell_factor
        (len(units),) how much longer than drawn the goods stay at this first stop.
    leave_at
        (len(units),) hour at which they leave this first stop, open or closed; NaN as usual.
    """
    world, rng, journeys = traffic.world, traffic.rng, traffic.journeys
    order = (FACTORY, WMS, HUB, WHOLESALER)
    for tier in order[order.index(stop) :]:
        came = ARRIVALS.get(tier, AGGREGATION)
        here = units[journeys.place[units, came] >= 0]
        if len(here) == 0:
            continue
        first = tier == stop
        group = np.arange(len(here)) if alone else _group(journeys, here, tier)
        source = journeys.place[here, came]
        goal = _next_place(world, rng, journeys.behaves_like[here], source, group)
        if first and target is not None:
            goal = np.where(target >= 0, target, goal)
        ready = journeys.time[here, came]
        if tier != FACTORY:
            stay = _stay(world, rng, journeys.behaves_like[here], source, group)
            ready = ready + (stay * dwell_factor if first and dwell_factor is not None else stay)
        forced = leave_at if first else None
        depart, arrive = _drive(traffic, source, goal, ready, group=group, leave_at=forced)
        journeys.time[here, DEPARTURES[tier]] = depart
        journeys.place[here, DEPARTURES[tier]] = source
        if tier == HUB:  # whoever goes to the store directly has no stay at a wholesaler
            journeys.time[here, W_OUT], journeys.place[here, W_OUT] = np.nan, -1
        for next_tier in (WMS, HUB, WHOLESALER, RETAILER):
            if next_tier > tier:
                there = world.tier[goal] == next_tier
                slot = ARRIVALS[next_tier]
                journeys.time[here, slot] = np.where(there, arrive, np.nan)
                journeys.place[here, slot] = np.where(there, goal, -1)
    _end_at_retailer(traffic, units)


def _group(journeys: Journeys, units: Ints, tier: int) -> Ints:
    members = {FACTORY: journeys.lot, WMS: journeys.pallet, HUB: journeys.pallet}
    return np.unique(members.get(tier, journeys.case)[units], return_inverse=True)[1]


def _next_place(
    world: World, rng: np.random.Generator, product: Ints, source: Ints, group: Ints
) -> Ints:
    draw = rng.random(group.max() + 1)[group]
    cumulative = world.route_weight[product, source].cumsum(axis=1)
    return np.asarray((cumulative <= draw[:, None] * cumulative[:, -1:]).sum(axis=1))


def _stay(
    world: World, rng: np.random.Generator, product: Ints, place: Ints, group: Ints
) -> Floats:
    noise = rng.lognormal(0.0, _DWELL_SPREAD, group.max() + 1)[group]
    return np.asarray(np.maximum(world.dwell_hours[product, place] * noise, 0.3))


def closed_for(world: World, clock: Clock, place: Ints, hours: Floats) -> Floats:
    """Hours until a place opens again; 0 while it is open."""
    hour, weekday = clock.of_day(hours), clock.weekday(hours)
    opens, closes, rests = world.opens[place], world.closes[place], world.closed_sunday[place]
    today = ~(rests & (weekday == 6))
    is_open = today & (hour >= opens) & (hour < closes)
    later_today = today & (hour < opens)
    until_tomorrow = 24.0 - hour + opens + np.where(rests & ((weekday + 1) % 7 == 6), 24.0, 0.0)
    return np.where(is_open, 0.0, np.where(later_today, opens - hour, until_tomorrow))


def _drive(
    traffic: Traffic,
    source: Ints,
    goal: Ints,
    ready: Floats,
    *,
    group: Ints,
    leave_at: Floats | None = None,
) -> tuple[Floats, Floats]:
    """Leave when the source is open, and so that the goal is open on arrival."""
    world, clock, rng = traffic.world, traffic.clock, traffic.rng
    groups = group.max() + 1
    noise = np.clip(rng.normal(0.0, 1.0, groups), -3.0, 3.0)[group]
    hold_up = np.where(rng.random(groups) < 0.01, rng.uniform(1.1, 1.6, groups), 1.0)[group]
    usual = world.route_hours[source, goal] * np.exp(world.route_spread[source, goal] * noise)
    usual = usual * hold_up
    weather = rng.normal(0.0, 0.02, 400)
    depart = ready.copy()
    forced = np.zeros(len(ready), dtype=bool)
    if leave_at is not None:
        forced = ~np.isnan(leave_at)
        depart = np.where(forced, leave_at, depart)

    def travel(leaving: Floats, rows: Ints) -> Floats:
        rush = np.exp(-(((clock.of_day(leaving) - 17.0) / 2.5) ** 2))
        day = weather[(leaving // 24.0).astype(np.int64) % 400]
        hours: Floats = usual[rows] * (1.0 + 0.07 * rush) * np.exp(day)
        return np.clip(hours, MIN_TRANSIT_HOURS, MAX_TRANSIT_HOURS)

    open_rows = np.flatnonzero(~forced)
    for _ in range(24):  # a few rounds bring both opening hours together
        if len(open_rows) == 0:
            break
        jitter = rng.uniform(0.0, 1.5, groups)[group[open_rows]]
        wait = closed_for(world, clock, source[open_rows], depart[open_rows])
        depart[open_rows] += np.where(wait > 0, wait + jitter, 0.0)
        arrive = depart[open_rows] + travel(depart[open_rows], open_rows)
        late = closed_for(world, clock, goal[open_rows], arrive)
        depart[open_rows] += np.where(late > 0, late + jitter * 0.7, 0.0)
        open_rows = open_rows[(wait > 0) | (late > 0)]
    return depart, depart + travel(depart, np.arange(len(depart)))


def _end_at_retailer(traffic: Traffic, units: Ints) -> None:
    """Sell each unit by itself, or send it back where it came from."""
    world, clock, rng = traffic.world, traffic.clock, traffic.rng
    journeys = traffic.journeys
    time, place = journeys.time, journeys.place
    time[units, R_OUT:], place[units, R_OUT:] = np.nan, -1
    here = units[place[units, R_IN] >= 0]
    if len(here) == 0:
        return
    each = np.arange(len(here))
    store, product = place[here, R_IN], journeys.behaves_like[here]
    pace = world.dwell_hours[product].mean(axis=1) / world.dwell_hours.mean()
    back = journeys.returned[here]
    stocked = world.has_stockroom[store] & ~back
    ready = time[here, R_IN] + _stay(world, rng, product, store, each)
    ready += closed_for(world, clock, store, ready) * 1.02
    shelf = np.where(stocked, ready, time[here, R_IN])
    sold = shelf + SHELF_HOURS * pace * rng.lognormal(0.0, 0.6, len(here))
    wait = closed_for(world, clock, store, sold)
    sold += np.where(wait > 0, wait + rng.uniform(0.2, 6.0, len(here)), 0.0)
    time[here, R_OUT] = np.where(stocked, ready, np.nan)
    place[here, R_OUT] = np.where(stocked, store, -1)
    time[here, SALE], place[here, SALE] = np.where(back, np.nan, sold), np.where(back, -1, store)

    going = here[back]
    if len(going) == 0:
        return
    supplier = np.where(place[going, W_IN] >= 0, place[going, W_IN], place[going, HUB_IN])
    alone = np.arange(len(going))
    leave, arrive = _drive(traffic, store[back], supplier, ready[back] + 48.0, group=alone)
    time[going, R_OUT], place[going, R_OUT] = leave, store[back]
    to_hub = world.tier[supplier] == HUB
    time[going, RETURN_W_IN] = np.where(to_hub, np.nan, arrive)
    place[going, RETURN_W_IN] = np.where(to_hub, -1, supplier)
    time[going, RETURN_HUB_IN] = np.where(to_hub, arrive, np.nan)
    place[going, RETURN_HUB_IN] = np.where(to_hub, supplier, -1)
    onward = going[~to_hub & (rng.random(len(going)) < 0.5)]
    if len(onward):
        each = np.arange(len(onward))
        source, hub = place[onward, RETURN_W_IN], place[onward, HUB_IN]
        ready = time[onward, RETURN_W_IN] + _stay(
            world, rng, journeys.behaves_like[onward], source, each
        )
        leave, arrive = _drive(traffic, source, hub, ready, group=each)
        time[onward, RETURN_W_OUT], place[onward, RETURN_W_OUT] = leave, source
        time[onward, RETURN_HUB_IN], place[onward, RETURN_HUB_IN] = arrive, hub
