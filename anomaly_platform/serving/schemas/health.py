"""How the service and what it depends on are doing."""

import datetime as dt
from typing import Literal

from pydantic import Field

from anomaly_platform.serving.schemas.base import ApiModel

Readiness = Literal["ready", "busy"]
PartStatus = Literal["ok", "degraded", "down", "off"]


class Alive(ApiModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Ready(ApiModel):
    """Requests are answered."""

    status: Readiness = "ready"
    """`busy`: they are, but late; the process or its machine has more to do than it can."""


class Part(ApiModel):
    """One thing that the service depends on."""

    status: PartStatus = Field(examples=["ok"])
    """`off`: not set up, and not missed. `degraded`: works, but needs attention."""
    detail: str = Field(examples=["answers in 1.2 ms"])
    fix: str | None = Field(default=None, description="What to do about it.")


class ServedVersion(ApiModel):
    """What serves a stream in the worker that answered."""

    version: int | None = Field(description="Null: nothing has been promoted.", examples=[4])
    problem: str | None = Field(default=None, description="Why a newer champion does not serve.")


class QueueState(ApiModel):
    """What waits somewhere."""

    depth: int = Field(ge=0, examples=[0])
    oldest_seconds: float = Field(ge=0.0, examples=[0.0])


class Pipeline(ApiModel):
    """What takes files and readings, and scores them in batches."""

    daemon_heartbeat_seconds: float | None = Field(
        ge=0.0,
        description="Since the daemon's last sign of life, of its part that is silent for longest; "
        "null: no daemon has ever run.",
        examples=[12.0],
    )
    oldest_file_seconds: float | None = Field(ge=0.0, examples=[None])
    """How long the oldest file has waited in landing."""
    oldest_reading_seconds: float | None = Field(ge=0.0, examples=[8.0])
    """How long the oldest reading has waited for a batch."""
    last_run: str | None = Field(examples=["iiot refresh"])
    """Stream and work of the newest finished run."""
    last_run_status: Literal["succeeded", "failed"] | None = Field(examples=["succeeded"])
    last_run_seconds: float | None = Field(ge=0.0, description="Since it ended.", examples=[41.0])
    failing: list[str] = Field(description="Work whose newest run failed.", examples=[[]])


class Health(ApiModel):
    """Everything at a glance."""

    status: Literal["ok", "degraded", "down"] = Field(examples=["ok"])
    version: str = Field(description="Of this program.", examples=["0.1.0"])
    checked_at: dt.datetime
    parts: dict[str, Part]
    """`database`, `models`, `pipeline`, `queues`, `files`, `predictions`, `ems_core`, `redis` and
    `mqtt`."""
    models: dict[str, ServedVersion] = Field(description="By stream.")
    pipeline: Pipeline
    queues: dict[str, QueueState]
    """`training_requests`, `deliveries`, `online_readings`, `registry_mirror`."""
