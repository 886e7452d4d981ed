"""What the barcode rules can be told: limits, tolerances and how sure each finding is.

Part of every rules bundle; nothing here is read from anywhere else when scoring.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields

from anomaly_platform.ml.features.scans.names import SIX_PARTS

#: The kinds of violations, in the order of every array and answer.
RULE_KINDS = ("epcFake", "epcDup", "locErr", "evtOrderErr", "jump")
#: A rule fires from this score on.
FIRES_AT = 50.0


@dataclass(frozen=True)
class RuleParameters:
    """Limits of the rules; scores are 0–100.

    Attributes
    ----------
    code_pattern
        The scheme of the codes (see ``ml.features.scans.codes``).
    headers
        Headers that exist in six-part codes.
    max_age_days
        Goods older than this are not what their code says.
    clock_tolerance_days
        How far a manufacture date may lie ahead of the scan: a day of time zones.
    reread_seconds
        The same scan at the same place within this time is a second reading, not an event.
    jump_z, jump_ratio
        A trip is a jump when its time is this many robust standard deviations *and* this factor
        away from the route's median: very regular routes make small delays look enormous.
    min_trips
        Routes with fewer trips in training have no statistics.
    min_distance_km
        Below it, speed says nothing: gates and clocks are not that precise.
    fallback_speed_kmh
        The fastest vehicle where the reference names none.
    score_*
        How sure a finding of each sort is.
    """

    code_pattern: str = SIX_PARTS
    headers: tuple[str, ...] = ("001",)
    max_age_days: int = 1826
    clock_tolerance_days: int = 1
    reread_seconds: float = 60.0
    jump_z: float = 6.0
    jump_ratio: float = 2.0
    min_trips: int = 3
    min_distance_km: float = 10.0
    fallback_speed_kmh: float = 130.0
    score_structure: float = 100.0
    score_header: float = 100.0
    score_company: float = 90.0
    score_invalid_date: float = 95.0
    score_future_date: float = 95.0
    score_expired: float = 80.0
    score_duplicate: float = 100.0
    score_unknown_place: float = 80.0
    score_wrong_step: float = 65.0
    score_against: float = 90.0
    score_sideways: float = 75.0
    score_skipped: float = 60.0
    score_after_sale: float = 95.0
    score_contradiction: float = 85.0
    score_missing: float = 75.0
    score_repeated: float = 65.0

    def __post_init__(self) -> None:
        for part in fields(self):
            value = getattr(self, part.name)
            if part.name.startswith("score_") and not FIRES_AT <= value <= 100.0:
                raise ValueError(f"{part.name} must lie in [{FIRES_AT:g}, 100], not {value}")
        if self.jump_z <= 0 or self.jump_ratio <= 1 or self.fallback_speed_kmh <= 0:
            raise ValueError("jump_z and speeds must be positive, jump_ratio above 1")
        if self.min_trips < 2:
            raise ValueError("min_trips must be at least 2")

    def to_json(self) -> str:
        """Write as JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> RuleParameters:
        """Read from JSON.

        Raises
        ------
        ValueError
            When a parameter is unknown to this version, or missing.
        """
        # Bundles of versions before schemes hold six-part codes.
        values = {"code_pattern": SIX_PARTS, **json.loads(text)}
        names = {part.name for part in fields(cls)}
        if set(values) != names:
            raise ValueError(f"rule parameters differ: {sorted(names ^ set(values))}")
        return cls(**{**values, "headers": tuple(values["headers"])})
