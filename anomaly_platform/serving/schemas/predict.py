"""Predictions: a reading in, a verdict out, nothing stored."""

import datetime as dt
import uuid
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from anomaly_platform.serving.schemas.base import (
    EXAMPLE_ID,
    EXAMPLE_TIME,
    ApiModel,
    EntityId,
    Name,
    Number,
    Time,
)

MOST_VALUES = 1_000

SeriesStatus = Literal["trained", "insufficient_history", "failed"]


class PredictRequest(ApiModel):
    """A reading to be judged."""

    device_id: EntityId = Field(examples=["press-001"])
    metric_name: Name = Field(examples=["temperature"])
    value: Number = Field(examples=[49.2])
    timestamp: Time | None = Field(
        default=None,
        description="When it was taken. By default now; of a series that has fallen silent, one "
        "expected interval after its last reading.",
        examples=[None],
    )


class InputShare(ApiModel):
    """What a model input adds to the raw score."""

    name: str = Field(examples=["z_288"])
    forest: float = Field(description="Its Shapley value in the forest's score.", examples=[0.05])
    distance: float = Field(
        description="Its term of the logarithm of the distance from ordinary.", examples=[0.9]
    )


class Evidence(ApiModel):
    """What made a reading unusual."""

    unavoidable: bool = Field(
        description="Whether no value would have done: what is unusual came before it.",
        examples=[False],
    )
    parts: dict[str, float] = Field(
        description="Share of forest, distance, season, level and runs in the evidence; they add "
        "up to 1, and what excuses a reading is negative. Empty without a model.",
        examples=[{"forest": 0.1, "distance": 0.7, "season": 0.0, "level": 0.2, "runs": 0.0}],
    )
    features: list[InputShare] = Field(description="Of each model input, the largest first.")
    usual: float | None = Field(
        description="The forest's score of an ordinary reading; null without a model.",
        examples=[0.42],
    )


class Explained(ApiModel):
    """What was expected of a reading, how far off it is, and what made it unusual."""

    expected_low: float | None = Field(examples=[48.0])
    """Smallest value that would not have been told of; null where there is no end."""
    expected_high: float | None = Field(examples=[52.5])
    """Largest value that would not have been told of."""
    deviation: float | None = Field(
        description="Distance from the middle of that range in halves of its width.",
        examples=[6.2],
    )
    direction: Literal["above", "below", "none"] = Field(examples=["above"])
    lasting: bool = Field(description="Whether it is more than this reading.", examples=[True])
    lasted_s: float | None = Field(
        description="Seconds for which it has lasted at least; null where that is not known.",
        examples=[1500.0],
    )
    explanation: Evidence


class Prediction(ApiModel):
    """What a reading is."""

    value: float = Field(examples=[49.2])
    timestamp: dt.datetime = Field(description="When it was judged at.", examples=[EXAMPLE_TIME])
    is_anomaly: bool | None = Field(examples=[False])
    """Null where nobody can say, which is not the same as normal."""
    is_call: bool | None = Field(examples=[False])
    """Whether somebody would be told of it; null where nothing can be said."""
    score: float | None = Field(examples=[0.62])
    """1 ordinary to -1 most unusual; an anomaly at 0 and below."""
    confidence: float | None = Field(examples=[0.62])
    """Distance from the decision: 0 at the threshold, 1 at the end of the scale."""
    prediction: Literal[-1, 1] | None = Field(examples=[1])
    """-1 anomaly, 1 normal, null unknown."""
    unit_score: float | None = Field(examples=[0.266])
    """The same score as 0 ordinary to 1 most unusual."""
    threshold: float = Field(description="unit_score from which it is an anomaly.", examples=[0.7])
    status: SeriesStatus = Field(
        description="trained: a model judged. insufficient_history, failed: none did, or "
        "without its look-back; from 30 readings on the statistical fallback gives a score, and "
        "only alarms are decided.",
        examples=["trained"],
    )
    reason: str | None = Field(examples=[None])
    """Why it is an anomaly or a call, in the words that are stored of it; of any other reading why
    no model judged and what it takes, null where one did."""
    explanation: Explained | None = Field(examples=[None])
    """The same of an anomaly or a call in numbers."""


class PredictAnswer(Prediction):
    """What a reading is, and which model says so."""

    device_id: str = Field(examples=["press-001"])
    metric_name: str = Field(examples=["temperature"])
    model_id: uuid.UUID | None = Field(examples=[EXAMPLE_ID])
    """Null where no model has heard of the series."""
    model_version: int | None = Field(examples=[4])
    """Version of the bundle that judged, null without one."""


class PredictBatchRequest(ApiModel):
    """Readings of one series to be judged."""

    device_id: EntityId = Field(examples=["press-001"])
    metric_name: Name = Field(examples=["temperature"])
    values: Annotated[list[Number], Field(min_length=1, max_length=MOST_VALUES)] = Field(
        examples=[[49.2, 49.3, 87.0]]
    )
    timestamps: list[Time] | None = Field(
        default=None,
        description="When each was taken, strictly ascending: each is then judged with those "
        "before it as its past. Without them each value is judged by itself, as the next reading.",
        examples=[None],
    )

    @model_validator(mode="after")
    def _times_fit(self) -> Self:
        times = self.timestamps
        if times is None:
            return self
        if len(times) != len(self.values):
            raise ValueError(
                f"timestamps: {len(times)} for {len(self.values)} values; send one for each"
            )
        if any(later <= earlier for earlier, later in pairwise(times)):
            raise ValueError("timestamps: they must be strictly ascending")
        return self


class PredictBatchAnswer(ApiModel):
    """What readings are, in the order in which they were sent."""

    device_id: str = Field(examples=["press-001"])
    metric_name: str = Field(examples=["temperature"])
    predictions: list[Prediction]
    anomaly_count: int = Field(examples=[1])
    model_id: uuid.UUID | None = Field(examples=[EXAMPLE_ID])
    model_version: int | None = Field(examples=[4])
