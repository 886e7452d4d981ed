"""Values of an asset's metrics, and what is usual in them."""

import datetime as dt

from pydantic import Field

from anomaly_platform.serving.schemas.base import EXAMPLE_TIME, ApiModel


class Value(ApiModel):
    """One reading."""

    timestamp: dt.datetime = Field(examples=[EXAMPLE_TIME])
    value: float | None = Field(description="Null is a missing reading.", examples=[0.41])


class Percentiles(ApiModel):
    """Values below which a share of the readings lies."""

    p5: float = Field(examples=[0.2])
    p25: float = Field(examples=[0.31])
    p50: float = Field(examples=[0.4])
    p75: float = Field(examples=[0.5])
    p95: float = Field(examples=[0.66])
    p99: float = Field(examples=[0.7])


class Trend(ApiModel):
    """A straight line through the readings, by least squares."""

    slope_per_hour: float | None = Field(examples=[0.004])
    """Null where it exceeds the range of numbers."""
    direction: str = Field(
        description="up or down where the line moves by more than half a standard deviation over "
        "the window, flat otherwise.",
        examples=["flat"],
    )


class MetricValues(ApiModel):
    """Readings of one metric."""

    metric_name: str = Field(examples=["cpu_usage"])
    count: int = Field(description="Readings with a value.", examples=[288])
    missing: int = Field(description="Readings without one.", examples=[0])
    mean: float | None = Field(examples=[0.41])
    std: float | None = Field(description="Of the population.", examples=[0.12])
    min: float | None = Field(examples=[0.11])
    max: float | None = Field(examples=[0.83])
    percentiles: Percentiles | None = Field(description="Null without a value.")
    trend: Trend | None = Field(description="Null with fewer than two values.")
    values: list[Value] = Field(description="By time.")


class AssetMetrics(ApiModel):
    """An asset's readings in the last hours."""

    asset_id: str = Field(examples=["host-001"])
    window_start: dt.datetime = Field(examples=[EXAMPLE_TIME])
    window_end: dt.datetime = Field(examples=[EXAMPLE_TIME])
    metrics: list[MetricValues]
    truncated: bool = Field(examples=[False])
    """Whether there are more readings than are shown; then ask for fewer hours."""
