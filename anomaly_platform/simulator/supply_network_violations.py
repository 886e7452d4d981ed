"""What goes plainly wrong: the five kinds of violations that rules must find.

What belongs here: changes to single journeys that break a rule, each labelled at the scan that is
to blame. Wherever a scan contradicts an earlier one, the later one is to blame.
"""

import numpy as np

from anomaly_platform.ml.arrays import Floats, Ints
from anomaly_platform.simulator import supply_network_journeys as at
from anomaly_platform.simulator.supply_network_anomalies import Book
from anomaly_platform.simulator.supply_network_journeys import Journeys, Traffic
from anomaly_platform.simulator.supply_network_world import (
    FACTORY,
    FORWARD_MOVES,
    HUB,
    RETAILER,
    WHOLESALER,
    WMS,
    World,
)

FORGERIES = ("structure", "header", "company", "date", "future", "expired")
UNKNOWN_PLACES = 6
_STAYS = ((at.WMS_IN, at.WMS_OUT), (at.HUB_IN, at.HUB_OUT), (at.W_IN, at.W_OUT))
_LEGS = (
    (at.AGGREGATION, at.WMS_IN),
    (at.WMS_OUT, at.HUB_IN),
    (at.HUB_OUT, at.W_IN),
    (at.W_OUT, at.R_IN),
)
_TIER_LEFT = {at.AGGREGATION: FACTORY, at.WMS_OUT: WMS, at.HUB_OUT: HUB, at.W_OUT: WHOLESALER}


def forge_codes(traffic: Traffic, book: Book, count: int) -> None:
    """Give units a code that cannot be: every scan of them is to blame."""
    rng, journeys = traffic.rng, traffic.journeys
    units = book.take(rng, np.asarray(book.seen(journeys.time).any(axis=1)), count)
    way = rng.integers(0, len(FORGERIES), len(units))
    for index, name in enumerate(FORGERIES):
        book.forged[name] = units[way == index]
    for slot in range(at.SLOTS):
        book.blame(units, slot, "epcFake", 1.0)


def copy_codes(traffic: Traffic, book: Book, count: int) -> None:
    """Scan a copy of the code somewhere else in the same second; the copy's scan comes second."""
    world, rng, journeys = traffic.world, traffic.rng, traffic.journeys
    for slot in (at.WMS_IN, at.HUB_OUT, at.W_IN, at.R_IN, at.SALE):
        units = book.take(rng, book.seen(journeys.time[:, slot]), round(count / 5))
        place = journeys.place[units, slot]
        same_tier = world.tier[None, :] == world.tier[place][:, None]
        possible = np.where(rng.random((len(units), 1)) < 0.7, same_tier, True)
        possible[np.arange(len(units)), place] = False
        elsewhere = (rng.random(possible.shape) * possible).argmax(axis=1)
        arrival = np.array([at.ARRIVALS.get(tier, at.AGGREGATION) for tier in range(5)])
        words = np.where(world.tier[elsewhere] == world.tier[place], slot, 0)
        words = np.where(words == 0, arrival[world.tier[elsewhere]], words)
        km = world.distance_km[place, elsewhere]
        book.add_scan(
            units, words, elsewhere, journeys.time[units, slot], kind="epcDup", magnitude=km / 100.0
        )


def misplace(traffic: Traffic, book: Book, count: int) -> None:
    """Scan at unknown places or the wrong kind of place; send goods up or sideways."""
    world, rng, journeys = traffic.world, traffic.rng, traffic.journeys
    share = round(count / 4)
    for (arrived, leaves), part in zip(_STAYS[1:], (share // 2, share - share // 2), strict=True):
        units = book.take(rng, book.all_seen(journeys, arrived, leaves), part)
        strange = len(world.tier) + rng.integers(0, UNKNOWN_PLACES, len(units))
        for slot in (arrived, leaves):
            journeys.place[units, slot] = strange
            book.blame(units, slot, "locErr", 1.0)

    for leaves, arrived in _LEGS[1:]:
        units = book.take(rng, book.all_seen(journeys, leaves, arrived), share // 3)
        came_from = _TIER_LEFT[leaves]
        right = [came_from, *(b for a, b in FORWARD_MOVES if a == came_from)]
        wrong = np.flatnonzero(~np.isin(world.tier, right))
        book.blame(units, arrived, "locErr", 1.0)
        journeys.place[units, arrived] = rng.choice(wrong, len(units))

    for tier in (HUB, WHOLESALER):
        units = book.take(rng, book.all_seen(journeys, at.W_OUT, at.R_IN), share)
        source, goal = journeys.place[units, at.W_OUT], journeys.place[units, at.R_IN]
        possible = np.repeat((world.tier == tier)[None, :], len(units), axis=0)
        possible[np.arange(len(units)), source] = False
        detour = (rng.random(possible.shape) * possible).argmax(axis=1)
        there = journeys.time[units, at.W_OUT] + _drive_hours(world, rng, source, detour)
        on = there + rng.uniform(2.0, 12.0, len(units))
        delay = on + _drive_hours(world, rng, detour, goal) - journeys.time[units, at.R_IN]
        journeys.time[units, at.R_IN :] += delay[:, None]
        size = 1.0 + (world.tier[source] - world.tier[detour]).astype(float)
        for slot, hours, kind in (
            (at.ARRIVALS[tier], there, "locErr"),
            (at.DEPARTURES[tier], on, None),
        ):
            slots = np.full(len(units), slot)
            book.add_scan(units, slots, detour, hours, kind=kind, magnitude=size)


def disorder(traffic: Traffic, book: Book, count: int) -> None:
    """Missing, repeated and swapped scans, and scans after the sale."""
    rng, journeys = traffic.rng, traffic.journeys
    part = round(count / 5)
    before = {at.WMS_IN: at.AGGREGATION, at.HUB_IN: at.WMS_OUT, at.W_IN: at.HUB_OUT}
    after = {at.WMS_OUT: at.HUB_IN, at.HUB_OUT: at.W_IN, at.W_OUT: at.R_IN}
    for arrived, leaves in _STAYS:
        each = round(part / 3)
        units = book.take(rng, book.all_seen(journeys, before[arrived], leaves), each)
        _drop(journeys, units, arrived)
        book.blame(units, leaves, "evtOrderErr", 1.0)

        units = book.take(rng, book.all_seen(journeys, arrived, after[leaves]), each)
        _drop(journeys, units, leaves)
        book.blame(units, after[leaves], "evtOrderErr", 1.0)

        units = book.take(rng, book.all_seen(journeys, arrived, leaves), each)
        start, end = journeys.time[units, arrived], journeys.time[units, leaves]
        again = start + (end - start) * rng.uniform(0.3, 0.9, len(units))
        place = journeys.place[units, arrived]
        book.add_scan(units, arrived, place, again, kind="evtOrderErr", magnitude=again - start)

        units = book.take(rng, book.all_seen(journeys, before[arrived], leaves), each)
        swapped = journeys.time[units][:, [leaves, arrived]]
        journeys.time[units, arrived], journeys.time[units, leaves] = swapped.T
        for slot in (arrived, leaves):
            book.blame(units, slot, "evtOrderErr", swapped[:, 0] - swapped[:, 1])

    units = book.take(rng, book.all_seen(journeys, at.SALE), part)
    slots = rng.choice([at.R_IN, at.R_OUT, at.SALE], len(units))
    later = np.exp(rng.uniform(np.log(0.2), np.log(48.0), len(units)))
    hours = journeys.time[units, at.SALE] + later
    place = journeys.place[units, at.SALE]
    book.add_scan(units, slots, place, hours, kind="evtOrderErr", magnitude=later)


def jump(traffic: Traffic, book: Book, count: int) -> None:
    """Arrive far too early or too late, or be scanned where no vehicle could be by then."""
    world, rng, journeys = traffic.world, traffic.rng, traffic.journeys
    for leaves, arrived in _LEGS:
        part = round(count / 12)
        # Only who comes too late is late from there on.
        for least, most, moved in (
            (0.04, 0.42, slice(arrived, arrived + 1)),
            (2.3, 12.0, slice(arrived, None)),
        ):
            units = book.take(rng, book.all_seen(journeys, leaves, arrived), part)
            factor = np.exp(rng.uniform(np.log(least), np.log(most), len(units)))
            travel = journeys.time[units, arrived] - journeys.time[units, leaves]
            journeys.time[units, moved] += (travel * (factor - 1.0))[:, None]
            book.blame(units, arrived, "jump", np.abs(np.log(factor)))

    for leaves, tier in ((at.HUB_OUT, WHOLESALER), (at.W_OUT, RETAILER)):
        units = book.take(rng, book.all_seen(journeys, leaves, at.R_IN), round(count / 6))
        source = journeys.place[units, leaves]
        far = (world.tier == tier)[None, :] & (world.distance_km[source] > 100.0)
        goal = (rng.random(far.shape) * far).argmax(axis=1)
        possible = far[np.arange(len(units)), goal]
        units, source, goal = units[possible], source[possible], goal[possible]
        minutes = rng.uniform(3.0, 25.0, len(units))
        odd = np.log(world.route_hours[source, goal] * 60.0 / minutes)
        hours = journeys.time[units, leaves] + minutes / 60.0
        book.add_scan(units, at.ARRIVALS[tier], goal, hours, kind="jump", magnitude=odd)


def _drop(journeys: Journeys, units: Ints, slot: int) -> None:
    journeys.time[units, slot], journeys.place[units, slot] = np.nan, -1


def _drive_hours(world: World, rng: np.random.Generator, source: Ints, goal: Ints) -> Floats:
    noise = np.clip(rng.normal(0.0, 1.0, len(source)), -3.0, 3.0)
    return world.route_hours[source, goal] * np.exp(world.route_spread[source, goal] * noise)
