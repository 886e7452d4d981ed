"""What the rules say: a sentence with the evidence for every scan on which a rule fires.

What belongs here: wording. Called for the few scans that fire, never for all.
"""

from collections.abc import Callable
from datetime import datetime

import numpy as np

from anomaly_platform.ml.arrays import Floats, Ints, SmallInts
from anomaly_platform.ml.detectors.rules import kernel as k
from anomaly_platform.ml.features.scans.names import UNKNOWN_EVENT
from anomaly_platform.ml.features.scans.sequences import ScanSequences


class Narrator:
    """Puts verdicts into words.

    Parameters
    ----------
    sequences
        The scans.
    names, types
        Name of each of the frame's places; name of each kind of place.
    codes, measured
        Verdicts and measurements of `kernel.walk`.
    own_place
        (n,) code of each scan's place, inferred if need be.
    """

    def __init__(
        self,
        sequences: ScanSequences,
        names: list[str],
        types: list[str],
        *,
        codes: Ints,
        measured: Floats,
        own_place: SmallInts,
    ) -> None:
        self._times = sequences.frame["event_time"]
        self._events = sequences.frame["event_type"]
        self._names, self._types = names, types
        self._codes, self._measured = codes, measured
        self._place = own_place

    def duplicate(self, row: int) -> str:
        """Say where else the code was in the same second."""
        other = int(self._codes[row, k.DUPLICATE])
        return f"also scanned at {self._where(other)} in the same second, {self._when(row)}"

    def location(self, row: int) -> str:
        """Say what is wrong with the place."""
        code, base = int(self._codes[row, k.LOCATION]), int(self._codes[row, k.BASE])
        if code == k.UNKNOWN_PLACE:
            return f"{self._where(row)} is not a known place"
        if code == k.WRONG_STEP:
            return f"{self._what(row)} does not belong at {self._where(row)} ({self._kind(row)})"
        ends = f"from {self._where(base)} ({self._kind(base)}) to {self._where(row)}"
        ends += f" ({self._kind(row)})"
        how = {
            k.AGAINST: "against the hierarchy without being declared a return",
            k.SIDEWAYS: "between places of the same tier",
            k.SKIPPED: "past a tier",
        }[code]
        return f"went {ends}, {how}"

    def order(self, row: int) -> str:
        """Say what the scan contradicts."""
        code, base = int(self._codes[row, k.ORDER]), int(self._codes[row, k.BASE])
        before = f"{self._what(base)} at {self._where(base)}, {self._when(base)}"
        says: dict[int, str] = {
            k.AFTER_SALE: f"scanned after the sale ({before})",
            k.CONTRADICTION: f"{self._what(row)} after the goods had left ({before})",
            k.LATE_ORIGIN: f"{self._what(row)} after later steps ({before})",
            k.MISSING_OUTBOUND: f"inbound without the outbound of {before}",
            k.MISSING_INBOUND: f"outbound without an inbound since {before}",
            k.REPEATED_INBOUND: f"inbound again without an outbound since {before}",
            k.REPEATED_OUTBOUND: f"outbound again without an inbound since {before}",
        }
        return says[code]

    def jump(self, row: int, top_speed: float) -> str:
        """Say how long the trip took and how long it takes, or how fast it would have been."""
        base = int(self._codes[row, k.BASE])
        hours, z, log_ratio, speed = self._measured[row]
        trip = f"{self._where(base)} to {self._where(row)} in {_duration(hours)}"
        parts = []
        if np.isfinite(z):
            usual = hours / np.exp(log_ratio)
            parts.append(f"this route takes {_duration(usual)} (robust z {z:+.1f})")
        if speed > top_speed:
            parts.append(
                f"{speed:.0f} km/h in a straight line, and no vehicle does {top_speed:.0f}"
            )
        return "; ".join([trip, *parts])

    def many(self, rows: Ints, say: Callable[[int], str]) -> list[str]:
        """Say it for each of the rows."""
        return [say(int(row)) for row in rows]

    def _where(self, row: int) -> str:
        place = int(self._place[row])
        return self._names[place] if place >= 0 else "an unknown place"

    def _kind(self, row: int) -> str:
        kind = int(self._codes[row, k.KIND])
        return (self._types[kind] if kind >= 0 else "") or "unknown type"

    def _what(self, row: int) -> str:
        return self._events[row] or UNKNOWN_EVENT

    def _when(self, row: int) -> str:
        time: datetime = self._times[row]
        return f"{time:%Y-%m-%d %H:%M:%S} UTC"


def _duration(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 1.0 else f"{hours * 60.0:.0f} min"
