"""Codes that move together, and one that leaves them.

What belongs here: with how many codes of its lot each scan was made, how many of these make the
next scan with it, and how rare it is to go alone. Codes of a lot at one place with one word, within
minutes of each other, are together. Goods travel by pallets and cases, so that a whole pallet that
was held up was decided once, and one unit that leaves its pallet was decided about that unit.

Only what is in hand is known. A code goes alone where others in hand, which came with it, did not
go with it, and all that happened in the minutes after it is in hand as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Self

import numpy as np
import polars as pl

from anomaly_platform.ml.arrays import Arrays, Bools, Floats, Ints
from anomaly_platform.ml.bundles.checking import BadModelError, checked
from anomaly_platform.ml.columns import coded, microseconds
from anomaly_platform.ml.detectors.scan_habits.steps import LONGEST_HOURS, Steps, places_of, totals
from anomaly_platform.ml.detectors.sequence_lstm.scans import SHIPMENT_GAP, lots_of
from anomaly_platform.ml.features.scans.names import MAX_HISTORY

LEAST: Final = 4
"""Codes that came together, the code itself among them, before it can go alone."""
MOST: Final = 6.0
"""Nats that going alone says at most."""
TOGETHER: Final = -3.0
"""Nats that going together says, against what happens to single codes."""
USUAL: Final = 0.5
"""Share of codes that go alone from which on going together says nothing."""
_GAP: Final = int(SHIPMENT_GAP.total_seconds() * 1e6)
_REACH: Final = int(LONGEST_HOURS * 3.6e9)


@dataclass(frozen=True)
class Companions:
    """What moves with each row of a frame.

    Attributes
    ----------
    came, went
        (rows,) codes that made a scan's previous one with it, no later than this one, and those
        with which it makes both, no later than ten minutes after; both count the code itself.
        `came` is 0 where there is no previous scan, or where more may have gone along than is in
        hand.
    ship, size
        (rows,) number of the shipment, and how many codes are in it.
    lot, second, end
        (rows,) number of the lot, when, and when the last of the shipment was scanned, in seconds;
        all from 0.
    """

    came: Ints
    went: Ints
    ship: Ints
    size: Ints
    lot: Ints
    second: Ints
    end: Ints

    @classmethod
    def of(cls, scans: pl.DataFrame, until: datetime | None = None) -> Self:
        """Count for each row of `scans`, in any order.

        Parameters
        ----------
        scans
            Scan features.
        until
            Up to when all scans are in hand; the newest of `scans` by default.
        """
        if scans["epc_code"].n_unique() < LEAST:
            return cls.none(scans.height)
        frame = scans.select("epc_code", "event_time", "event_id", "place", "event")
        times = microseconds(frame["event_time"])
        newest = times.max()
        if until is not None:
            newest = microseconds(pl.Series([until]).cast(scans["event_time"].dtype))[0]
        code = coded(frame["epc_code"])[1].astype(np.int64)
        by_code = np.lexsort((coded(frame["event_id"])[1], times, code))
        lot = coded(lots_of(frame))[1].astype(np.int64)
        shipment = _shipments(frame, lot, times)
        second = (times - times.min()) // 1_000_000
        end = np.zeros(shipment.max() + 1, dtype=np.int64)
        np.maximum.at(end, shipment, second)
        size = np.bincount(_firsts(shipment, code)[1], minlength=len(end))
        of_lot = (shipment, size[shipment], lot, second, end[shipment])
        ship, code, times = shipment[by_code], code[by_code], times[by_code]
        follows = np.zeros(len(code), dtype=bool)
        follows[1:] = (code[1:] == code[:-1]) & (np.diff(times) < _REACH)
        before = np.where(follows, np.roll(ship, 1), -1)
        # What is scanned later than these minutes is unknown when a stream is judged.
        known = follows & (times + _GAP <= newest)
        came = np.where(known, _codes_until(ship, code, times, before, times), 0)
        pair = np.unique(before * len(end) + ship, return_inverse=True)[1]
        went = _codes_until(pair, code, times, pair, times + _GAP)
        rows = np.empty(len(code), dtype=np.int64)
        rows[by_code] = np.arange(len(code))
        return cls(came[rows], went[rows], *of_lot)

    @classmethod
    def none(cls, rows: int) -> Self:
        """Return what is known where each code is by itself."""
        nothing = np.zeros(rows, dtype=np.int64)
        return cls(*(nothing for _ in range(7)))


@dataclass(frozen=True)
class Company:
    """How rare it is to go alone.

    Attributes
    ----------
    pairs
        (pairs,) sorted `before · events + event`.
    alone
        (pairs,) share of the codes, of those that came with others, that go alone.
    """

    events: int
    pairs: Ints
    alone: Floats

    @classmethod
    def fit(cls, steps: Steps, companions: Companions, events: int) -> Self:
        """Count training steps; `companions` are those of the frame's rows."""
        came, went = companions.came[steps.rows], companions.went[steps.rows]
        used = (came >= LEAST) & steps.believed & _said(steps)
        if not used.any():
            return cls(events, np.full(1, -1, dtype=np.int64), np.ones(1))
        pairs, pair = np.unique((steps.before * events + steps.event)[used], return_inverse=True)
        single = totals(pair, (went[used] == 1).astype(np.float64), len(pairs))
        return cls(events, pairs, (single + 0.5) / (np.bincount(pair) + 1.0))

    def evidence(self, steps: Steps, companions: Companions) -> tuple[Floats, Floats, Ints]:
        """Say how much going alone, or together, speaks for what happens to single codes.

        Goods leave at one scan, and where they went is known at the next.

        Returns
        -------
        tuple of arrays
            (n,) nats for this scan, 0 where nothing is known; (n,) nats for the last one, at
            least 0, of a scan that came from elsewhere; (n,) how many came together, of which the
            code left alone at one or the other, 0 for none.
        """
        came, went = companions.came[steps.rows], companions.went[steps.rows]
        wanted = steps.before * self.events + steps.event
        at = places_of(self.pairs, wanted)
        known = (came >= LEAST) & _said(steps)
        share = np.where(known & (self.pairs[at] == wanted), self.alone[at], 1.0)
        single = np.minimum(-np.log(share), MOST)
        lone = np.where(went == 1, single, np.where(share < USUAL, TOGETHER, 0.0))
        before = np.where(steps.is_leg, np.maximum(np.roll(lone, 1), 0.0), 0.0)
        left = np.where(lone > 0, came, np.where(before > 0, np.roll(came, 1), 0))
        return lone, before, left

    def parted(self, steps: Steps, companions: Companions, alone: Floats) -> Bools:
        """(rows,) scans of a code by itself that left its company where goods stay together.

        Parameters
        ----------
        steps, companions
            Of the frame's rows.
        alone
            (n,) the higher of the nats for going alone at this scan and at the last one.
        """
        parted = np.zeros(len(companions.size), dtype=bool)
        parted[steps.rows] = alone >= -np.log(USUAL)
        # Where nothing is known of what came along, others may have made this scan as well.
        return np.asarray(parted & (companions.came > 0) & (companions.size == 1))

    def to_arrays(self) -> Arrays:
        """Return the shares."""
        sizes = np.array([self.events], dtype=np.int64)
        return {"sizes": sizes, "pairs": self.pairs, "alone": self.alone}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """Read what `to_arrays` returned."""
        events = int(checked(arrays, "sizes", (1,), kinds="i", low=1, high=1e6)[0])
        pairs = checked(arrays, "pairs", (None,), kinds="i", low=-1)
        if not len(pairs) or (np.diff(pairs) <= 0).any():
            raise BadModelError("the pairs of events of company do not ascend")
        return cls(events, pairs, checked(arrays, "alone", (len(pairs),), low=1e-12, high=1.0))


@dataclass(frozen=True)
class SharedPast:
    """What shipments of several codes did, which every code of their lot looks back on.

    Attributes
    ----------
    ship
        (n,) the shipment of each step, −1 for one of fewer than `LEAST` codes.
    of_ship
        (shipments, products) mean of the ratios of a shipment's believed steps, by lot and end.
    first, last
        (n,) which shipments each step looks back on: those of its lot that ended more than ten
        minutes and less than 720 h before, the newest 63. Of others it knows its code's own steps.
    """

    ship: Ints
    of_ship: Floats
    first: Ints
    last: Ints

    @classmethod
    def of(cls, ratios: Floats, steps: Steps, companions: Companions) -> Self:
        """Gather the (n, products) ratios of steps by shipment."""
        n, products = ratios.shape
        shared = (companions.size[steps.rows] >= LEAST) & steps.believed
        ship, nothing = np.full(n, -1, dtype=np.int64), np.zeros(n, dtype=np.int64)
        if not shared.any():
            return cls(ship, np.zeros((0, products)), nothing, nothing)
        lot, second = companions.lot[steps.rows], companions.second[steps.rows]
        numbers, one, inverse = np.unique(
            companions.ship[steps.rows][shared], return_index=True, return_inverse=True
        )
        ends, lots = companions.end[steps.rows][shared][one], lot[shared][one]
        order = np.lexsort((ends, lots))
        place = np.empty(len(numbers), dtype=np.int64)
        place[order] = np.arange(len(numbers))
        ship[shared] = place[inverse]
        count = np.bincount(ship[shared])[:, None]
        sums = [totals(ship[shared], one, len(numbers)) for one in ratios[shared].T]
        span = int(companions.end.max()) + 1
        keys = (lots * span + ends)[order]
        from_then = lot * span + np.maximum(second - _REACH // 1_000_000 + 1, 0)
        till_then = lot * span + np.maximum(second - _GAP // 1_000_000, 0)
        last = np.searchsorted(keys, till_then).astype(np.int64)
        first = np.searchsorted(keys, from_then).astype(np.int64)
        return cls(
            ship, np.stack(sums, axis=1) / count, np.maximum(first, last - MAX_HISTORY), last
        )


def _said(steps: Steps) -> Bools:
    """(n,) whether it is known where and what a step is, and what was before it."""
    return np.asarray((steps.place >= 0) & (steps.event >= 0) & (steps.before >= 0))


def _shipments(frame: pl.DataFrame, lot: Ints, times: Ints) -> Ints:
    """(rows,) number of the shipment of each scan: its lot, place and word, and minutes.

    A scan without a place is by itself: nothing says where it would be together with others.
    """
    parts = [lot, *(coded(frame[name])[1].astype(np.int64) for name in ("place", "event"))]
    order = np.lexsort((times, *parts))
    begins = parts[1][order] < 0
    begins[0] = True
    begins[1:] |= np.diff(times[order]) > _GAP
    for part in parts:
        begins[1:] |= part[order][1:] != part[order][:-1]
    ship = np.empty(len(times), dtype=np.int64)
    ship[order] = np.cumsum(begins) - 1
    return ship


def _firsts(group: Ints, code: Ints) -> tuple[Ints, Ints]:
    """Return the first row of each code in each group, and the groups of these rows."""
    _, rows = np.unique(group * (code.max() + 1) + code, return_index=True)
    return rows, group[rows]


def _codes_until(group: Ints, code: Ints, times: Ints, wanted: Ints, until: Ints) -> Ints:
    """(rows,) codes of the wanted group of each row that are in it by an instant.

    Rows are by code and time.
    """
    rows, groups = _firsts(group, code)
    ordered, span = np.sort(times), len(times) + 1
    keys = np.sort(groups * span + np.searchsorted(ordered, times[rows], side="right"))
    ends = wanted * span + np.searchsorted(ordered, until, side="right")
    found = np.searchsorted(keys, ends, side="right") - np.searchsorted(keys, wanted * span)
    return np.asarray(found, dtype=np.int64)
