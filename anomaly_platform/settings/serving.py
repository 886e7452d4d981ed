"""The API, its limits, and how processes log."""

from typing import Literal

from pydantic import Field, SecretStr

from anomaly_platform.settings.types import (
    HostNames,
    LogLevel,
    Origins,
    Port,
    RedisUrl,
    SettingsPart,
)


class ServingSettings(SettingsPart):
    """The API, its limits and log lines."""

    api_host: str = Field(default="127.0.0.1", min_length=1)
    """Address that the API listens on."""
    api_port: Port = Field(default=8000, description="Port that the API listens on.")
    api_workers: int = Field(default=2, ge=1, le=64, description="Processes that serve the API.")
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
    api_max_body_mb: int = Field(default=16, ge=1, le=1024)
    """MiB that the body of a request to telemetry or scan detection may have."""
    api_max_bodies_mb: int = Field(
        default=64,
        ge=1,
        le=65_536,
        description="MiB of bodies that each worker holds at a time, over all requests; one key "
        "gets half. What is beyond is answered 503. The first 64 KiB of each are not counted.",
    )
    api_max_refused_mb: int = Field(
        default=64,
        ge=0,
        le=65_536,
        description="MiB of one key's bodies that each worker refuses in a minute, or that break "
        "off, before it answers 429 to further ones, after a second and without reading them. "
        "Bodies of up to 64 KiB neither count nor are refused for that. At least as much as the "
        "largest body that is allowed. 0 means no limit.",
    )
    api_max_connections: int = Field(
        default=500, ge=10, description="Connections that each worker holds at a time."
    )
    api_max_connections_per_client: int = Field(
        default=200,
        ge=5,
        description="Of them, those of one key, or of one address that has shown none yet.",
    )
    api_cors_origins: Origins = Field(
        default="",
        description="Origins whose pages may call the API from a browser, separated by commas, "
        "such as https://dashboard.example. Empty: none.",
    )
    api_trusted_hosts: HostNames = Field(
        default="",
        description="Host names under which the API answers, separated by commas; *.example.com "
        "means all below. Empty: any.",
    )
    ui_trusted_hosts: HostNames = Field(
        default="",
        description="Host names under which Dagster's and MLflow's pages answer, beside this "
        "machine's own address, separated by commas; *.example.com means all below.",
    )
    console_secret: SecretStr | None = Field(
        default=None,
        min_length=32,
        description="At least 32 characters that sign the sessions of the console, the same on "
        "every machine that serves it. Unset: made once, in ANOMALY_HOME.",
    )
    dagster_ui_url: str = Field(
        default="http://127.0.0.1:3000",
        pattern=r"^https?://[^\s]+$",
        description="Where people open Dagster's pages: what the console's links lead to.",
    )
    redis_url: RedisUrl | None = Field(
        default=None,
        description="redis://:password@host:6379/0, through which workers share rate limits and "
        "caches. Unset: each worker for itself.",
    )
    log_format: Literal["console", "json"] = "console"
    """How log lines look: console, for people, or json, an object a line."""
    online_batch_seconds: int = Field(default=60, ge=1, le=86_400)
    """How long readings that came one by one wait before a batch takes them into the lake."""
    log_level: LogLevel = "WARNING"
    """Least severe level that is logged: DEBUG, INFO, WARNING or ERROR."""
