"""Channels: the ways in which a message leaves the platform, one module each.

Belongs here: putting together the channels that the settings name. What every channel has to do
is in ``base``, which of them gets what in ``routes``, and when they are used in
``dispatcher``.
"""

from typing import Any

from psycopg_pool import AsyncConnectionPool

from anomaly_platform.notifications.channels.base import Channel
from anomaly_platform.settings import Settings


def are_set(settings: Settings) -> bool:
    """Return whether the settings name any channel."""
    return (
        settings.webhook_urls is not None
        or (settings.smtp_url is not None and bool(settings.email_to))
        or settings.mqtt_url is not None
        or (bool(settings.github_repository) and settings.github_token is not None)
        or settings.apprise_urls is not None
        or settings.pushes_to_ems
    )


def build_channels(settings: Settings, pool: AsyncConnectionPool[Any]) -> list[Channel]:
    """Return a channel for everything that the settings name.

    Parameters
    ----------
    settings : Settings
    pool : AsyncConnectionPool
        Of the platform's database, where GitHub's issues of alerts are remembered.
    """
    channels: list[Channel] = []
    if settings.webhook_urls is not None:
        from anomaly_platform.notifications.channels.webhook import WebhookChannel

        secret = settings.webhook_secret
        channels.extend(
            WebhookChannel(
                url,
                secret=None if secret is None else secret.get_secret_value(),
                allow_private=settings.webhook_allow_private,
            )
            for url in dict.fromkeys(settings.webhook_urls.get_secret_value().split())
        )
    if settings.smtp_url is not None and settings.email_to:
        from anomaly_platform.notifications.channels.smtp import EmailChannel

        channels.append(
            EmailChannel(
                settings.smtp_url.get_secret_value(),
                sender=settings.email_from,
                recipients=settings.email_to.split(),
            )
        )
    if settings.mqtt_url is not None:
        from anomaly_platform.notifications.channels.mqtt import MqttChannel

        channels.append(MqttChannel(settings.mqtt_url.get_secret_value(), settings.mqtt_prefix))
    if settings.github_repository and settings.github_token is not None:
        from anomaly_platform.notifications.channels.github import GithubChannel

        channels.append(
            GithubChannel(
                settings.github_url,
                settings.github_repository,
                settings.github_token.get_secret_value(),
                pool,
            )
        )
    if settings.apprise_urls is not None:
        from anomaly_platform.notifications.channels.apprise_services import AppriseChannel

        channels.extend(
            AppriseChannel(url)
            for url in dict.fromkeys(settings.apprise_urls.get_secret_value().split())
        )
    if settings.pushes_to_ems:
        from anomaly_platform.ems.client import open_ems
        from anomaly_platform.notifications.channels.ems import EmsChannel

        channels.append(
            EmsChannel(lambda: open_ems(settings), create_alerts=settings.auto_create_alerts)
        )
    return channels
