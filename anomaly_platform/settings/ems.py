"""The EMS: where it is, what is fetched from it and what is sent to it."""

from pydantic import Field, SecretStr

from anomaly_platform.settings.types import EmsTables, HttpAddress, PostgresUrl, SettingsPart


class EmsSettings(SettingsPart):
    """Fetching from the EMS and sending to it."""

    auto_create_alerts: bool = True
    """Whether severe anomalies become alerts in EMS Core, besides events."""
    ems_core_url: HttpAddress = "http://localhost:3100"
    """Address of EMS Core's HTTP interface."""
    ems_core_token: SecretStr | None = None
    """Token that EMS Core asks for."""
    ems_database_url: PostgresUrl | None = None
    """postgresql:// URL of the EMS's own database; set, it is used instead of HTTP."""
    ems_tables: EmsTables = Field(
        default="",
        description="How tables and columns of the EMS's own database are called where they "
        "differ, separated by commas, such as assets=hosts,assets.id=ip,assets.status=online. "
        "Nothing behind the = says that there is no such column.",
    )
    ems_pull: bool = Field(default=False, description="Whether metrics are fetched from the EMS.")
    ems_pull_history_days: int = Field(default=7, ge=1, le=365)
    """Days before its start that the first fetch from the EMS reaches back."""
    ems_pull_overlap_minutes: int = Field(default=10, ge=0, le=1440)
    """Minutes that each fetch from the EMS reads again for readings that came late."""
    ems_push: bool | None = None
    """Whether anomalies of the stream ems become events in the EMS, where one is set. Unset: as
    ANOMALY_EMS_PULL."""

    @property
    def has_ems(self) -> bool:
        """Whether somebody has said where the EMS is; what listens at the default may be anyone."""
        return "ems_core_url" in self.model_fields_set or self.ems_database_url is not None

    @property
    def pushes_to_ems(self) -> bool:
        """Whether anomalies become events in the EMS."""
        return self.has_ems and (self.ems_pull if self.ems_push is None else self.ems_push)
