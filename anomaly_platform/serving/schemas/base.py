"""What every schema shares: strictness, and the kinds of text, number and time that are taken."""

import datetime as dt
import uuid
from typing import Annotated, Any

from fastapi import Query
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

from anomaly_platform.labelling.thresholds import THRESHOLD_RULE

EXAMPLE_ID = uuid.UUID("3f0c0b6e-6d0f-4e5b-8f8a-0f8e3f1d2c3b")
EXAMPLE_TIME = dt.datetime(2026, 1, 31, 12, 5, tzinfo=dt.UTC)
"""Of a model or a reading, in the OpenAPI document."""


class ApiModel(BaseModel):
    """A JSON object with exactly these members."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, from_attributes=True, use_attribute_docstrings=True
    )


#: PostgreSQL's text has no NUL; longer names than this are somebody's mistake.
_NAME_PATTERN = r"^[^\x00]+$"

Name = Annotated[str, Field(min_length=1, max_length=256, pattern=_NAME_PATTERN)]
"""Of a device, an asset or a metric."""


def _name_of(said: object) -> str:
    if isinstance(said, str):
        return said
    # Some systems count what others name; a truth value is neither.
    if isinstance(said, float) and said.is_integer():
        said = int(said)
    if isinstance(said, int) and not isinstance(said, bool):
        return str(said)
    raise PydanticCustomError("name_or_number", "write a name or a whole number")


def _or_number(**rules: Any) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [{"type": "string", **rules}, {"type": "integer"}]})


EntityId = Annotated[
    Name,
    BeforeValidator(_name_of),
    _or_number(minLength=1, maxLength=256, pattern=_NAME_PATTERN),
]
"""Of a device or an asset: a name, or a whole number, which becomes its digits."""

EntityText = Annotated[
    Annotated[str, Field(max_length=1_024)], BeforeValidator(_name_of), _or_number(maxLength=1_024)
]
"""The same where names are judged one by one."""

Number = Annotated[float, Strict(), Field(allow_inf_nan=False)]
"""A reading: a number, no text and no truth value, neither NaN nor infinite."""


def _written_as_number(said: object) -> object:
    if not isinstance(said, (int, float)) or isinstance(said, bool):
        raise PydanticCustomError("whole_number", "write a whole number, such as 30")
    return said


WholeNumber = Annotated[int, BeforeValidator(_written_as_number)]
"""A whole number in a body: no text and no truth value. JSON has one kind of number: 30.0 is 30."""

Truth = Annotated[bool, Strict()]
"""A truth value in a body: true or false, and no word or number that stands for it."""


def _threshold(value: Any, handler: ValidatorFunctionWrapHandler) -> float:
    try:
        found: float = handler(value)
    except ValidationError:
        raise PydanticCustomError("threshold", THRESHOLD_RULE) from None
    return found


ScoreThreshold = Annotated[
    float,
    Strict(),
    Field(ge=0.0, le=1.0, allow_inf_nan=False),
    WrapValidator(_threshold),
]
"""A score from which a reading is an anomaly: at 0 all are that have one, at 1 none."""


def _as_utc(time: dt.datetime) -> dt.datetime:
    """Return a time in UTC; one that names no zone is in UTC already."""
    try:
        return time.replace(tzinfo=dt.UTC) if time.tzinfo is None else time.astimezone(dt.UTC)
    except OverflowError:
        raise ValueError("lies outside the years 1 to 9999 in UTC") from None


def _no_epoch(said: object) -> object:
    # The document says date-time, and pydantic would take "1" for the first second of 1970.
    if isinstance(said, (int, float)) or (isinstance(said, str) and _is_number(said)):
        raise ValueError("write a time in ISO 8601, such as 2026-01-31T12:00:00Z")
    return said


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


Time = Annotated[dt.datetime, BeforeValidator(_no_epoch), AfterValidator(_as_utc)]
"""ISO 8601; UTC where no zone is named."""

PageSize = Annotated[int, Query(ge=1, le=1_000, description="Most rows of a page.")]
"""How many rows of a list are wanted."""

Cursor = Annotated[
    str | None,
    Query(max_length=4_096, description="Where the page begins: next_cursor of the one before."),
]
"""Where a page of a list begins."""

Hours = Annotated[
    float,
    Field(
        gt=0.0,
        le=8_784.0,
        allow_inf_nan=False,
        description="Length of the window, which ends at the newest reading.",
        examples=[24],
    ),
]
"""Up to a year, before the newest reading."""
