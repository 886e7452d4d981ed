"""A device at a glance."""

import datetime as dt
import uuid
from typing import Any

from pydantic import Field

from anomaly_platform.serving.schemas.base import ApiModel


class ServingModel(ApiModel):
    """The model that judges a metric of a device."""

    id: uuid.UUID
    model_version: int = Field(ge=1, examples=[4])
    accuracy: float | None = Field(description="Balanced accuracy, 0 to 1.", examples=[0.98])
    false_positive_rate: float | None = Field(examples=[0.012])
    trained_at: dt.datetime | None


class DeviceMetric(ApiModel):
    """A metric of a device."""

    metric_name: str = Field(examples=["temperature"])
    last_reading: dt.datetime | None = Field(description="Time of the newest reading.")
    model: ServingModel | None = Field(description="Null: judged without a model of its own.")
    latest_prediction: dict[str, Any] | None = Field(
        description="The latest answer of `predict` about it within five minutes, by any worker "
        "that shares Redis with this one.",
    )


class Device(ApiModel):
    """What is known of a device."""

    device_id: str = Field(examples=["press-01"])
    anomalies_24h: int = Field(ge=0)
    """Anomalies of the last 24 hours, as of 15 minutes ago at most."""
    metrics: list[DeviceMetric]
