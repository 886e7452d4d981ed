"""Sends messages through Apprise: chat services, pagers and the like, by URL."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

from anomaly_platform.notifications.channels.base import (
    Channel,
    DeliveryError,
    DeliveryRefused,
    Notification,
    Send,
    name_of,
)
from anomaly_platform.notifications.channels.wording import description, headline

_TYPES = {"info": "info", "warning": "warning", "critical": "failure"}


class AppriseChannel(Channel):
    """Sends messages to one Apprise URL, of which only the scheme is ever shown."""

    kind = "apprise"
    timeout_s = 20.0
    at_once = 4

    def __init__(self, url: str) -> None:
        self._url = url
        self._scheme = urlsplit(url).scheme
        self.name = name_of(self.kind, self._scheme, url)
        self._threads = ThreadPoolExecutor(self.at_once, thread_name_prefix="apprise")

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator[Send]:
        """Read the URL; Apprise opens a connection for each message."""
        loop = asyncio.get_running_loop()
        service = await loop.run_in_executor(self._threads, self._open)

        async def send(notification: Notification) -> None:
            sent = await loop.run_in_executor(self._threads, _notify, service, notification)
            if not sent:
                # Apprise keeps the reason to its log, which may quote the URL.
                raise DeliveryError(f"the service behind {self._scheme}:// took no message")

        yield send

    def _open(self) -> Any:
        import apprise

        # Its log quotes URLs, and with them tokens.
        logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
        service = apprise.Apprise(asset=apprise.AppriseAsset(async_mode=False))
        if not service.add(self._url):
            raise DeliveryRefused(f"Apprise cannot use the URL {self._scheme}://***")
        return service


def _notify(service: Any, notification: Notification) -> bool:
    ended = notification.state == "resolved"
    return bool(
        service.notify(
            title=headline(notification),
            body=description(notification),
            notify_type="success" if ended else _TYPES[notification.severity],
        )
    )
