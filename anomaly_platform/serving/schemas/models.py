"""Models as the API shows them (table ``ml_models``)."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Literal

from pydantic import Field

from anomaly_platform.serving.schemas.base import ApiModel

ModelStatus = Literal[
    "candidate", "active", "inactive", "insufficient_history", "failed", "deleted"
]


class Model(ApiModel):
    """The model of one device and metric."""

    id: uuid.UUID = Field(examples=["3f0c0b6e-6d0f-4e5b-8f8a-0f8e3f1d2c3b"])
    device_id: str = Field(examples=["press-01"])
    metric_name: str = Field(examples=["temperature"])
    model_type: str = Field(examples=["isolation_forest"])
    model_path: str | None = Field(description="Of the bundle that it is in, within the lake.")
    model_version: int = Field(ge=1, description="Version of the bundle.", examples=[4])
    status: ModelStatus = Field(examples=["active"])
    accuracy: float | None = Field(description="Balanced accuracy on held-out data, 0 to 1.")
    false_positive_rate: float | None = Field(description="0 to 1.", examples=[0.012])
    threshold: float = Field(
        ge=0.0, le=1.0, description="Score from which a reading is an anomaly.", examples=[0.7]
    )
    training_samples: int = Field(ge=0, examples=[8640])
    trained_at: dt.datetime | None
    last_used_at: dt.datetime | None
    created_at: dt.datetime
