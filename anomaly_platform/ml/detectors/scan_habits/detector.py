"""What is ordinary for goods, as one detector: legs, stays, hours, and whose habits are followed.

What belongs here: how the four become one raw score and its p-value, and what is said about it.
Each part is the log of a ratio: how likely the scan is if something is wrong, to how likely it is
for ordinary goods of its product. The raw score is the log of their weighed sum. Stay, hour and leg
say more of a code that left those that it came with.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Self

import numpy as np
import polars as pl

from anomaly_platform.ml.arrays import AnyArray, Arrays, Bools, Floats, Ints
from anomaly_platform.ml.bundles.checking import BadModelError
from anomaly_platform.ml.calibration.conformal import Calibration
from anomaly_platform.ml.detectors.base import part_of, under
from anomaly_platform.ml.detectors.scan_habits.company import (
    Companions,
    Company,
    SharedPast,
)
from anomaly_platform.ml.detectors.scan_habits.hours import Hours
from anomaly_platform.ml.detectors.scan_habits.imitation import gathered
from anomaly_platform.ml.detectors.scan_habits.legs import Legs, NothingOrdinaryError
from anomaly_platform.ml.detectors.scan_habits.stays import Stays
from anomaly_platform.ml.detectors.scan_habits.steps import (
    READ,
    Steps,
    Words,
    shipment_shares,
    steps_of,
)
from anomaly_platform.ml.detectors.sequence_lstm.calibrated import calibration_start
from anomaly_platform.ml.detectors.sequence_lstm.scans import lots_of

PARTS: Final = ("leg", "stay", "product", "hour", "day")
WEIGHTS: Final = np.array([0.0, -1.0, 0.5, -2.5, -9.0])
"""Log weights of the parts."""
WEIGHTS_ALONE: Final = np.array([-1.0, 1.0, -1.0, -1.0, -9.0])
"""The same where company is not looked at."""
NOTHING: Final = -9.0
"""What a part says that has nothing to judge."""
SHIFTS: Final = np.log([1 / 12, 1 / 6, 1 / 3, 3.0, 6.0, 12.0])
"""Stays that are wrong last so many times as long as usual."""
HELD_UP: Final = 0.01
"""Share of ordinary stays that anything may have held up: no stay says more than its inverse."""
SUSPICION: Final = 0.1
"""How probable it is, before anything is seen, that a code follows another product's habits."""
TAIL_FLOOR: Final = 1.0


@dataclass(frozen=True)
class HabitVerdicts:
    """Raw scores (n,) and p-values (n,) in the order of the frame, and what explains them.

    parts (steps, parts) weighed; likest (steps,): the product that a code seems to be, −1 where
    there is no other; moments (steps, 2): how rare hour and day are; left (steps,): of how many
    codes each left alone, at this scan or, for a leg, at the one before, 0 for none; step_of_row
    (n,): −1 for a second reading; parted (n,): `Company.parted`. All are of the frame, and of no
    code beside it.
    """

    raw: Floats
    p_values: Floats
    parts: Floats
    likest: Ints
    moments: Floats
    left: Ints
    step_of_row: Ints
    parted: Bools
    _steps: Steps
    _habits: ScanHabits

    def explain(self, row: int, places: dict[str, str]) -> str:
        """Say what is unusual about a row of the frame; empty for a second reading."""
        step = int(self.step_of_row[row])
        if step < 0:
            return ""
        return self._habits.words_for(self, step, places)

    @property
    def believed(self) -> Bools:
        """(n,) scans that did not break a rule, as far as they are steps."""
        believed = np.ones(len(self.step_of_row), dtype=bool)
        believed[self._steps.rows] = self._steps.believed
        return believed


@dataclass(frozen=True)
class ScanHabits:
    """Words, tables and calibration. Fitted: use `fit` or `from_arrays`."""

    words: Words
    legs: Legs
    stays: Stays
    hours: Hours
    calibration: Calibration
    company: Company | None = None

    @classmethod
    def fit(cls, scans: pl.DataFrame) -> tuple[Self, HabitVerdicts]:
        """Learn on the first part of a window, calibrate on its last fifth; judge the window.

        Parameters
        ----------
        scans
            Scan features of the window, with the rules' scores where there are any: scans that
            break a rule are neither learned nor calibrated on.

        Raises
        ------
        NothingOrdinaryError
            When no scan of a known product has a place, or none is left to calibrate on.
        """
        late = (scans["event_time"] >= calibration_start(scans)).to_numpy()
        early = scans.filter(pl.Series(~late))
        words = Words.of(early)
        steps = steps_of(early, words)
        weights = shipment_shares(early, lots_of(early))[steps.rows]
        places, events, products = len(words.place), len(words.event), len(words.product)
        nothing = Calibration.fit(np.zeros(1))
        company = Company.fit(steps, Companions.of(early), max(events, 1))
        habits = cls(
            words,
            Legs.fit(steps, weights, places, products),
            Stays.fit(steps, weights, max(events, 1), products),
            Hours.fit(steps, weights, max(events, 1)),
            nothing,
            company,
        )
        verdicts = habits.judge(scans)
        held_out = late & verdicts.believed
        if not held_out.any():
            raise NothingOrdinaryError("no scan to calibrate on: a rule fires at each of them")
        calibration = Calibration.fit(verdicts.raw[held_out], tail_floor=TAIL_FLOOR)
        habits = replace(habits, calibration=calibration)
        p_values = calibration.p_value(verdicts.raw)
        return habits, replace(verdicts, p_values=p_values, _habits=habits)

    def judge(
        self, scans: pl.DataFrame, beside: pl.DataFrame | None = None, until: datetime | None = None
    ) -> HabitVerdicts:
        """Score scans; the frame holds the look-back of their codes, in any order.

        Parameters
        ----------
        scans
            Scan features, with the rules' scores where there are any.
        beside
            The same of further codes of their lots: they are not judged, and tell what the lots
            did. No code may be in both.
        until
            Up to when all scans are in hand; the newest of `scans` by default.
        """
        height = scans.height
        # Sets that were fused before company was looked at judge each code by itself.
        alone = self.company is None
        if beside is not None and not alone:
            until = until or scans.select(pl.col("event_time").max()).item()
            read = [name for name in scans.columns if name in READ or name.endswith("_score")]
            scans = pl.concat([scans.select(read), beside.select(read)])
        steps = steps_of(scans, self.words)
        companions = Companions.none(height) if alone else Companions.of(scans, until)
        lone, left_before = np.zeros((2, len(steps.rows)))
        left = np.zeros(len(steps.rows), dtype=np.int64)
        parted = np.zeros(height, dtype=bool)
        if self.company is not None:
            lone, left_before, left = self.company.evidence(steps, companions)
            parted = self.company.parted(steps, companions, np.maximum(lone, left_before))[:height]
        judged = steps.rows < height
        parts, likest, moments = self._parts(steps, judged, companions, lone, left_before)
        if scans.height > height:
            parts, moments = parts[judged], moments[judged]
            likest, left = likest[judged], left[judged]
            steps = steps.of_codes(judged)
        raw = np.full(height, NOTHING)
        raw[steps.rows] = np.logaddexp.reduce(parts, axis=1)
        step_of_row = np.full(height, -1, dtype=np.int64)
        step_of_row[steps.rows] = np.arange(len(steps.rows))
        p_values = self.calibration.p_value(raw)
        told = (parts, likest, moments, left, step_of_row, parted)
        return HabitVerdicts(raw, p_values, *told, steps, self)

    def _parts(
        self,
        steps: Steps,
        judged: Bools,
        companions: Companions,
        lone: Floats,
        left_before: Floats,
    ) -> tuple[Floats, Ints, Floats]:
        """(n, parts) weighed evidence, the product that each code seems to be, (n, 2) moments.

        Steps that are not `judged` (n,) tell what their lot did, and seem to be no product.
        """
        known = steps.product >= 0
        own, rows = np.maximum(steps.product, 0), np.arange(len(steps.rows))
        legs = self.legs.log_p(steps)
        own_leg = legs[rows, own]
        moved = known & ((steps.begins & (steps.place >= 0)) | steps.is_leg)
        leg = np.where(moved, left_before - np.log(len(self.words.place)) - own_leg, NOTHING)

        stays = self.stays.log_p(steps, SHIFTS)
        products = len(self.words.product)
        stayed = ~np.isnan(stays[rows, own])
        stays = np.nan_to_num(stays)
        own_stay = stays[rows, own]
        wrong = np.logaddexp.reduce(stays[:, products:], axis=1) - np.log(len(SHIFTS))
        odd = lone - np.logaddexp(own_stay - wrong, np.log(HELD_UP))
        stay = np.where(stayed, odd, NOTHING)

        ratios = (legs - own_leg[:, None]) + (stays[:, :products] - own_stay[:, None])
        past = SharedPast.of(ratios, steps, companions)
        product, likest = gathered(
            np.ascontiguousarray(ratios),
            np.where(known & judged, own, -1),
            steps.believed,
            steps.starts,
            SUSPICION,
            *(past.ship, past.of_ship, past.first, past.last),
        )
        hour, day = self.hours.surprise(steps)
        weights = WEIGHTS_ALONE if self.company is None else WEIGHTS
        parts = np.stack([leg, stay, product, hour + lone, day], axis=1) + weights
        return parts, likest, np.stack([hour, day], axis=1)

    def words_for(self, verdicts: HabitVerdicts, step: int, places: dict[str, str]) -> str:
        """Say what is unusual about a step, from the part that speaks most; empty for nothing."""
        steps, part = verdicts._steps, PARTS[int(np.argmax(verdicts.parts[step]))]

        def named(code: int) -> str:
            place = self.words.place[code]
            return places.get(place, place)

        came = int(verdicts.left[step])
        alone = f", alone of {came} that came together" if came else ""
        product = int(steps.product[step])
        goods = f"product {self.words.product[product] or '(any)'}" if product >= 0 else "goods"
        if part == "leg":
            own, left = self.legs.counted(steps, step)
            if steps.begins[step]:
                begin = f"{goods} enters at {named(steps.place[step])}"
                return f"{begin}, as {own:.0f} of {left:.0f} shipments did"
            way = f"{named(steps.source[step])} to {named(steps.place[step])}"
            counted = f"{own:.0f} of {left:.0f} shipments of {goods}"
            return f"{way}: {counted} from there went this way{alone}"
        if part == "stay":
            usual = self.stays.usual_hours(steps, step)
            assert usual is not None
            stayed = f"{_hours(steps.hours[step])} h at {named(steps.place[step])}"
            return f"{stayed}, usual {_hours(usual[0])} to {_hours(usual[1])} h for {goods}{alone}"
        if part == "product":
            other = int(verdicts.likest[step])
            return f"{goods} travels like product {self.words.product[other]}" if other >= 0 else ""
        event, moment = self.words.event[steps.event[step]], int(steps.hour_of_week[step])
        when = (
            f"at {moment % 24:02d}:00–{moment % 24:02d}:59"
            if part == "hour"
            else f"on a {_DAYS[moment // 24 % 7]}"
        )
        hour, day = verdicts.moments[step]
        share = np.exp(-hour) / 24 if part == "hour" else np.exp(-day) / 7
        done = f"{event} at {named(steps.place[step])}"
        if alone and part == "hour" and hour < 1.0:
            return f"{done}{alone}"
        alone = alone if part == "hour" else ""
        return f"{done} {when}, as {_percent(float(share))} there{alone}"

    def to_arrays(self) -> dict[str, AnyArray]:
        """Everything that a p-value depends on."""
        return {
            **under("habits/", self.words.to_arrays()),
            **under("habits/legs/", self.legs.to_arrays()),
            **under("habits/stays/", self.stays.to_arrays()),
            **under("habits/hours/", self.hours.to_arrays()),
            **under("habits/calibration/", self.calibration.to_arrays()),
            **({} if self.company is None else under("habits/company/", self.company.to_arrays())),
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """Read what `to_arrays` returned."""
        words = Words.from_arrays(part_of(arrays, "habits/"))
        legs = Legs.from_arrays(part_of(arrays, "habits/legs/"))
        hours = Hours.from_arrays(part_of(arrays, "habits/hours/"))
        stays = Stays.from_arrays(part_of(arrays, "habits/stays/"), len(words.product))
        events = max(len(words.event), 1)
        if (legs.places, legs.products) != (len(words.place), len(words.product)):
            raise BadModelError("the routes are of other places or products than the words")
        if hours.events != events or stays.events != events:
            raise BadModelError("hours or stays are of other event types than the words")
        company = None
        if "habits/company/sizes" in arrays:
            company = Company.from_arrays(part_of(arrays, "habits/company/"))
            if company.events != events:
                raise BadModelError("company is of other event types than the words")
        calibration = Calibration.from_arrays(part_of(arrays, "habits/calibration/"))
        return cls(words, legs, stays, hours, calibration, company)


_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def _hours(hours: float) -> str:
    return f"{hours:.1f}" if hours < 10 else f"{hours:.0f}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share >= 0.001 else "under 0.1 %"
