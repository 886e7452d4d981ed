"""Anomalies and scores as the API shows them."""

import datetime as dt
import uuid
from typing import Annotated, Any, Literal

from pydantic import Field, Strict

from anomaly_platform.serving.schemas.base import (
    EXAMPLE_ID,
    EXAMPLE_TIME,
    ApiModel,
    EntityId,
    Hours,
    Name,
    ScoreThreshold,
)


class Anomaly(ApiModel):
    """A reading of a device that was found unusual."""

    id: uuid.UUID = Field(description="Of the detection, for feedback.", examples=[EXAMPLE_ID])
    model_id: uuid.UUID | None = Field(examples=[EXAMPLE_ID])
    device_id: str = Field(examples=["press-001"])
    metric_name: str = Field(examples=["temperature"])
    value: float | None = Field(examples=[87.0])
    anomaly_score: float | None = Field(examples=[-0.8])
    """1 ordinary to -1 most unusual; an anomaly at 0 and below."""
    unit_score: float | None = Field(examples=[0.94])
    """The same score as 0 ordinary to 1 most unusual."""
    is_anomaly: bool = Field(examples=[True])
    confidence: float | None = Field(examples=[0.8])
    timestamp: dt.datetime = Field(examples=[EXAMPLE_TIME])
    source: Literal["batch", "realtime"] = Field(examples=["realtime"])
    """realtime: as judged on arrival. batch: found later, when all was known."""
    metadata: dict[str, Any] = Field(examples=[{"status": "trained"}])


class AnomalyList(ApiModel):
    """A page of anomalies, the newest first."""

    anomalies: list[Anomaly]
    total: int = Field(description="Anomalies that fit the filter.", examples=[1])
    next_cursor: str | None = Field(examples=[None])


class DetectRequest(ApiModel):
    """Which readings of an asset are looked through for anomalies."""

    asset_id: EntityId = Field(examples=["host-001"])
    metric_name: Name | None = Field(default=None, examples=["cpu_usage"])
    """All by default."""
    hours: Annotated[Hours, Strict()] = 24.0
    threshold: ScoreThreshold | None = Field(
        default=None,
        description="Score from which a reading counts, for this answer only; by default what "
        "holds for its series. Of hosts' ordinary readings the share `ANOMALY_ALPHA` (unset: one "
        "in a hundred) lies above 0.7.",
        examples=[0.8],
    )


class Score(ApiModel):
    """A reading of an asset with its score."""

    id: uuid.UUID = Field(description="Of the reading.", examples=[EXAMPLE_ID])
    assetId: str = Field(examples=["host-001"])  # noqa: N815 - the clients' name
    metricName: str = Field(examples=["cpu_usage"])  # noqa: N815
    value: float | None = Field(description="Null is a missing reading.", examples=[0.41])
    score: float | None = Field(examples=[0.12])
    """0 ordinary to 1 most unusual; null where nothing can be said."""
    isAnomaly: bool | None = Field(  # noqa: N815
        description="Null where nobody can say, which is not the same as normal.",
        examples=[False],
    )
    threshold: float = Field(examples=[0.7])
    timestamp: dt.datetime = Field(examples=[EXAMPLE_TIME])
    metadata: dict[str, Any] = Field(
        description="status, pValue, detector, bundleVersion, provisional; entityScore and causes "
        "of the whole asset at that time, where they are known; of a flagged reading reason, "
        "expectedLow, expectedHigh, deviation, direction, lasting, lastedSeconds and explanation.",
        examples=[{"status": "trained", "entityScore": 0.2}],
    )


class EntityVerdict(ApiModel):
    """An asset as a whole, over all its metrics."""

    score: float | None = Field(examples=[0.2])
    """Highest of the window, 0 ordinary to 1 most unusual."""
    is_anomaly: bool | None = Field(examples=[False])


DetectStep = Literal["fetching", "storing", "events"]


class LeftOut(ApiModel):
    """A step of a detection that was not done, or not to its end."""

    step: DetectStep = Field(examples=["events"])
    reason: str = Field(examples=["the key has no scope ml:write"])


class DetectAnswer(ApiModel):
    """What was found in the window."""

    asset_id: str = Field(examples=["host-001"])
    metric_name: str | None = Field(examples=["cpu_usage"])
    window_start: dt.datetime = Field(examples=[EXAMPLE_TIME])
    window_end: dt.datetime = Field(examples=[EXAMPLE_TIME])
    threshold: float | None = Field(examples=[0.8])
    """As asked for; null where each series' own was used."""
    anomalies: list[Score] = Field(description="The most unusual first, at most 1,000.")
    anomaly_count: int = Field(description="All of them.", examples=[0])
    readings: int = Field(description="Readings in the window.", examples=[288])
    undecided: int = Field(description="Of them those nobody can judge.", examples=[0])
    highest_score: float | None = Field(examples=[0.41])
    entity: EntityVerdict
    stored: int = Field(description="Readings that were fetched from the EMS now.", examples=[288])
    refused: int = Field(description="Readings of the EMS that cannot be used.", examples=[0])
    events_created: int = Field(
        description="Events that were made in the EMS now; none for what it was told before.",
        examples=[0],
    )
    left_out: list[LeftOut] = Field(description="What was not done, and why.", examples=[[]])


class ScoreList(ApiModel):
    """A page of scores, the newest first and by metric."""

    asset_id: str = Field(examples=["host-001"])
    window_start: dt.datetime = Field(examples=[EXAMPLE_TIME])
    window_end: dt.datetime = Field(examples=[EXAMPLE_TIME])
    scores: list[Score]
    next_cursor: str | None = Field(examples=[None])
