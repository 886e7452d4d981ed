"""Keys of a stream's YAML file that every kind of stream has, and the types of their values.

What belongs here: keys, defaults and limits; a field's description is what an error tells people to
write. Keys of one kind are in ``metric_document`` and ``scan_document``. How YAML is read is in
``yaml_lines``, how errors are worded in ``stream_problems``, where files are found in
``user_defined``. ``docs/reference/streams.md`` shows every key, and a test holds the two equal.
"""

import re
import unicodedata
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Self
from zoneinfo import ZoneInfo

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from anomaly_platform.streams.base import RetrainingPolicy

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


def several(value: object) -> object:
    """Return a single text as a list of one."""
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
Column = Annotated[str, Field(min_length=1, max_length=100)]
Ignored = Annotated[tuple[Column, ...], BeforeValidator(several)]
Names = Annotated[Ignored, Field(min_length=1, max_length=20)]


class Part(BaseModel):
    """A part of a file; a key that it does not know is an error."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, str_strip_whitespace=True, use_attribute_docstrings=True
    )


class Retraining(Part):
    """When and on what models are trained."""

    window: Duration | None = Field(default=None, description="a duration, such as 30d")
    max_age: Duration = Field(default=timedelta(days=7), description="a duration, such as 7d")
    max_silence: Duration = timedelta(days=3650)
    """a duration, such as 365d"""
    minimum_quality: float = Field(default=0.90, gt=0.0, lt=1.0)
    """a share above 0 and below 1, such as 0.9"""
    drift_psi: float = Field(default=0.25, gt=0.0, lt=10.0)
    """a number above 0 and below 10, such as 0.25"""
    drift_days: int = Field(default=3, ge=1, le=30, description="1 to 30 days, such as 3")
    cool_down: Duration = Field(default=_DAY, description="a duration, such as 1d")
    growth: float = Field(default=2.0, gt=1.0, le=100.0)
    """a number above 1, up to 100, such as 2"""

    @field_validator("window", "max_age", "max_silence", "cool_down")
    @classmethod
    def _at_least_an_hour(cls, value: timedelta | None) -> timedelta | None:
        if value is not None and not timedelta(hours=1) <= value <= timedelta(days=3650):
            raise ValueError("write a time between 1h and 3650d, such as 30d")
        return value


class Checks(Part):
    """Bounds of the asset checks."""

    max_quarantine_ratio: float = Field(default=0.05, gt=0.0, lt=1.0)
    """a share above 0 and below 1, such as 0.05"""
    max_anomaly_rate: float = Field(default=0.25, gt=0.0, lt=1.0)
    """a share above 0 and below 1, such as 0.25"""


class StreamDocument(Part):
    """Keys that every stream has."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,30}$")
    """up to 31 lower-case letters, digits and '_', beginning with a letter, such as pumps"""
    title: Text | None = Field(default=None, description="a text, such as Pumps of hall 3")
    description: Text | None = Field(default=None, description="a text")
    timezone: str | None = Field(default=None, description="a zone, such as Europe/Berlin")
    alpha: float | None = Field(default=None, gt=0.0, lt=0.3)
    """a share above 0 and below 0.3, such as 0.01"""
    threshold: float | None = Field(default=None, gt=0.0, lt=1.0)
    """a score above 0 and below 1, such as 0.7"""
    retraining: Retraining = Field(default_factory=Retraining)
    """its keys on lines of their own, indented"""
    checks: Checks = Field(default_factory=Checks)
    """its keys on lines of their own, indented"""
    start: Annotated[date | None, BeforeValidator(_only_dates)] = None
    """a day, such as 2020-01-31"""
    owners: Annotated[tuple[str, ...], BeforeValidator(several)] = Field(default=(), min_length=1)
    """an e-mail address or team:name, such as team:maintenance"""

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

    @property
    def shown_title(self) -> str:
        """The title, made from the name where none is given."""
        return self.title or self.name.replace("_", " ").capitalize()

    def policy(self, window: timedelta) -> RetrainingPolicy:
        """Return when models are trained, on this much history."""
        return RetrainingPolicy(**{**self.retraining.model_dump(), "window": window})

    def common(self) -> dict[str, Any]:
        """Return the members of a stream that do not depend on its kind."""
        return {
            "name": self.name,
            "title": self.shown_title,
            "timezone": self.timezone,
            "alpha": self.alpha,
            "threshold": self.threshold,
            "max_quarantine_ratio": self.checks.max_quarantine_ratio,
            "max_anomaly_rate": self.checks.max_anomaly_rate,
            "start": self.start,
            "owners": self.owners,
        }


def sql_name(column: str) -> str:
    """Return a column's name as BI sees it: ``Pump ID`` becomes ``pump_id``."""
    plain = unicodedata.normalize("NFKD", column).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "_", plain.lower()).strip("_")


def _compared(column: str) -> str:
    """Return a column's name as names are compared when a file is read."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFC", column).lower())


class ColumnNames(Part):
    """Which column of a file is what; each a name, or a list of names that occur."""

    @model_validator(mode="after")
    def _each_column_is_one_thing(self) -> Self:
        taken: dict[str, str] = {}
        for field in type(self).model_fields:
            for name in getattr(self, field):
                other = taken.setdefault(_compared(name), field)
                if other != field:
                    raise ValueError(f"the column {name!r} is both {other} and {field}; choose one")
        return self
