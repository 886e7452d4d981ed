"""Every setting of the platform, once.

Belongs here: the name, type, default and check of each setting that a person may change, read from
environment variables with the prefix ``ANOMALY_`` and from a file ``.env`` in the current folder.
Does not belong here: anything that a stream describes (see ``anomaly_platform.streams``), and any
connection or folder opened because of a setting.

``.env.example`` mirrors this module; a test holds the two equal.
"""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

ENV_PREFIX = "ANOMALY_"

_POSTGRES_SCHEMES = ("postgresql", "postgres", "postgresql+psycopg", "postgresql+psycopg2")
_URL_SCHEMES = {
    "webhook_urls": ("https", "http"),
    "smtp_url": ("smtp", "smtps"),
    "mqtt_url": ("mqtt", "mqtts"),
}

_REDIS_SCHEMES = ("redis", "rediss", "unix")
_ORIGIN = re.compile(
    r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-fA-F:]+\](:[0-9]{1,5})?"
)
_HOST = re.compile(r"(\*\.)?[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\]")


class SettingsError(ValueError):
    """A setting has a value that cannot be used; the message names the variable and the fix."""


def split_list(text: str) -> list[str]:
    """Return the entries of a list that is written with commas."""
    return [entry.strip() for entry in text.split(",") if entry.strip()]


def _absolute(location: str) -> str:
    """Make a plain path absolute and leave a URL as it is.

    Child processes are started in other folders, where a relative path would mean another place.
    """
    if "://" in location:
        return location
    return str(Path(location).expanduser().absolute())


class Settings(BaseSettings):
    """The settings of one process, immutable once read.

    A new object reads the environment and ``.env`` again; nothing is cached. Values never appear
    in error messages, and secrets are :class:`pydantic.SecretStr`.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        validate_default=True,
    )

    home: Path = Field(
        default=Path(".anomaly"),
        description="Folder for everything that the platform keeps on this machine.",
    )
    database_url: SecretStr | None = Field(
        default=None,
        description="postgresql://user:password@host:5432/database of your own server. "
        "Unset: an embedded PostgreSQL under ANOMALY_HOME that starts by itself.",
    )
    dagster_database: str = Field(
        default="dagster",
        pattern=r"^[A-Za-z_][A-Za-z0-9_$-]{0,62}$",
        description="Name of Dagster's own database on the same server.",
    )
    mlflow_database: str = Field(
        default="mlflow",
        pattern=r"^[A-Za-z_][A-Za-z0-9_$-]{0,62}$",
        description="Name of MLflow's own database on the same server.",
    )
    mlflow_url: SecretStr | None = Field(
        default=None,
        description="http://host:5000 of an MLflow server of your own that the registry is "
        "mirrored to. Unset: ANOMALY_MLFLOW_DATABASE.",
    )
    mlflow_artifacts: Path = Field(
        default_factory=lambda data: data["home"] / "mlflow" if "home" in data else Path(),
        description="Folder with the files of MLflow's runs. Unset: ANOMALY_HOME/mlflow.",
    )
    mlflow_port: int = Field(
        default=5000,
        ge=1,
        le=65535,
        description="Port of MLflow's pages on 127.0.0.1 while `anomaly up` runs.",
    )
    lake_url: str = Field(
        default_factory=lambda data: str(data["home"] / "lake") if "home" in data else "",
        description="Folder or fsspec URL (s3://bucket/prefix) of the lake. "
        "Unset: ANOMALY_HOME/lake.",
    )
    landing_url: str = Field(
        default_factory=lambda data: str(data["home"] / "landing") if "home" in data else "",
        description="Folder or fsspec URL into which files are dropped, one folder per stream. "
        "Unset: ANOMALY_HOME/landing.",
    )
    reference_path: Path = Field(
        default_factory=lambda data: data["home"] / "reference" if "home" in data else Path(),
        description="Folder with what is known beforehand (places, companies, tiers), "
        "one folder per stream. Unset: ANOMALY_HOME/reference.",
    )
    streams_dir: Path = Field(
        default_factory=lambda data: data["home"] / "streams" if "home" in data else Path(),
        description="Folder with the YAML files of streams of your own, one stream a file. "
        "Unset: ANOMALY_HOME/streams.",
    )
    alpha: float = Field(
        default=0.01,
        gt=0.0,
        lt=0.3,
        description="Share of normal readings that may lie above a score of 0.7.",
    )
    threshold: float = Field(
        default=0.7,
        gt=0.0,
        lt=1.0,
        description="Score from which a reading is an anomaly.",
    )
    contamination: float = Field(
        default=0.1,
        ge=0.0,
        lt=0.5,
        description="Largest share of rows that fitting may set aside as suspect; "
        "it never sets the alarm rate.",
    )
    min_training_samples: int = Field(
        default=100,
        ge=30,
        description="Rows that a series needs before it gets a model of its own.",
    )
    start_date: dt.date = Field(
        default=dt.date(2010, 1, 1),
        description="First day (UTC) of every stream; older events go to quarantine.",
    )
    default_timezone: str = Field(
        default="UTC",
        description="IANA time zone of event times that name none.",
    )
    future_allowance_minutes: Annotated[int, Field(ge=0)] = Field(
        default=60,
        description="How far an event time may lie ahead of this machine's clock "
        "before it goes to quarantine.",
    )
    seed: int = Field(
        default=42,
        ge=0,
        lt=2**32,
        description="Seed of every random choice.",
    )
    api_host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="Address that the API listens on.",
    )
    api_port: int = Field(
        default=8000,
        ge=1,
        le=65535,
        description="Port that the API listens on.",
    )
    api_workers: int = Field(
        default=2,
        ge=1,
        le=64,
        description="Processes that serve the API.",
    )
    model_cache_mb: int = Field(
        default=256,
        ge=1,
        description="MiB that models of single series may take in each worker of the API; "
        "the least recently used ones make room.",
    )
    api_predictions_per_minute: int = Field(
        default=100,
        ge=0,
        description="Requests to scoring routes that each API key may make in any minute; "
        "0 means no limit. A key may have a limit of its own.",
    )
    api_max_body_mb: int = Field(
        default=16,
        ge=1,
        le=1024,
        description="MiB that the body of a request may have.",
    )
    api_cors_origins: str = Field(
        default="",
        description="Origins whose pages may call the API from a browser, separated by commas, "
        "such as https://dashboard.example. Empty: none.",
    )
    api_trusted_hosts: str = Field(
        default="",
        description="Host names under which the API answers, separated by commas; *.example.com "
        "means all below. Empty: any.",
    )
    redis_url: SecretStr | None = Field(
        default=None,
        description="redis://:password@host:6379/0, through which workers share rate limits and "
        "caches. Unset: each worker for itself.",
    )
    log_format: Literal["console", "json"] = Field(
        default="console",
        description="How log lines look: console, for people, or json, an object a line.",
    )
    online_batch_seconds: int = Field(
        default=60,
        ge=1,
        le=86_400,
        description="How long readings that came one by one wait before a batch takes them into "
        "the lake.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="WARNING",
        description="Least severe level that is logged: DEBUG, INFO, WARNING or ERROR.",
    )
    alert_cool_down_minutes: int = Field(
        default=60,
        ge=0,
        le=60 * 24 * 30,
        description="Minutes in which repeats of an alert are counted and not sent.",
    )
    alert_routes: str = Field(
        default="",
        description="Which channel gets what, where it differs from docs/alerts.md: "
        "channel=severity or channel=severity:kind,kind, joined by semicolons, such as "
        "email=critical; github=warning:run_failed,model_disabled.",
    )
    webhook_urls: SecretStr | None = Field(
        default=None,
        description="http(s) addresses that get every message as JSON, separated by spaces.",
    )
    webhook_secret: SecretStr | None = Field(
        default=None,
        description="Secret with which messages to webhooks are signed (HMAC-SHA256).",
    )
    webhook_allow_private: bool = Field(
        default=False,
        description="Whether webhooks may lie in private networks or on this machine.",
    )
    smtp_url: SecretStr | None = Field(
        default=None,
        description="smtp://user:password@host:587 (STARTTLS where offered) or smtps://…:465.",
    )
    email_from: str = Field(
        default="anomaly-platform@localhost",
        description="Sender of e-mails.",
    )
    email_to: str = Field(
        default="",
        description="Recipients of e-mails, separated by spaces.",
    )
    mqtt_url: SecretStr | None = Field(
        default=None,
        description="mqtt://user:password@host:1883 or mqtts://…:8883 of a broker.",
    )
    mqtt_prefix: str = Field(
        default="insa/iiot",
        pattern=r"^[^/+#\s][^+#\s]*[^/+#\s]$",
        description="First parts of every MQTT topic.",
    )
    github_url: str = Field(
        default="https://api.github.com",
        description="Address of GitHub's REST API.",
    )
    github_repository: str = Field(
        default="",
        pattern=r"^([A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+)?$",
        description="owner/name of the repository in which issues are opened.",
    )
    github_token: SecretStr | None = Field(
        default=None,
        description="Token that may write issues of that repository.",
    )
    apprise_urls: SecretStr | None = Field(
        default=None,
        description="Apprise URLs (chat services and the like), separated by spaces.",
    )
    auto_create_alerts: bool = Field(
        default=True,
        description="Whether severe anomalies become alerts in EMS Core, besides events.",
    )
    ems_core_url: str = Field(
        default="http://localhost:3100",
        description="Address of EMS Core's HTTP interface.",
    )
    ems_core_token: SecretStr | None = Field(
        default=None,
        description="Token that EMS Core asks for.",
    )
    ems_database_url: SecretStr | None = Field(
        default=None,
        description="postgresql:// URL of the EMS's own database; set, it is used instead of HTTP.",
    )
    ems_pull: bool = Field(
        default=False,
        description="Whether metrics are fetched from the EMS.",
    )
    ems_pull_history_days: int = Field(
        default=7,
        ge=1,
        le=365,
        description="Days before its start that the first fetch from the EMS reaches back.",
    )
    ems_pull_overlap_minutes: int = Field(
        default=10,
        ge=0,
        le=1440,
        description="Minutes that each fetch from the EMS reads again for readings that came late.",
    )
    ems_push: bool | None = Field(
        default=None,
        description="Whether anomalies of the stream ems become events in the EMS. "
        "Unset: as ANOMALY_EMS_PULL.",
    )

    keep_runs_days: int = Field(
        default=90,
        ge=1,
        description="Days after which ended Dagster runs go, with their events.",
    )
    keep_models_days: int = Field(
        default=30,
        ge=1,
        description="Days after which models go that no longer serve.",
    )
    keep_quarantine_days: int = Field(
        default=90,
        ge=1,
        description="Days after which refused rows go.",
    )
    keep_statistics_days: int = Field(
        default=400,
        ge=30,
        description="Days of monitoring figures and drift that are kept.",
    )
    keep_readings_days: int = Field(
        default=14,
        ge=4,
        description="Days after which readings go that came one by one, once a batch has them.",
    )
    keep_messages_days: int = Field(
        default=30,
        ge=1,
        description="Days after which delivered messages and ended training requests go.",
    )
    latency_target_seconds: int = Field(
        default=900,
        ge=1,
        description="Longest time from a file's arrival to its scores before it is told.",
    )
    model_storage_limit_mb: int = Field(
        default=1024,
        ge=1,
        description="MiB of models from which their storage is told.",
    )

    @field_validator("home", "mlflow_artifacts", "reference_path", "streams_dir")
    @classmethod
    def _folder_is_absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @field_validator("lake_url", "landing_url")
    @classmethod
    def _location_is_absolute(cls, value: str) -> str:
        return _absolute(value)

    @field_validator("log_level", mode="before")
    @classmethod
    def _log_level_is_upper_case(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value

    @field_validator("api_cors_origins")
    @classmethod
    def _origins_are_origins(cls, value: str) -> str:
        for origin in split_list(value):
            if not _ORIGIN.fullmatch(origin):
                msg = "each has to look like https://host or https://host:port, without a path"
                raise ValueError(msg)
        return value

    @field_validator("api_trusted_hosts")
    @classmethod
    def _hosts_are_names(cls, value: str) -> str:
        for host in split_list(value):
            if not _HOST.fullmatch(host):
                msg = "each has to be a host name, without scheme and port"
                raise ValueError(msg)
        return value

    @field_validator("redis_url")
    @classmethod
    def _redis_url_is_redis(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        try:
            parts = urlsplit(value.get_secret_value())
            well_formed = (
                parts.scheme in _REDIS_SCHEMES
                and bool(parts.path if parts.scheme == "unix" else parts.hostname)
                and (parts.port is None or parts.port > 0)
            )
        except ValueError:
            well_formed = False
        if not well_formed:
            msg = "has to look like redis://:password@host:6379/0"
            raise ValueError(msg)
        return value

    @field_validator("default_timezone")
    @classmethod
    def _timezone_is_known(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError):
            msg = "is not a known IANA time zone, such as UTC or Europe/Berlin"
            raise ValueError(msg) from None
        return value

    @field_validator("database_url", "ems_database_url")
    @classmethod
    def _database_url_is_postgresql(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        expected = "has to look like postgresql://user:password@host:5432/database"
        try:
            parts = urlsplit(value.get_secret_value())
            well_formed = (
                parts.scheme in _POSTGRES_SCHEMES
                and len(parts.path) > 1
                and "/" not in parts.path[1:]
                and (parts.port is None or parts.port > 0)
            )
        except ValueError:
            # The reason may quote the URL, which may hold a password.
            well_formed = False
        if not well_formed:
            raise ValueError(expected)
        return value

    @field_validator("webhook_urls", "smtp_url", "mqtt_url")
    @classmethod
    def _urls_are_well_formed(
        cls, value: SecretStr | None, info: ValidationInfo
    ) -> SecretStr | None:
        if value is None:
            return None
        schemes = _URL_SCHEMES[str(info.field_name)]
        for url in value.get_secret_value().split():
            if not _is_url(url, schemes):
                raise ValueError(f"has to look like {schemes[0]}://host:port")
        return value

    @field_validator("github_url", "ems_core_url")
    @classmethod
    def _address_is_http(cls, value: str) -> str:
        if not _is_url(value, ("http", "https")):
            raise ValueError("has to look like https://host:port")
        return value.rstrip("/")

    @property
    def pushes_to_ems(self) -> bool:
        """Whether anomalies become events in the EMS."""
        return self.ems_pull if self.ems_push is None else self.ems_push

    @property
    def alert_cool_down(self) -> dt.timedelta:
        """How long repeats of an alert are held back."""
        return dt.timedelta(minutes=self.alert_cool_down_minutes)

    @property
    def is_embedded(self) -> bool:
        """Whether the platform runs a PostgreSQL of its own."""
        return self.database_url is None

    @property
    def future_allowance(self) -> dt.timedelta:
        """How far an event time may lie ahead of this machine's clock."""
        return dt.timedelta(minutes=self.future_allowance_minutes)


def _is_url(url: str, schemes: tuple[str, ...]) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        # The reason may quote the URL, which may hold a password.
        return False


def get_settings(**overrides: Any) -> Settings:
    """Read the settings from the environment and ``.env``.

    Parameters
    ----------
    **overrides
        Values that win over the environment, by field name.

    Returns
    -------
    Settings
        A new object at every call: a test that changes the environment sees the change.

    Raises
    ------
    SettingsError
        When a value cannot be used. The message names each variable and what is expected, and
        never repeats the value, which may be a secret.
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise SettingsError(_explain(error)) from None


def _explain(error: ValidationError) -> str:
    """Say in one line per setting which variable is wrong and what would be right."""
    lines = []
    for detail in error.errors(include_url=False, include_input=False, include_context=False):
        if detail["type"] == "default_factory_not_called":
            # Only follows from another setting's error, which is in the list.
            continue
        field = str(detail["loc"][0]) if detail["loc"] else ""
        info = Settings.model_fields.get(field)
        reason = detail["msg"].removeprefix("Value error, ")
        line = f"{ENV_PREFIX}{field.upper()}: {reason[:1].lower()}{reason[1:]}"
        if info is not None and info.description:
            line += f" ({info.description})"
        lines.append(line)
    return "Settings that cannot be used; correct them in the environment or in .env:\n  " + (
        "\n  ".join(lines)
    )
