"""Keys of the YAML file of a metric stream, and the stream that follows from them."""

import math
import re
from datetime import timedelta
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.streams.base import MetricStream
from anomaly_platform.streams.stream_document import (
    ColumnNames,
    Duration,
    Ignored,
    Names,
    Part,
    StreamDocument,
    several,
    sql_name,
)

#: The detectors that a metric stream can train.
DetectorName = Literal["isolation_forest"]

_DAY = timedelta(days=1)
_MOST_ROWS = 10_000
_ROWS_WANTED = f"ascending whole numbers of rows, 1 to {_MOST_ROWS:,}"
#: The statistical fallback needs this many readings in the longest window.
_LEAST_LONGEST_WINDOW = 30
#: Columns of the BI views that the entity's column stands beside.
_VIEW_COLUMNS = frozenset(
    (
        "event_id",
        "day",
        "metric_name",
        "timestamp",
        "value",
        "anomaly_score",
        "confidence",
        "decision_score",
        "prediction",
        "unit_score",
        "is_anomaly",
        "threshold",
        "status",
        "p_value",
        "z_score",
        "iqr_score",
        "mad_score",
        "label",
        "entity_score",
        "entity_is_anomaly",
        "is_call",
        "entity_is_call",
        "calls",
        "causes",
        "reason",
        "expected_low",
        "expected_high",
        "deviation",
        "direction",
        "lasting",
        "lasted_s",
        "explanation",
        "metadata",
        "detector",
        "bundle_version",
        "readings",
        "missing",
        "anomalies",
        "undecided",
        "anomaly_rate",
        "mean_score",
        "max_score",
        "min_value",
        "mean_value",
        "max_value",
    )
)


Rows = tuple[Annotated[int, Field(ge=1, le=_MOST_ROWS)], ...]


def default_windows(frequency: timedelta) -> tuple[int, ...]:
    """Return the windows, in rows, of a stream that names none.

    The longest one covers a day, the natural cycle of machines and people, within 288 and 2,880
    rows, but reaches no further back than four weeks as long as 60 rows are left.
    """
    day = min(max(math.ceil(_DAY / frequency), 288), 2_880)
    longest = max(min(day, 28 * _DAY // frequency), 60)
    return (12, 48, longest)


class Columns(ColumnNames):
    """Which column of a file is what; each a name, or a list of names that occur."""

    entity: Names = Field(default=("entity",), description="a column's name, or a list of names")
    metric: Names = Field(default=("metric_name",), description="a column's name, or a list")
    time: Names = Field(default=("timestamp",), description="a column's name, or a list of names")
    value: Names = Field(default=("value",), description="a column's name, or a list of names")
    event_id: Names = Field(default=("event_id",), description="a column's name, or a list")
    label: Names = Field(default=("is_anomaly",), description="a column's name, or a list")
    metadata: Names = Field(default=("metadata",), description="a column's name, or a list")
    ignore: Ignored = Field(default=(), description="a column's name, or a list of names")

    @field_validator("entity")
    @classmethod
    def _becomes_a_view_column(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        name = sql_name(value[0])
        if not re.match(r"^[a-z][a-z0-9_]{0,30}$", name):
            raise ValueError(
                f"{value[0]!r} cannot be a column of the BI views; put a name of up to 31 letters "
                f"and digits first, such as [device, {value[0]!r}]"
            )
        if name in _VIEW_COLUMNS:
            raise ValueError(
                f"the BI views have a column {name!r} already; put another name first, such as "
                f"[device, {value[0]!r}]"
            )
        return value


class Features(Part):
    """The trailing windows and lags that a reading is seen against."""

    windows: Rows | None = Field(
        default=None, description=f"a list of {_ROWS_WANTED}, such as [12, 48, 288]"
    )
    lags: Rows = Field(
        default=(1, 2, 12), description=f"a list of {_ROWS_WANTED}, such as [1, 2, 12]"
    )

    @field_validator("windows", "lags")
    @classmethod
    def _ascending(cls, value: tuple[int, ...] | None, info: ValidationInfo) -> Any:
        if value is None:
            return value
        if not value or list(value) != sorted(set(value)):
            example = [12, 48, 288] if info.field_name == "windows" else [1, 2, 12]
            raise ValueError(f"write a list of {_ROWS_WANTED}, such as {example}")
        if info.field_name == "windows" and value[-1] < _LEAST_LONGEST_WINDOW:
            raise ValueError(
                f"the longest window has to hold at least {_LEAST_LONGEST_WINDOW} rows, "
                f"not {value[-1]}"
            )
        return value


class Forest(Part):
    """How the forest of each series is fitted."""

    trees: int = Field(default=100, ge=10, le=100, description="10 to 100 trees, such as 100")
    contamination: float | None = Field(default=None, ge=0.0, lt=0.5)
    """a share from 0 and below 0.5, such as 0.1"""


class MetricDocument(StreamDocument):
    """A whole file of a metric stream."""

    kind: Literal["metrics"] = Field(default="metrics", description="metrics or scans")
    frequency: Duration = Field(description="the time between two readings, such as 5m")
    columns: Columns = Field(default_factory=Columns)
    """its keys on lines of their own, indented"""
    features: Features = Field(default_factory=Features)
    """its keys on lines of their own, indented"""
    detectors: Annotated[tuple[DetectorName, ...], BeforeValidator(several)] = Field(
        default=("isolation_forest",),
        min_length=1,
        max_length=1,
        description=f"a list of {' or '.join(get_args(DetectorName))}",
    )

    forest: Forest = Field(default_factory=Forest)
    """its keys on lines of their own, indented"""

    @field_validator("frequency")
    @classmethod
    def _between_a_second_and_a_day(cls, value: timedelta) -> timedelta:
        if not timedelta(seconds=1) <= value <= _DAY:
            raise ValueError("write a time between 1s and 1d, such as 5m")
        return value

    def to_stream(self) -> MetricStream:
        """Return the stream; limits that need several keys are in ``stream_problems``."""
        columns = self.columns
        own = {
            "entity": (sql_name(columns.entity[0]), *columns.entity),
            "metric": columns.metric,
            "event_time": columns.time,
            "value": columns.value,
            "event_id": columns.event_id,
            "label": columns.label,
            "metadata": columns.metadata,
        }
        return MetricStream(
            **self.common(),
            description=self.description or f"{self.shown_title}: one model per entity and metric.",
            entity_field=own["entity"][0],
            metric_field=columns.metric[0],
            time_field=columns.time[0],
            value_field=columns.value[0],
            aliases={field: names[1:] for field, names in own.items() if names[1:]}
            | {field: own[field] for field in ("event_id", "label", "metadata")},
            ignored_columns=columns.ignore,
            features=self.feature_set,
            contamination=self.forest.contamination,
            trees=self.forest.trees,
            retraining=self.policy(self.training_window),
        )

    @property
    def feature_set(self) -> MetricFeatureSet:
        """The features, windows chosen by the frequency where none are named."""
        windows = self.features.windows or default_windows(self.frequency)
        return MetricFeatureSet(windows, self.features.lags, self.frequency)

    @property
    def training_window(self) -> timedelta:
        """The history that is trained on: 30 days or 300 readings, whichever is longer."""
        return self.retraining.window or max(timedelta(days=30), 300 * self.frequency)
