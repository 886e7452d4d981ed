"""Trainings: asking for one, and what became of it."""

import datetime as dt
import uuid
from typing import Annotated, Literal

from pydantic import Field

from anomaly_platform.serving.schemas.base import (
    EXAMPLE_ID,
    EXAMPLE_TIME,
    ApiModel,
    EntityId,
    Name,
    WholeNumber,
)
from anomaly_platform.streams.bindings import DEVICES

TrainingStatus = Literal["waiting", "running", "done", "failed", "cancelled"]
_ID = uuid.UUID("0b6e3f0c-0d6f-4e5b-8f8a-1d2c3b0f8e3f")
_URL = f"/api/v1/ml/training/{_ID}"

WindowDays = Annotated[WholeNumber, Field(ge=1, le=3650)]


class TrainRequest(ApiModel):
    """A training of one device and metric."""

    device_id: EntityId = Field(examples=["press-001"])
    metric_name: Name = Field(examples=["temperature"])
    training_window: WindowDays | None = Field(default=None, examples=[30])
    """Days of history, before the newest reading; the stream's own by default."""


class RetrainRequest(ApiModel):
    """How to train a model's device and metric again; everything is optional."""

    training_window: WindowDays | None = Field(default=None, examples=[30])


class TrainingRequested(ApiModel):
    """A training that goes on; ask again at `status_url`."""

    request_id: uuid.UUID = Field(examples=[_ID])
    status: TrainingStatus = Field(examples=["waiting"])
    status_url: str = Field(examples=[_URL])


class TrainAnswer(ApiModel):
    """A training that has ended."""

    model_id: uuid.UUID = Field(examples=[EXAMPLE_ID])
    accuracy: float | None = Field(examples=[0.97])
    """Balanced accuracy on held-out data, 0 to 1."""
    training_time: float = Field(
        description="Seconds that the training itself took, of all models that were trained "
        "together; waiting for it, features and gates are not counted.",
        examples=[0.4],
    )
    model_status: str = Field(
        description="active: it serves. rejected: gates refused it, and the model before it goes "
        "on. candidate: nobody has decided yet.",
        examples=["active"],
    )
    model_version: int = Field(examples=[5])
    outcome: str | None = Field(examples=["28 series trained, 0 failed"])
    request_id: uuid.UUID = Field(examples=[_ID])


class RetrainAnswer(TrainAnswer):
    """A model that was trained again."""

    new_model_id: uuid.UUID = Field(examples=[EXAMPLE_ID])
    improvement_percentage: float | None = Field(
        description="Change of the accuracy over the old model's, in percent of it; null where "
        "either is unknown.",
        examples=[1.2],
    )


class Training(ApiModel):
    """A training that was asked for."""

    request_id: uuid.UUID = Field(examples=[_ID])
    stream: str = Field(examples=[DEVICES])
    entity: str | None = Field(description="Device or asset; null for all.", examples=["press-001"])
    metric_name: str | None = Field(description="Null for all.", examples=["temperature"])
    training_window: int | None = Field(description="Days.", examples=[30])
    status: TrainingStatus = Field(examples=["done"])
    reason: str = Field(examples=["asked for through the API"])
    outcome: str | None = Field(examples=["28 series trained, 0 failed"])
    run_id: str | None = Field(description="Of Dagster.", examples=[None])
    model_id: uuid.UUID | None = Field(examples=[EXAMPLE_ID])
    """Of the new model, where one series was asked for."""
    model_version: int | None = Field(examples=[5])
    model_status: str | None = Field(
        description="active: it serves. rejected: gates refused it, and the model before it goes "
        "on. candidate: nobody has decided yet.",
        examples=["active"],
    )
    accuracy: float | None = Field(examples=[0.97])
    training_time: float | None = Field(examples=[0.4])
    """Seconds that the training itself took; null before, and without a model."""
    created_at: dt.datetime = Field(examples=[EXAMPLE_TIME])
    started_at: dt.datetime | None = Field(examples=[EXAMPLE_TIME])
    finished_at: dt.datetime | None = Field(examples=[EXAMPLE_TIME])


class TrainManyRequest(ApiModel):
    """A training of assets and metrics; without names, of everything."""

    asset_ids: Annotated[list[EntityId], Field(min_length=1, max_length=1_000)] | None = Field(
        default=None, examples=[["host-001"]]
    )
    metric_names: Annotated[list[Name], Field(min_length=1, max_length=1_000)] | None = Field(
        default=None, examples=[["cpu_usage"]]
    )
    hours: Annotated[WholeNumber, Field(ge=1, le=87_600)] | None = Field(
        default=None, examples=[720]
    )
    """Hours of history, rounded up to whole days; the stream's own by default."""


class TrainManyAnswer(ApiModel):
    """The trainings that were asked for; one run serves them together."""

    requests: list[TrainingRequested]
    trainings: list[Training]
    """What became of them, where the request waited for it."""
