"""Posts each message to a webhook as JSON, with its id and a signature."""

import contextlib
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from typing import Final
from urllib.parse import urlsplit

from anomaly_platform.notifications.channels.base import Channel, Notification, Send, name_of
from anomaly_platform.notifications.channels.guarded_http import open_client
from anomaly_platform.notifications.channels.http_answers import raise_for_answer, transport_errors

SIGNATURE_HEADER: Final = "X-Anomaly-Signature"
TIMESTAMP_HEADER: Final = "X-Anomaly-Timestamp"


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """Return the signature of a message: HMAC-SHA256 over ``<timestamp>.<body>``, in hex."""
    return hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()


class WebhookChannel(Channel):
    """Posts each message to one address.

    Parameters
    ----------
    url : str
        May hold a token; only its host is ever shown.
    secret : str or None
        Messages are signed with it.
    allow_private : bool
        Whether the address may lie in a private network.
    """

    kind = "webhook"

    def __init__(self, url: str, *, secret: str | None = None, allow_private: bool = False) -> None:
        self.name = name_of(self.kind, urlsplit(url).hostname or "", url)
        self._url = url
        self._secret = secret
        self._allow_private = allow_private

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator[Send]:
        """Open connections that the messages share."""
        async with open_client(
            allow_private=self._allow_private, timeout_s=self.timeout_s
        ) as client:

            async def send(notification: Notification) -> None:
                body = json.dumps(notification.payload()).encode()
                async with (
                    transport_errors(),
                    client.stream(
                        "POST", self._url, content=body, headers=self._headers(notification, body)
                    ) as response,
                ):
                    # No more than its beginning: nobody says how long an answer is.
                    excerpt = b""
                    if not response.is_success:
                        excerpt = await anext(response.aiter_bytes(1024), b"")
                raise_for_answer(response.status_code, response.headers, excerpt)

            yield send

    def _headers(self, notification: Notification, body: bytes) -> dict[str, str]:
        headers = {
            "content-type": "application/json",
            "idempotency-key": str(notification.id),
        }
        if self._secret is not None:
            timestamp = str(int(time.time()))
            headers[TIMESTAMP_HEADER] = timestamp
            headers[SIGNATURE_HEADER] = f"sha256={sign(self._secret, timestamp, body)}"
        return headers
