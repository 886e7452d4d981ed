"""Scans that are sent to be judged; the types of the answer stand in ``ml.scans.response``."""

from typing import Annotated, Any, Final

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

MOST_SCANS: Final = 100_000
"""Scans in one request."""


def as_text(said: Any) -> Any:
    """Numbers are taken as texts: senders write codes and ids either way."""
    if isinstance(said, (int, float)) and not isinstance(said, bool):
        return str(said)
    return said


_MOST_CHARACTERS: Final = 4_096
_Bounded = Annotated[str, Field(max_length=_MOST_CHARACTERS)]


def _said(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    try:
        return handler(value)
    except ValidationError:
        # One line for a member, instead of one for each type that it might have.
        raise PydanticCustomError(
            "text_or_number",
            "write a text of at most {most} characters or a number",
            {"most": _MOST_CHARACTERS},
        ) from None


Text = Annotated[_Bounded | None, BeforeValidator(as_text), WrapValidator(_said)]
Id = Annotated[
    StrictInt | Annotated[float, Field(strict=True, allow_inf_nan=False)] | _Bounded | None,
    WrapValidator(_said),
]
"""An id, which comes back as it came: a number stays one."""


class ScanEvent(BaseModel):
    """One scan. Without code or time it goes to quarantine; what else is missing is inferred."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    event_id: Id = Field(
        default=None, validation_alias=AliasChoices("event_id", "eventId"), examples=["e-1"]
    )
    """Also accepted as eventId; by default it follows from the other members."""
    epc_code: Text = Field(default=None, examples=["001.8804823.0000003.000001.20241201.000000001"])
    event_time: Text = Field(default=None, examples=["2026-01-31 12:05:00"])
    """YYYY-MM-DD HH:MM:SS or ISO 8601."""
    location_id: Text = Field(default=None, examples=["12"])
    business_step: Text = Field(default=None, examples=["WMS"])
    event_type: Text = Field(default=None, examples=["WMS_Inbound"])
    file_id: Id = Field(
        default=None, validation_alias=AliasChoices("file_id", "fileId"), examples=[None]
    )
    scan_location: Text = Field(default=None, examples=[None])
    operator_id: Text = Field(default=None, examples=[None])
    device_id: Text = Field(default=None, examples=[None])
    product_name: Text = Field(default=None, examples=[None])


class ScanDetectRequest(BaseModel):
    """Scans of one or many codes."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True, use_attribute_docstrings=True)

    data: Annotated[list[ScanEvent], Field(min_length=1, max_length=MOST_SCANS)]
    file_id: Id = Field(default=None, alias="fileId", examples=["file-7"])
    """Repeated in the answer."""
