"""Defines the features of a scan: their names, meaning and look-back.

Only the definition belongs here, so that loading the stream costs nothing: reading a frame is in
`sequences`, the arithmetic over a frame in `batch`, one event at a time in `online`. What needs
reference data (where a place lies) or learned data (how common a move is) is no feature of the
lake but an input of a model: it comes from the bundle, in `inputs`.

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
from typing import TYPE_CHECKING

from anomaly_platform.ml.features.scans.names import (
    DEFINITION,
    DESCRIPTIONS,
    LOOKBACK_HOURS,
    MAX_HISTORY,
    SIX_PARTS,
)

if TYPE_CHECKING:
    import polars as pl

    from anomaly_platform.ml.features.scans.sequences import ScanSequences
    from anomaly_platform.ml.frames import IntoDataFrame


@dataclass(frozen=True)
class ScanFeatureSet:
    """The features of a stream of scans.

    Parameters
    ----------
    time_zone
        In which hours and days are read off; an IANA name. Days of the lake stay UTC.
    code_pattern
        The scheme of the codes; the six-part one by default (see ``codes.check_pattern``).

    Examples
    --------
    >>> ScanFeatureSet().lookback_days
    30
    """

    time_zone: str = "UTC"
    code_pattern: str = SIX_PARTS

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
        return tuple(DESCRIPTIONS)

    def schema(self) -> dict[str, dict[str, str]]:
        """Return dtype and meaning of every feature, for bundles and column schemas."""
        return {
            name: {"dtype": dtype, "description": text}
            for name, (dtype, text) in DESCRIPTIONS.items()
        }

    def definition(self) -> dict[str, object]:
        """Return the set as plain JSON values; `from_definition` reads it back."""
        said: dict[str, object] = {
            "definition": DEFINITION,
            "time_zone": self.time_zone,
            "lookback_hours": LOOKBACK_HOURS,
            "max_history": MAX_HISTORY,
        }
        # A scheme of one's own makes other features; without one the digest stays what it was.
        if self.code_pattern != SIX_PARTS:
            said["code_pattern"] = self.code_pattern
        return said

    @classmethod
    def from_definition(cls, definition: dict[str, object]) -> ScanFeatureSet:
        """Return the set that a bundle's manifest describes.

        Raises
        ------
        ValueError
            When the definition was written by an incompatible version of the arithmetic.
        """
        found = cls(
            time_zone=str(definition.get("time_zone")),
            code_pattern=str(definition.get("code_pattern", SIX_PARTS)),
        )
        if found.definition() != definition:
            raise ValueError(f"feature definition {definition} is not this version's: train anew")
        return found

    @cached_property
    def version(self) -> str:
        """A digest of the definition, 12 hexadecimal digits."""
        text = json.dumps(self.definition(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def of(self, sequences: ScanSequences) -> pl.DataFrame:
        """Return the features of scans that are already in order; see `batch.features_of`."""
        from anomaly_platform.ml.features.scans.batch import features_of

        return features_of(self.time_zone, sequences, code_pattern=self.code_pattern)

    def compute(self, frame: IntoDataFrame, *, since: datetime | None = None) -> pl.DataFrame:
        """Return the scans of a frame with their features; see `batch.compute`."""
        from anomaly_platform.ml.features.scans.batch import compute

        return compute(self.time_zone, frame, code_pattern=self.code_pattern, since=since)
