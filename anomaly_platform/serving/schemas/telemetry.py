"""Telemetry: readings in, one verdict each out."""

from __future__ import annotations

import datetime as dt
import uuid
from functools import lru_cache
from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field, TypeAdapter, create_model

from anomaly_platform.serving.schemas.base import ApiModel, Number
from anomaly_platform.streams import MetricStream

MOST_READINGS: Final = 10_000
"""Readings in one request."""

_ID = uuid.UUID("0b8f5a52-2f0f-4b4e-9d6e-0a3f5f6c1d2e")

#: Names are judged one by one, so that a bad one refuses its reading and no other.
Text = Annotated[str, Field(max_length=1_024)]
Status = Literal["stored", "repeated", "conflict", "refused"]


class TelemetryReading(ApiModel):
    """One reading of a device."""

    device_id: Text = Field(examples=["press-001"], description="At most 256 characters.")
    metric_name: Text = Field(examples=["temperature"], description="At most 256 characters.")
    value: Number = Field(examples=[49.2])
    timestamp: Text | None = Field(
        default=None,
        description="ISO 8601, or seconds since 1970 as text; the time of arrival by default. "
        "Without a zone it is taken in the stream's.",
        examples=["2026-01-31T12:05:00Z"],
    )
    event_id: Text | None = Field(
        default=None,
        description="A UUID of any version, one per reading; sending a reading again under its "
        "id changes nothing. By default it follows from device, metric and time.",
        examples=[str(_ID)],
    )
    metadata: dict[str, Any] | None = Field(
        default=None, description="Kept with the reading.", examples=[{"line": 3}]
    )


def _one_or_many(one: dict[str, Any]) -> dict[str, Any]:
    """Return the ``openapi_extra`` of a route that takes one object or a list of them."""
    many = {"type": "array", "items": one, "minItems": 1, "maxItems": MOST_READINGS}
    schema = {"oneOf": [one, many]}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


TELEMETRY_BODY: Final = _one_or_many(TelemetryReading.model_json_schema())
"""What ``POST /api/v1/telemetry`` takes, for the OpenAPI document."""

STREAM_BODY: Final = _one_or_many(
    {
        "type": "object",
        "description": "Under the names of the stream: for ems asset_id, metric_name, value, "
        "timestamp; event_id and metadata as everywhere.",
        "example": {"asset_id": "host-1", "metric_name": "cpu", "value": 12.5},
    }
)
"""What the route of any stream takes, for the OpenAPI document."""


class ReadingRefusal(ApiModel):
    """Why a reading is not kept, or not kept as it was sent."""

    field: str | None = Field(
        description="The member at fault; null where it is the whole.", examples=["timestamp"]
    )
    reason: str = Field(examples=["in the future"])


class ReadingVerdict(ApiModel):
    """What became of one reading, and what it is."""

    status: Status = Field(
        description="stored: now. repeated: it was known. conflict: another reading is known "
        "under its id or its device, metric and time, and counts. refused: it cannot be used.",
        examples=["stored"],
    )
    event_id: uuid.UUID | None = Field(examples=[_ID])
    timestamp: dt.datetime | None = Field(examples=["2026-01-31T12:05:00+00:00"])
    is_anomaly: bool | None = Field(
        description="Null where nobody can say, which is not the same as normal.",
        examples=[False],
    )
    score: float | None = Field(
        description="0 ordinary to 1 most unusual; an anomaly from threshold on.",
        examples=[0.266],
    )
    threshold: float | None = Field(examples=[0.7])
    series_status: Literal["trained", "insufficient_history", "failed"] | None = Field(
        description="insufficient_history: no model judged; from 30 readings on the statistical "
        "fallback gives a score, and only alarms are decided.",
        examples=["trained"],
    )
    provisional: bool | None = Field(
        description="Whether it came out of order: the score of the day's batch is final.",
        examples=[False],
    )
    model_version: int | None = Field(
        description="Version of the bundle that judged, null without one.", examples=[4]
    )
    error: ReadingRefusal | None = None


class TelemetryAnswer(ApiModel):
    """What became of the readings, in the order in which they were sent."""

    accepted: int = Field(description="Readings that are stored, now or before.", examples=[1])
    refused: int = Field(description="Readings in conflict or refused.", examples=[0])
    anomalies: int = Field(description="Readings that are anomalies.", examples=[0])
    readings: list[ReadingVerdict]


def adapters_of(stream: MetricStream) -> tuple[TypeAdapter[Any], TypeAdapter[Any]]:
    """Return what reads one reading and many of a stream, under the stream's own names."""
    return _adapters(
        stream.entity_field, stream.metric_field, stream.value_field, stream.time_field
    )


@lru_cache(maxsize=256)
def _adapters(
    entity: str, metric: str, value: str, time: str
) -> tuple[TypeAdapter[Any], TypeAdapter[Any]]:
    fields: dict[str, Any] = {
        "entity": (Text, Field(alias=entity)),
        "metric": (Text, Field(alias=metric)),
        "value": (Number, Field(alias=value)),
        "event_time": (Text | None, Field(default=None, alias=time)),
        "event_id": (Text | None, None),
        "metadata": (dict[str, Any] | None, None),
    }
    one = create_model("Reading", __config__=ConfigDict(extra="forbid"), **fields)
    many = Annotated[list[one], Field(min_length=1, max_length=MOST_READINGS)]
    return TypeAdapter(one), TypeAdapter(many)


def external_names(stream: MetricStream) -> dict[str, str]:
    """Return the name under which clients know each canonical field."""
    return {
        "entity": stream.entity_field,
        "metric": stream.metric_field,
        "event_time": stream.time_field,
        "value": stream.value_field,
        "event_id": "event_id",
        "metadata": "metadata",
    }
