"""Records of an EMS, and the protocol of its clients.

Belongs here: assets, metrics, events and alerts as records, the errors of an EMS, and the
interface that ``core`` (HTTP) and ``database`` (its tables) have in common.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Annotated, Any, Protocol, TypeVar

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


class Ems(Protocol):
    """Any way to an EMS. Everything raises :class:`EmsError`."""

    async def health(self) -> str:
        """Return what the EMS says about itself, ``ok`` when it is well."""

    async def assets(self) -> list[Asset]:
        """Return every asset."""

    async def asset(self, asset_id: str) -> Asset | None:
        """Return one asset, None where there is none of this id."""

    async def metrics(
        self,
        *,
        since: dt.datetime,
        until: dt.datetime,
        asset_id: str | None = None,
        metric_name: str | None = None,
    ) -> list[Metric]:
        """Return the readings from `since` on and before `until`."""

    async def raw_metrics(self, *, since: dt.datetime, until: dt.datetime) -> list[dict[str, Any]]:
        """Return the readings of a span as they came, for those who judge each by itself."""

    async def create_metric(self, metric: NewMetric, *, key: str) -> Metric:
        """Store one reading; the same key twice stores it once where the EMS honours it."""

    async def create_metrics(self, metrics: Sequence[NewMetric], *, key: str) -> int:
        """Store many readings; return how many."""

    async def events(self, *, since: dt.datetime, until: dt.datetime) -> list[Event]:
        """Return the events from `since` on and before `until`."""

    async def create_event(self, event: NewEvent, *, key: str) -> Event:
        """Store an event; the same key twice stores it once where the EMS honours it."""

    async def create_alert(self, alert: NewAlert, *, key: str) -> AlertRecord:
        """Store an alert; the same key twice stores it once where the EMS honours it."""
