"""What may stand in a stream's YAML file, and the stream that follows from it.

What belongs here: keys, defaults and limits; a field's description is what an error tells people to
write. How YAML is read is in ``yaml_lines``, how errors are worded in ``stream_problems``, where
files are found in ``user_defined``. ``docs/reference/streams.md`` shows every key of this module,
and a test holds the two equal.
"""

from __future__ import annotations

import math
import re
import unicodedata
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Literal, get_args
from zoneinfo import ZoneInfo

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.streams.base import MetricStream, RetrainingPolicy

#: The detectors that a metric stream can train.
DetectorName = Literal["isolation_forest"]

_DAY = timedelta(days=1)
_UNITS = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": _DAY,
    "w": timedelta(weeks=1),
}
_SPELLED = {
    "sec": "s",
    "second": "s",
    "min": "m",
    "minute": "m",
    "hour": "h",
    "day": "d",
    "week": "w",
}
_DURATION = re.compile(r"^([0-9]{1,6}(?:\.[0-9]{1,3})?)\s*([a-z]+)$")
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
        "causes",
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


def parse_duration(value: object) -> timedelta:
    """Return the time that a text such as ``30s``, ``5m``, ``1h``, ``7d`` or ``2w`` means.

    Raises
    ------
    ValueError
        When it is something else; a bare number has no unit and is refused.
    """
    found = _DURATION.match(value.strip().lower()) if isinstance(value, str) else None
    if found is not None:
        unit = found[2]
        unit = _SPELLED.get(unit.removesuffix("s") if len(unit) > 1 else unit, unit)
        if unit in _UNITS:
            return float(found[1]) * _UNITS[unit]
    raise ValueError("write a number and its unit, such as 30s, 5m, 1h or 7d")


def default_windows(frequency: timedelta) -> tuple[int, ...]:
    """Return the windows, in rows, of a stream that names none.

    The longest one covers a day, the natural cycle of machines and people, within 288 and 2,880
    rows, but reaches no further back than four weeks as long as 60 rows are left.
    """
    day = min(max(math.ceil(_DAY / frequency), 288), 2_880)
    longest = max(min(day, 28 * _DAY // frequency), 60)
    return (12, 48, longest)


def _several(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _only_dates(value: object) -> object:
    if isinstance(value, str):
        try:
            return date.fromisoformat(value.strip())
        except ValueError:
            reason = "write a day that the calendar has, such as 2020-01-31"
            raise ValueError(reason) from None
    if isinstance(value, datetime) or not isinstance(value, date):
        raise ValueError("write a day, such as 2020-01-31")  # noqa: TRY004 - pydantic's protocol
    return value


Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
Text = Annotated[str, Field(min_length=1, max_length=500)]
Names = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=100)], ...],
    BeforeValidator(_several),
    Field(min_length=1, max_length=20),
]
Rows = tuple[Annotated[int, Field(ge=1, le=_MOST_ROWS)], ...]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


class Columns(_Part):
    """Which column of a file is what; each a name, or a list of names that occur."""

    entity: Names = Field(default=("entity",), description="a column's name, or a list of names")
    metric: Names = Field(default=("metric_name",), description="a column's name, or a list")
    time: Names = Field(default=("timestamp",), description="a column's name, or a list of names")
    value: Names = Field(default=("value",), description="a column's name, or a list of names")
    event_id: Names = Field(default=("event_id",), description="a column's name, or a list")
    label: Names = Field(default=("is_anomaly",), description="a column's name, or a list")
    metadata: Names = Field(default=("metadata",), description="a column's name, or a list")
    ignore: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=100)], ...], BeforeValidator(_several)
    ] = Field(default=(), description="a column's name, or a list of names")

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

    @model_validator(mode="after")
    def _each_column_is_one_thing(self) -> Columns:
        taken: dict[str, str] = {}
        for field in type(self).model_fields:
            for name in getattr(self, field):
                other = taken.setdefault(_compared(name), field)
                if other != field:
                    raise ValueError(f"the column {name!r} is both {other} and {field}; choose one")
        return self


class Features(_Part):
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


class Retraining(_Part):
    """When and on what models are trained."""

    window: Duration | None = Field(default=None, description="a duration, such as 30d")
    max_age: Duration = Field(default=timedelta(days=7), description="a duration, such as 7d")
    max_silence: Duration = Field(
        default=timedelta(days=3650), description="a duration, such as 365d"
    )
    minimum_quality: float = Field(
        default=0.90, gt=0.0, lt=1.0, description="a share above 0 and below 1, such as 0.9"
    )
    drift_psi: float = Field(
        default=0.25, gt=0.0, lt=10.0, description="a number above 0 and below 10, such as 0.25"
    )
    drift_days: int = Field(default=3, ge=1, le=30, description="1 to 30 days, such as 3")
    cool_down: Duration = Field(default=_DAY, description="a duration, such as 1d")
    growth: float = Field(
        default=2.0, gt=1.0, le=100.0, description="a number above 1, up to 100, such as 2"
    )

    @field_validator("window", "max_age", "max_silence", "cool_down")
    @classmethod
    def _at_least_an_hour(cls, value: timedelta | None) -> timedelta | None:
        if value is not None and not timedelta(hours=1) <= value <= timedelta(days=3650):
            raise ValueError("write a time between 1h and 3650d, such as 30d")
        return value


class Checks(_Part):
    """Bounds of the asset checks."""

    max_quarantine_ratio: float = Field(
        default=0.05, gt=0.0, lt=1.0, description="a share above 0 and below 1, such as 0.05"
    )
    max_anomaly_rate: float = Field(
        default=0.25, gt=0.0, lt=1.0, description="a share above 0 and below 1, such as 0.25"
    )


class StreamDocument(_Part):
    """A whole file."""

    name: str = Field(
        pattern=r"^[a-z][a-z0-9_]{0,30}$",
        description="up to 31 lower-case letters, digits and '_', beginning with a letter, "
        "such as pumps",
    )
    frequency: Duration = Field(description="the time between two readings, such as 5m")
    title: Text | None = Field(default=None, description="a text, such as Pumps of hall 3")
    description: Text | None = Field(default=None, description="a text")
    columns: Columns = Field(
        default_factory=Columns, description="its keys on lines of their own, indented"
    )
    timezone: str | None = Field(default=None, description="a zone, such as Europe/Berlin")
    features: Features = Field(
        default_factory=Features, description="its keys on lines of their own, indented"
    )
    detectors: Annotated[tuple[DetectorName, ...], BeforeValidator(_several)] = Field(
        default=("isolation_forest",),
        min_length=1,
        max_length=1,
        description=f"a list of {' or '.join(get_args(DetectorName))}",
    )
    alpha: float | None = Field(
        default=None, gt=0.0, lt=0.3, description="a share above 0 and below 0.3, such as 0.01"
    )
    threshold: float | None = Field(
        default=None, gt=0.0, lt=1.0, description="a score above 0 and below 1, such as 0.7"
    )
    retraining: Retraining = Field(
        default_factory=Retraining, description="its keys on lines of their own, indented"
    )
    checks: Checks = Field(
        default_factory=Checks, description="its keys on lines of their own, indented"
    )
    start: Annotated[date | None, BeforeValidator(_only_dates)] = Field(
        default=None, description="a day, such as 2020-01-31"
    )
    owners: Annotated[tuple[str, ...], BeforeValidator(_several)] = Field(
        default=("team:anomaly-platform",),
        min_length=1,
        description="an e-mail address or team:name, such as team:maintenance",
    )

    @field_validator("frequency")
    @classmethod
    def _between_a_second_and_a_day(cls, value: timedelta) -> timedelta:
        if not timedelta(seconds=1) <= value <= _DAY:
            raise ValueError("write a time between 1s and 1d, such as 5m")
        return value

    @field_validator("timezone")
    @classmethod
    def _zone_is_known(cls, value: str | None) -> str | None:
        try:
            ZoneInfo(value or "UTC")
        except (KeyError, ValueError, OSError):
            raise ValueError("write an IANA time zone, such as Europe/Berlin") from None
        return value

    @field_validator("owners")
    @classmethod
    def _owners_as_dagster_wants(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for owner in value:
            if not re.match(r"^(team:[A-Za-z0-9_.\- ]+|[^@\s:]+@[^@\s:]+\.[^@\s:]+)$", owner):
                raise ValueError(
                    f"{owner!r} is no owner; write an e-mail address or team:name, "
                    "such as team:maintenance"
                )
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
        title = self.title or self.name.replace("_", " ").capitalize()
        return MetricStream(
            name=self.name,
            title=title,
            description=self.description or f"{title}: one model per entity and metric.",
            entity_field=own["entity"][0],
            metric_field=columns.metric[0],
            time_field=columns.time[0],
            value_field=columns.value[0],
            aliases={field: names[1:] for field, names in own.items() if names[1:]}
            | {field: own[field] for field in ("event_id", "label", "metadata")},
            ignored_columns=columns.ignore,
            timezone=self.timezone,
            features=self.feature_set,
            alpha=self.alpha,
            threshold=self.threshold,
            retraining=RetrainingPolicy(
                window=self.training_window,
                max_silence=self.retraining.max_silence,
                max_age=self.retraining.max_age,
                minimum_quality=self.retraining.minimum_quality,
                drift_psi=self.retraining.drift_psi,
                drift_days=self.retraining.drift_days,
                cool_down=self.retraining.cool_down,
                growth=self.retraining.growth,
            ),
            max_quarantine_ratio=self.checks.max_quarantine_ratio,
            max_anomaly_rate=self.checks.max_anomaly_rate,
            start=self.start,
            owners=self.owners,
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


def sql_name(column: str) -> str:
    """Return a column's name as BI sees it: ``Pump ID`` becomes ``pump_id``."""
    plain = unicodedata.normalize("NFKD", column).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "_", plain.lower()).strip("_")


def _compared(column: str) -> str:
    """Return a column's name as names are compared when a file is read."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFC", column).lower())
