"""How long things are kept, and from when on upkeep warns."""

from pydantic import Field

from anomaly_platform.settings.types import Owners, SettingsPart, split_list


class UpkeepSettings(SettingsPart):
    """Retention and the limits of warnings."""

    owners: Owners = "team:anomaly-platform"
    """Who answers for the assets of streams that name nobody: e-mail addresses or team:name, with
    commas."""
    overdue_hours: int = Field(default=24, ge=0)
    """Hours without anything new after which Dagster warns that a stage is overdue; it fails after
    twice as many. A model is overdue beyond the age of its stream's policy. 0 turns it off."""
    keep_runs_days: int = Field(default=90, ge=1)
    """Days after which ended Dagster runs go, with their events."""
    keep_models_days: int = Field(default=30, ge=1)
    """Days after which models go that no longer serve."""
    keep_quarantine_days: int = Field(default=90, ge=1)
    """Days after which refused rows go."""
    keep_statistics_days: int = Field(default=400, ge=30)
    """Days of monitoring figures and drift that are kept."""
    keep_readings_days: int = Field(default=14, ge=4)
    """Days after which readings go that came one by one, once a batch has them."""
    keep_messages_days: int = Field(default=30, ge=1)
    """Days after which delivered messages and ended training requests go."""
    latency_target_seconds: int = Field(default=900, ge=1)
    """Longest time from a file's arrival to its scores before it is told."""
    prediction_target_ms: int = Field(default=100, ge=1)
    """Milliseconds within which 95 % of the scoring requests about readings are to be answered."""
    scan_prediction_target_ms: int = Field(default=1000, ge=1)
    """Milliseconds within which 95 % of the scoring requests about scans are to be answered."""
    model_storage_limit_mb: int = Field(default=1024, ge=1)
    """MiB of models from which their storage is told."""

    @property
    def owner_list(self) -> list[str]:
        """Who answers for the assets of streams that name nobody."""
        return split_list(self.owners)
