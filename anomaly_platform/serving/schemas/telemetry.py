"""Telemetry: readings in, one verdict each out."""

import datetime as dt
import uuid
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, Final, Literal

from pydantic import AliasChoices, BeforeValidator, ConfigDict, Field, TypeAdapter, create_model

from anomaly_platform.serving.schemas.base import ApiModel, EntityText, Number
from anomaly_platform.streams import MetricStream
from anomaly_platform.streams.stream_document import sql_name

MOST_READINGS: Final = 10_000
"""Readings in one request."""

_ID = uuid.UUID("0b8f5a52-2f0f-4b4e-9d6e-0a3f5f6c1d2e")

#: Names are judged one by one, so that a bad one refuses its reading and no other.
Text = Annotated[str, Field(max_length=1_024)]


def _as_text(said: Any) -> Any:
    is_number = isinstance(said, (int, float)) and not isinstance(said, bool)
    return repr(said) if is_number else said


TimeText = Annotated[Text, BeforeValidator(_as_text, json_schema_input_type=Text | int | float)]
"""A time as text; a number since 1970 is taken as the text that it is."""

Status = Literal["stored", "repeated", "conflict", "refused"]


class TelemetryReading(ApiModel):
    """One reading of a device."""

    device_id: EntityText = Field(examples=["press-001"], description="At most 256 characters.")
    metric_name: Text = Field(examples=["temperature"], description="At most 256 characters.")
    value: Number = Field(examples=[49.2])
    timestamp: TimeText | None = Field(
        default=None,
        description="ISO 8601, or seconds, milliseconds, micro- or nanoseconds since 1970, as text "
        "or as a number; the time of arrival by default. Without a zone it is taken in the "
        "stream's.",
        examples=["2026-01-31T12:05:00Z"],
    )
    event_id: Text | None = Field(
        default=None,
        description="A UUID, one per reading; sending a reading again under its id changes "
        "nothing. By default it follows from device, metric and time, and has version 8: of that "
        "version no other is taken.",
        examples=[str(_ID)],
    )
    metadata: dict[str, Any] | None = Field(default=None, examples=[{"line": 3}])
    """Kept with the reading."""


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
        "description": "Members are called like the stream's columns: as its YAML file has them "
        "('Boiler No'), or in lower case with '_' for what is no letter or digit ('boiler_no'). "
        "metric_name, value, timestamp, event_id and metadata are known in every stream; ems has "
        "asset_id beside them, iiot device_id. Entity, metric and value are required. A refusal "
        "of other members lists those of the stream.",
        "example": {"asset_id": "host-1", "metric_name": "cpu", "value": 12.5},
    }
)
"""What the route of any stream takes, for the OpenAPI document."""


class ReadingRefusal(ApiModel):
    """Why a reading is not kept, or not kept as it was sent."""

    field: str | None = Field(examples=["timestamp"])
    """The member at fault; null where it is the whole."""
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
    is_anomaly: bool | None = Field(examples=[False])
    """Null where nobody can say, which is not the same as normal."""
    is_call: bool | None = Field(examples=[False])
    """Whether somebody is told of it; null where nothing can be said."""
    score: float | None = Field(examples=[0.266])
    """0 ordinary to 1 most unusual; an anomaly from threshold on."""
    threshold: float | None = Field(examples=[0.7])
    series_status: Literal["trained", "insufficient_history", "failed"] | None = Field(
        description="insufficient_history: no model judged, or without its look-back; from 30 "
        "readings on the statistical fallback gives a score, and only alarms are decided.",
        examples=["trained"],
    )
    provisional: bool | None = Field(examples=[False])
    """Whether it came out of order: the score of the day's batch is final."""
    model_version: int | None = Field(examples=[4])
    """Version of the bundle that judged, null without one."""
    error: ReadingRefusal | None = None


class TelemetryAnswer(ApiModel):
    """What became of the readings, in the order in which they were sent."""

    accepted: int = Field(description="Readings that are stored, now or before.", examples=[1])
    refused: int = Field(description="Readings in conflict or refused.", examples=[0])
    anomalies: int = Field(description="Readings that are anomalies.", examples=[0])
    readings: list[ReadingVerdict]


Members = tuple[tuple[str, tuple[str, ...]], ...]
"""Each canonical field and the names of the member that says it, the usual one first."""

#: What a member is called in every stream; entities have no such name.
_EVERYWHERE: Final = {
    "entity": (),
    "metric": ("metric_name",),
    "value": ("value",),
    "event_time": ("timestamp",),
    "event_id": ("event_id",),
    "metadata": ("metadata",),
}


def members_of(stream: MetricStream) -> Members:
    """Return what the members of a stream's readings may be called.

    Those are the names of its columns, the same as identifiers, and what they are called in every
    stream. A name that would say two things says what it was first of these.
    """
    return _members(tuple(stream.column_names().items()), stream.ignored_columns)


@lru_cache(maxsize=256)
def _members(columns: Members, ignored: tuple[str, ...]) -> Members:
    # The entity's first name is an identifier already, and gives way to what a file calls a column.
    own = sorted(columns, key=lambda one: one[0] == "entity")
    fields = {name: field for field, names in reversed(own) for name in names}
    fields |= {name: "" for name in ignored if name not in fields}
    for field, names in own:
        for name in names:
            fields.setdefault(sql_name(name), field)
    for field, names in _EVERYWHERE.items():
        for name in names:
            fields.setdefault(name, field)
    fields.pop("", None)
    known = dict(columns)
    return tuple(
        (
            field,
            tuple(
                name
                for name in dict.fromkeys((*known.get(field, ()), *fields))
                if fields.get(name) == field
            ),
        )
        for field in _EVERYWHERE
    )


def members_in_words(members: Members) -> str:
    """Return the names of all members, for people."""
    return ", ".join(" or ".join(names) for _, names in members)


@lru_cache(maxsize=256)
def adapters_of(members: Members) -> tuple[TypeAdapter[Any], TypeAdapter[Any]]:
    """Return what reads one reading and many, under the names of their members."""
    kinds: dict[str, tuple[Any, dict[str, Any]]] = {
        "entity": (EntityText, {}),
        "metric": (Text, {}),
        "value": (Number, {}),
        "event_time": (TimeText | None, {"default": None}),
        "event_id": (Text | None, {"default": None}),
        "metadata": (dict[str, Any] | None, {"default": None}),
    }
    fields: dict[str, Any] = {
        field: (kinds[field][0], Field(validation_alias=AliasChoices(*names), **kinds[field][1]))
        for field, names in members
    }
    one = create_model("Reading", __config__=ConfigDict(extra="forbid"), **fields)
    many = Annotated[list[one], Field(min_length=1, max_length=MOST_READINGS)]
    return TypeAdapter(one), TypeAdapter(many)


def names_in(document: object, members: Members) -> Mapping[str, str]:
    """Return the name of each canonical field as a document has it, the usual one otherwise."""
    sent = document if isinstance(document, dict) else {}
    return {
        field: next((name for name in names if name in sent), names[0]) for field, names in members
    }
