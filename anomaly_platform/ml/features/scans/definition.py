"""What the features of a scan are: their names, meaning and look-back.

Only the definition belongs here, so that loading the stream costs nothing: reading a frame is in
`scans_sequences`, the arithmetic over a frame in `scans_batch`, one event at a time in
`scans_online`. What needs reference data (where a place lies) or learned data (how common a move
is) is no feature of the lake but an input of a model: it comes from the bundle, in `scans_inputs`.

The definition, for a scan at time t of one EPC:

*   Its **history** are the scans of the same EPC before it in (event_time, event_id) order, with
    an event time after t − 720 h, and at most the last 63 of them. Every feature is a function of
    the scan and its history and of nothing else, so that a day can be computed from its own rows
    and the look-back's, and what is kept per EPC is bounded.
*   A **missing place** is inferred from the history: the place of the last located scan, unless
    the goods have moved on since. A scan that says where in the chain it belongs
    (`W_Stock_Outbound`) takes the place of a scan that says the same; a plain `Outbound` takes the
    place that was last entered; a sale happens where the goods last were; an arrival somewhere
    new cannot be inferred and stays without a place.
*   **time_since_last_scan** is min(hours since the previous scan, 720), and 720 for a first scan:
    within the look-back "never" and "longer ago" are the same, so the value is what an unlimited
    history would give.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import polars as pl

    from anomaly_platform.ml.frames import IntoDataFrame

#: Raised when the arithmetic of a feature changes, so that bundles trained before are told apart.
DEFINITION: Final = 1
LOOKBACK_HOURS: Final = 720
MAX_HISTORY: Final = 63
UNKNOWN_EVENT: Final = "Unknown"

_FEATURES: Final = {
    "hour": ("i8", "hour of the day, 0–23"),
    "day_of_week": ("i8", "day of the week, Monday 0"),
    "month": ("i8", "month, 1–12"),
    "is_weekend": ("bool", "Saturday or Sunday"),
    "is_business_hours": ("bool", "from 9:00 until before 17:00, on any day"),
    "epc_malformed": ("bool", "the code is not six dotted groups of 3, 7, 7, 6, 8 and 9 digits"),
    "epc_header": ("str", "first part of the code"),
    "epc_company": ("str", "second part of the code"),
    "epc_product": ("str", "third part of the code"),
    "epc_lot": ("str", "fourth part of the code"),
    "epc_manufacture_date": ("date", "fifth part of the code, null when it is no date"),
    "epc_serial": ("str", "sixth part of the code"),
    "manufacture_age_days": ("f64", "days from manufacture to the scan, null without a date"),
    "place": ("str", "where the scan happened, inferred if need be; null where it cannot be"),
    "location_interpolated": ("bool", "the place was missing and is inferred"),
    "event": ("str", f"event type, {UNKNOWN_EVENT!r} where it was missing"),
    "event_type_missing": ("bool", "the event type was missing"),
    "sequence_length": ("i16", "scans so far within the history, this one included"),
    "current_position": ("i16", "position of this scan from 1; a causal sequence ends with it"),
    "previous_location": ("str", "place of the scan before, inferred if need be"),
    "previous_event_type": ("str", "event type of the scan before"),
    "time_since_last_scan": ("f64", f"hours, at most {LOOKBACK_HOURS}; that for a first scan"),
    "places_so_far": ("list[str]", "places in order of visit, without immediate repeats"),
}


@dataclass(frozen=True)
class ScanFeatureSet:
    """The features of the barcode stream.

    Parameters
    ----------
    time_zone
        In which hours and days are read off; an IANA name. Days of the lake stay UTC.

    Examples
    --------
    >>> ScanFeatureSet().lookback_days
    30
    """

    time_zone: str = "UTC"

    @property
    def lookback(self) -> timedelta:
        """How far before a scan its features reach: 720 h."""
        return timedelta(hours=LOOKBACK_HOURS)

    @property
    def lookback_days(self) -> int:
        """The look-back in whole days."""
        return LOOKBACK_HOURS // 24

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The features' names, in the order of the frame's columns."""
        return tuple(_FEATURES)

    def schema(self) -> dict[str, dict[str, str]]:
        """Return dtype and meaning of every feature, for bundles and column schemas."""
        return {
            name: {"dtype": dtype, "description": text} for name, (dtype, text) in _FEATURES.items()
        }

    def definition(self) -> dict[str, object]:
        """Return the set as plain JSON values; `from_definition` reads it back."""
        return {
            "definition": DEFINITION,
            "time_zone": self.time_zone,
            "lookback_hours": LOOKBACK_HOURS,
            "max_history": MAX_HISTORY,
        }

    @classmethod
    def from_definition(cls, definition: dict[str, object]) -> ScanFeatureSet:
        """Return the set that a bundle's manifest describes.

        Raises
        ------
        ValueError
            When the definition was written by an incompatible version of the arithmetic.
        """
        found = cls(time_zone=str(definition.get("time_zone")))
        if found.definition() != definition:
            raise ValueError(f"feature definition {definition} is not this version's: train anew")
        return found

    @cached_property
    def version(self) -> str:
        """A digest of the definition, 12 hexadecimal digits."""
        text = json.dumps(self.definition(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def compute(self, frame: IntoDataFrame, *, since: datetime | None = None) -> pl.DataFrame:
        """Return the scans of a frame with their features; see `scans_batch.compute`."""
        from anomaly_platform.ml.features.scans.batch import compute

        return compute(self, frame, since=since)
