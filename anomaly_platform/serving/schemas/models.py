"""Models as the API shows them: of single devices (``ml_models``) and bundles of them."""

import datetime as dt
import uuid
from typing import Any, Literal

from pydantic import Field

from anomaly_platform.queries.models import ModelStatus
from anomaly_platform.serving.schemas.base import EXAMPLE_ID, EXAMPLE_TIME, ApiModel, ScoreThreshold
from anomaly_platform.streams import BUILT_IN, metric_streams
from anomaly_platform.streams.bindings import ASSETS, DEVICES

BundleStatus = Literal[
    "training", "challenger", "champion", "retired", "rejected", "failed", "deleted"
]
_ALPHA = metric_streams(BUILT_IN)[DEVICES].alpha


class Model(ApiModel):
    """The model of one device and metric."""

    id: uuid.UUID = Field(examples=[EXAMPLE_ID])
    device_id: str = Field(examples=["press-001"])
    metric_name: str = Field(examples=["temperature"])
    model_type: str = Field(examples=["isolation_forest"])
    model_path: str | None = Field(examples=["models/iiot/isolation_forest/000004"])
    """Of the bundle that it is in, within the lake."""
    model_version: int = Field(ge=1, description="Version of the bundle.", examples=[4])
    status: ModelStatus = Field(examples=["active"])
    accuracy: float | None = Field(examples=[0.97])
    """Balanced accuracy on held-out data, 0 to 1."""
    false_positive_rate: float | None = Field(description="0 to 1.", examples=[0.012])
    true_positive_rate: float | None = Field(examples=[0.93])
    """Share of the injected anomalous rows of held-out data that it flags, null if not measured."""
    event_recall: float | None = Field(examples=[0.99])
    """Share of the injected anomalies of which it flags at least one row."""
    threshold: float = Field(examples=[0.7])
    """Score in 0 to 1 from which a reading is an anomaly."""
    training_samples: int = Field(examples=[8640])
    trained_at: dt.datetime | None = Field(examples=[EXAMPLE_TIME])
    last_used_at: dt.datetime | None = Field(examples=[None])
    created_at: dt.datetime = Field(examples=[EXAMPLE_TIME])


class ModelList(ApiModel):
    """A page of models, by device, metric and version."""

    models: list[Model]
    total: int = Field(description="Models that fit the filter.", examples=[28])
    active_count: int = Field(description="Of them those in service.", examples=[28])
    next_cursor: str | None = Field(examples=[None])
    """For the next page; null on the last one."""


class Performance(ApiModel):
    """How well a model does."""

    model_id: uuid.UUID = Field(examples=[EXAMPLE_ID])
    accuracy: float | None = Field(examples=[0.97])
    """Balanced accuracy on held-out data, 0 to 1."""
    false_positive_rate: float | None = Field(examples=[0.012])
    true_positive_rate: float | None = Field(examples=[0.93])
    """Share of the injected anomalous rows of held-out data that it flags, null if not measured."""
    event_recall: float | None = Field(examples=[0.99])
    """Share of the injected anomalies of which it flags at least one row."""
    last_trained: dt.datetime | None = Field(examples=[EXAMPLE_TIME])
    training_samples: int = Field(examples=[8640])
    status: ModelStatus = Field(examples=["active"])
    threshold: float = Field(examples=[0.7])
    detections: int = Field(description="Readings that it flagged.", examples=[3])
    labelled: int = Field(description="Its readings that people have labelled.", examples=[12])
    confirmed_share: float | None = Field(examples=[0.9])
    """Of its labelled detections the share that people call right; null where none is labelled."""
    prediction_p95_ms: float | None = Field(examples=[2.1])
    """Within which 95 % of the scoring requests about devices were answered in the last 24 hours;
    null where there was none."""
    prediction_p99_ms: float | None = Field(examples=[4.8])


class ThresholdRequest(ApiModel):
    """A threshold for one device and metric."""

    threshold: ScoreThreshold = Field(
        description="Score from which a reading is an anomaly. Of devices' ordinary readings "
        f"about one in {1 / (_ALPHA or 1):,.0f} lies above 0.7, and fewer above more.",
        examples=[0.8],
    )


class ThresholdAnswer(ApiModel):
    """What holds now."""

    success: Literal[True] = True
    model_id: uuid.UUID = Field(examples=[EXAMPLE_ID])
    threshold: float = Field(examples=[0.8])
    previous: float = Field(description="What held before.", examples=[0.7])


class ThresholdCleared(ApiModel):
    """What holds without a person's threshold."""

    success: Literal[True] = True
    model_id: uuid.UUID = Field(examples=[EXAMPLE_ID])
    threshold: float = Field(examples=[0.7])
    """Holds now: the stream's, or what labels have moved it to."""
    previous: float = Field(description="What held before.", examples=[0.8])


class DeleteAnswer(ApiModel):
    """What became of the model."""

    success: Literal[True] = True
    id: uuid.UUID = Field(examples=[EXAMPLE_ID])
    status: Literal["deleted"]


class Bundle(ApiModel):
    """A version of a detector: a model per asset and metric, or one of all scans."""

    id: uuid.UUID = Field(examples=[EXAMPLE_ID])
    modelType: str = Field(examples=["isolation_forest"])  # noqa: N815 - the clients' name
    modelVersion: str = Field(examples=["4"])  # noqa: N815
    trainingDate: dt.datetime | None = Field(examples=[EXAMPLE_TIME])  # noqa: N815
    metrics: dict[str, Any] = Field(examples=[{"balanced_accuracy": 0.97}])
    parameters: dict[str, Any] = Field(examples=[{"alpha": 0.01}])
    status: BundleStatus = Field(examples=["champion"])
    filePath: str | None = Field(  # noqa: N815
        examples=["models/ems/isolation_forest/000004"]
    )
    metadata: dict[str, Any] = Field(examples=[{"stream": ASSETS}])
    createdAt: dt.datetime = Field(examples=[EXAMPLE_TIME])  # noqa: N815


class BundleList(ApiModel):
    """A page of bundles, the newest first."""

    models: list[Bundle]
    total: int = Field(examples=[4])
    next_cursor: str | None = Field(examples=[None])
