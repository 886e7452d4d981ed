"""Publishes messages over MQTT at least once (QoS 1), anomalies by device."""

from __future__ import annotations

import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from anomaly_platform.notifications.channels.base import (
    Channel,
    DeliveryError,
    DeliveryRefused,
    Notification,
    Send,
    name_of,
)

if TYPE_CHECKING:
    from aiomqtt import Client

_LONGEST_TOPIC = 65_535


def topic_of(prefix: str, notification: Notification) -> str:
    """Return where a message is published.

    Characters of an entity's name that mean something in topics are percent-encoded.
    """
    if notification.entity is not None:
        return f"{prefix}/ml/anomaly/{quote(notification.entity, safe=' :;,@!()=*~$&')}"
    if notification.kind in ("model_trained", "model_retrained"):
        return f"{prefix}/ml/model/{notification.kind.removeprefix('model_')}"
    return f"{prefix}/ml/alert/{notification.kind}"


def broker_client(url: str, timeout_s: float) -> Client:
    """Return a client of the broker behind a URL; it connects when it is entered."""
    from aiomqtt import Client

    parts = urlsplit(url)
    secure = parts.scheme == "mqtts"
    return Client(
        parts.hostname or "",
        parts.port or (8883 if secure else 1883),
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        tls_context=ssl.create_default_context() if secure else None,
        timeout=timeout_s,
    )


class MqttChannel(Channel):
    """Publishes to a broker.

    Parameters
    ----------
    url : str
        ``mqtt://`` or ``mqtts://``, with user and password where the broker asks for them.
    prefix : str
        First parts of each topic.
    """

    kind = "mqtt"
    at_once = 64

    def __init__(self, url: str, prefix: str) -> None:
        self._url = url
        self._prefix = prefix
        parts = urlsplit(url)
        host = parts.hostname or ""
        self.name = name_of(self.kind, host, f"{host}:{parts.port}/{prefix}")

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator[Send]:
        """Connect to the broker; a message is delivered once the broker has acknowledged it."""
        from aiomqtt import MqttError

        client = broker_client(self._url, self.timeout_s)

        async def send(notification: Notification) -> None:
            topic = topic_of(self._prefix, notification)
            if len(topic.encode()) > _LONGEST_TOPIC:
                raise DeliveryRefused("the entity's name is too long for a topic")
            try:
                await client.publish(topic, json.dumps(notification.payload()), qos=1)
            except MqttError as error:
                raise DeliveryError(f"{type(error).__name__}: {error}") from None

        try:
            async with client:
                yield send
        except (MqttError, ssl.SSLError, OSError) as error:
            raise DeliveryError(f"{type(error).__name__}: {error}") from None
