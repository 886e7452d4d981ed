"""API keys as their administrators see them (table ``api_keys``)."""

import datetime as dt
import uuid
from typing import Annotated, Literal

from pydantic import Field

from anomaly_platform.serving.auth.security import ScopeName
from anomaly_platform.serving.schemas.base import ApiModel, Time, WholeNumber

Scopes = Annotated[list[ScopeName], Field(min_length=1, max_length=3)]
PerMinute = Annotated[WholeNumber, Field(ge=0, lt=2**31)]


class NewKey(ApiModel):
    """What a key is to be."""

    name: str = Field(
        min_length=1,
        max_length=200,
        pattern=r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$",
        examples=["line-3 gateway"],
    )
    """Whose it is, or what for; without control characters."""
    scopes: Scopes = Field(examples=[["ml:read", "ml:write"]])
    expires_at: Time | None = Field(default=None, examples=["2031-01-01T00:00:00Z"])
    """In the future; null: never."""
    predictions_per_minute: PerMinute | None = Field(default=None, examples=[600])
    """A limit of the key's own; null: the setting's, 0: none."""


class Key(ApiModel):
    """A key without its secret."""

    id: uuid.UUID = Field(examples=["8f14e45f-ceea-467f-9b0e-0d9b0c3a7c11"])
    prefix: str = Field(description="The key up to its dot.", examples=["anomaly_9f86d081884c"])
    name: str = Field(examples=["line-3 gateway"])
    scopes: list[ScopeName] = Field(examples=[["ml:read", "ml:write"]])
    state: Literal["active", "expired", "revoked"] = Field(examples=["active"])
    predictions_per_minute: int | None = Field(examples=[600])
    created_at: dt.datetime
    created_by: str = Field(examples=["operator (command line)"])
    expires_at: dt.datetime | None
    revoked_at: dt.datetime | None
    last_used_at: dt.datetime | None = Field(description="To the minute.")


class MadeKey(Key):
    """A key as it is shown once."""

    key: str = Field(examples=["anomaly_9f86d081884c.<43 characters>"])
    """The key itself. It is stored nowhere: keep it now."""


class Keys(ApiModel):
    """Every key, the newest first."""

    keys: list[Key]
    total: int = Field(ge=0, examples=[1])
