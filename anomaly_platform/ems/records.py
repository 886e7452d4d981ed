"""Records of an EMS.

Belongs here: assets, metrics, events and alerts as records, and the errors of an EMS.
"""

import datetime as dt
from typing import Annotated, Any, NotRequired, TypedDict, TypeVar

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
)
from pydantic.alias_generators import to_camel


class EmsError(RuntimeError):
    """The EMS could not be used; it may work later. The message never holds a secret."""


class EmsRefused(EmsError):  # noqa: N818 - a refusal is what it is
    """The EMS does not want this request; asking again changes nothing."""


class EmsGarbage(EmsError):  # noqa: N818 - what came back, not what went wrong
    """The EMS answered with something else than was asked for; the message names the field."""


def _text(value: Any) -> Any:
    """Take numbers as ids, since some systems count and others name."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return str(value) if is_number else value


Identifier = Annotated[str, BeforeValidator(_text), Field(min_length=1, max_length=500)]


class EmsRecord(BaseModel):
    """Fields are written as EMS Core does (``assetId``) and read in either way (``asset_id``)."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True
    )


class Asset(EmsRecord):
    """Something that is watched: a host, a switch, a link."""

    id: Identifier
    name: str | None = None
    type: str | None = None
    status: str | None = None


class Asked(TypedDict):
    """Which metrics are asked for: of a span, of an asset, of a name."""

    since: dt.datetime
    until: dt.datetime
    asset_id: NotRequired[str | None]
    metric_name: NotRequired[str | None]


class NewMetric(EmsRecord):
    """One reading of one metric of an asset."""

    asset_id: Identifier
    metric_name: str = Field(min_length=1)
    value: float = Field(allow_inf_nan=False)
    timestamp: AwareDatetime


class Metric(NewMetric):
    """A reading as the EMS keeps it."""

    id: Identifier | None = None


class _Told(EmsRecord):
    """What events and alerts have in common."""

    asset_id: Identifier
    severity: str
    message: str
    timestamp: AwareDatetime
    metadata: dict[str, Any] | None = None


class NewEvent(_Told):
    """Something that happened to an asset."""

    type: str


class Event(NewEvent):
    """An event as the EMS keeps it."""

    id: Identifier | None = None


class NewAlert(_Told):
    """Something that somebody should look after."""

    title: str


class AlertRecord(NewAlert):
    """An alert as the EMS keeps it."""

    id: Identifier | None = None
    status: str | None = None


Record = TypeVar("Record", bound=EmsRecord)


def record_of(kind: type[Record], where: str, values: Any) -> Record:
    """Return what came as a record.

    Raises
    ------
    EmsGarbage
        When it is none: which field is wrong and how, without its value.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        detail = error.errors(include_url=False, include_input=False, include_context=False)[0]
        field = ".".join(str(part) for part in detail["loc"]) or "the answer"
        said = f"{detail['msg'][:1].lower()}{detail['msg'][1:]}"
        raise EmsGarbage(f"{where}{field}: {said}") from None
