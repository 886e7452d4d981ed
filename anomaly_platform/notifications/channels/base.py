"""What every channel is: a name, limits, and sessions in which messages are sent.

Belongs here: the message as channels see it, and the two ways in which a delivery goes wrong.
"""

import datetime as dt
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID


class DeliveryError(RuntimeError):
    """A message could not be delivered now; it will be tried again.

    Parameters
    ----------
    message : str
        Why.
    retry_after_s : float or None
        Seconds that the receiver asked to wait.
    """

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DeliveryRefused(DeliveryError):  # noqa: N818 - a refusal is what it is
    """The receiver does not want this message; trying again often is of no use."""


@dataclass(frozen=True, slots=True)
class Notification:
    """A message as it is sent.

    Attributes
    ----------
    id : UUID
        The same at every try: receivers know repeats by it.
    state : str
        ``firing``, ``resolved`` or, of what has no end, ``event``.
    occurrences : int
        How often it was seen since it opened.
    since : datetime or None
        When it opened.
    """

    id: UUID
    fingerprint: str
    kind: str
    stream: str | None
    subject: str
    severity: str
    state: str
    title: str
    occurrences: int
    since: str | None
    details: dict[str, Any]
    created_at: dt.datetime

    @property
    def entity(self) -> str | None:
        """The entity that an anomaly is about; None of other kinds, and of one for many."""
        is_of_one = self.kind == "anomaly" and self.fingerprint.startswith("anomaly/")
        return self.subject if is_of_one else None

    def payload(self) -> dict[str, Any]:
        """Return the message as JSON for programs."""
        return asdict(self) | {"id": str(self.id), "created_at": self.created_at.isoformat()}


Send = Callable[[Notification], Awaitable[None]]
"""Deliver one message, or raise :class:`DeliveryError`."""


class Channel(ABC):
    """A way in which messages leave the platform.

    Attributes
    ----------
    kind : str
        Name of its sort, by which it is routed.
    name : str
        Stable, unique, and without any secret: deliveries refer to it.
    timeout_s : float
        Longest time that opening a session, and delivering one message, may take.
    at_once : int
        Messages that it delivers side by side.
    """

    kind: str
    name: str
    timeout_s: float = 10.0
    at_once: int = 8

    @abstractmethod
    def session(self) -> AbstractAsyncContextManager[Send]:
        """Open what a few messages need; the errors of opening are :class:`DeliveryError` too."""


def name_of(kind: str, place: str, url: str) -> str:
    """Return a channel's name: where it leads for people, and enough of a digest to be unique."""
    return f"{kind}:{place}-{hashlib.sha256(url.encode()).hexdigest()[:6]}"
