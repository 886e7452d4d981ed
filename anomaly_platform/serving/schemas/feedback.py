"""Feedback: what people know about readings and detections."""

import datetime as dt
import uuid
from typing import Annotated, Self

from pydantic import Field, model_validator

from anomaly_platform.serving.schemas.base import (
    EXAMPLE_ID,
    EXAMPLE_TIME,
    ApiModel,
    EntityId,
    Name,
    Time,
    Truth,
)
from anomaly_platform.streams.bindings import DEVICES

_READING = ("stream", "entity", "metric_name", "timestamp", "is_anomaly")


class FeedbackRequest(ApiModel):
    """A detection that is right or wrong, or a reading that is an anomaly or is none.

    Either `detection_id` and `correct`, or `stream`, `entity`, `metric_name`, `timestamp` and
    `is_anomaly`.
    """

    detection_id: uuid.UUID | None = Field(default=None, examples=[None])
    correct: Truth | None = Field(default=None, examples=[None])
    """Whether the detection is right."""
    stream: Name | None = Field(default=None, examples=[DEVICES])
    entity: EntityId | None = Field(default=None, examples=["press-001"])
    """Device, asset or EPC code."""
    metric_name: Name | None = Field(default=None, examples=["temperature"])
    """scan for scans."""
    timestamp: Time | None = Field(default=None, examples=[EXAMPLE_TIME])
    is_anomaly: Truth | None = Field(default=None, examples=[False])
    """What is true of the reading."""
    comment: Annotated[str, Field(max_length=2_000, pattern=r"^[^\x00]*$")] | None = Field(
        default=None, examples=["planned maintenance"]
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        given = [name for name in _READING if getattr(self, name) is not None]
        if self.detection_id is not None or self.correct is not None:
            if self.detection_id is None or self.correct is None or given:
                raise ValueError("send detection_id and correct, and nothing about a reading")
        elif len(given) < len(_READING):
            missing = ", ".join(name for name in _READING if name not in given)
            raise ValueError(f"send detection_id and correct, or of the reading also {missing}")
        return self


class Feedback(ApiModel):
    """What somebody said about a reading."""

    id: uuid.UUID = Field(examples=[EXAMPLE_ID])
    stream: str = Field(examples=[DEVICES])
    entity: str = Field(examples=["press-001"])
    metric_name: str = Field(examples=["temperature"])
    timestamp: dt.datetime = Field(examples=[EXAMPLE_TIME])
    is_anomaly: bool = Field(examples=[False])
    comment: str | None = Field(examples=["planned maintenance"])
    labelled_by: str = Field(examples=["operator (3f0c0b6e-6d0f-4e5b-8f8a-0f8e3f1d2c3b)"])
    detection_id: uuid.UUID | None = Field(examples=[EXAMPLE_ID])
    created_at: dt.datetime = Field(examples=[EXAMPLE_TIME])


class FeedbackList(ApiModel):
    """A page of feedback, the newest first."""

    feedback: list[Feedback]
    total: int = Field(examples=[1])
    next_cursor: str | None = Field(examples=[None])
