"""What counts as an anomaly, which events are taken, and what training needs."""

import datetime as dt

from pydantic import Field

from anomaly_platform.settings.types import (
    DetectorSeconds,
    DetectorWeights,
    SettingsPart,
    TimeZone,
)


class ScoringSettings(SettingsPart):
    """Thresholds, training and the times of events."""

    alpha: float = Field(default=0.01, gt=0.0, lt=0.3)
    """Share of normal readings that may lie above a score of 0.7."""
    threshold: float = Field(default=0.7, gt=0.0, lt=1.0)
    """Score from which a reading is an anomaly."""
    contamination: float = Field(default=0.1, ge=0.0, lt=0.5)
    """Largest share of rows that fitting may set aside as suspect; it never sets the alarm rate."""
    min_training_samples: int = Field(default=100, ge=30)
    """Rows that a series needs before it gets a model of its own."""
    start_date: dt.date | None = None
    """First day (UTC) of every stream; older events go to quarantine. Unset: a stream begins with
    its first data, and older data that come later move its beginning back."""
    default_timezone: TimeZone = "UTC"
    """IANA time zone of event times that name none."""
    future_allowance_minutes: int = Field(default=60, ge=0)
    """How far an event time may lie ahead of this machine's clock before it goes to quarantine."""
    scan_weights: DetectorWeights = "rules=0.40,lstm=0.35,svm=0.25"
    """How much each detector of scans counts in the fused confidence. The next materialization of
    champion takes it."""
    scan_time_limits: DetectorSeconds = "rules=1.0,lstm=1.5,svm=1.0,habits=1.0"
    """Seconds that each detector of scans has for a chunk of a request."""
    seed: int = Field(default=42, ge=0, lt=2**32, description="Seed of every random choice.")

    @property
    def future_allowance(self) -> dt.timedelta:
        """How far an event time may lie ahead of this machine's clock."""
        return dt.timedelta(minutes=self.future_allowance_minutes)
