"""Sends anomalies to EMS Core as events, the severe ones as alerts too."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

from anomaly_platform.ems.records import (
    EmsError,
    EmsRefused,
    NewAlert,
    NewEvent,
)
from anomaly_platform.notifications.channels.base import (
    Channel,
    DeliveryError,
    DeliveryRefused,
    Notification,
    Send,
)

if TYPE_CHECKING:
    from anomaly_platform.ems.client import Ems


class EmsChannel(Channel):
    """Writes events and alerts into the EMS.

    Parameters
    ----------
    open_ems : callable
        Opens the EMS for a session.
    create_alerts : bool
        Whether severe anomalies become alerts besides events.
    """

    kind = "ems"
    name = "ems"
    timeout_s = 30.0

    def __init__(
        self, open_ems: Callable[[], AbstractAsyncContextManager[Ems]], *, create_alerts: bool
    ) -> None:
        self._open = open_ems
        self._create_alerts = create_alerts

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator[Send]:
        """Open the EMS once for a few messages."""
        async with contextlib.AsyncExitStack() as stack:
            with _ems_errors():
                ems = await stack.enter_async_context(self._open())

            async def send(notification: Notification) -> None:
                with _ems_errors():
                    await self._tell(ems, notification)

            yield send

    async def _tell(self, ems: Ems, notification: Notification) -> None:
        entity = notification.entity
        if entity is None:
            # It sums up a flood, and is about no asset that the EMS knows.
            return
        ended = notification.state == "resolved"
        said: dict[str, Any] = {
            "asset_id": entity,
            "severity": notification.severity,
            "message": notification.title,
            "timestamp": notification.created_at,
            "metadata": {"notification": str(notification.id), **notification.payload()["details"]},
        }
        # The same key at every try: where EMS Core honours it, there is one event.
        event = NewEvent(type="anomaly_resolved" if ended else "anomaly", **said)
        await ems.create_event(event, key=str(notification.id))
        if self._create_alerts and notification.severity == "critical" and not ended:
            alert = NewAlert(title=notification.title, **said)
            await ems.create_alert(alert, key=f"{notification.id}-alert")


@contextlib.contextmanager
def _ems_errors() -> Iterator[None]:
    try:
        yield
    except EmsRefused as error:
        raise DeliveryRefused(str(error)) from None
    except EmsError as error:
        raise DeliveryError(str(error)) from None
