"""Health checks of the systems beside the platform: EMS Core and the MQTT broker.

Belongs here: one question each, with a time limit, whose answer says neither where the system is
nor why exactly it failed. What is not used is not asked.
"""

import asyncio
import logging
from typing import Final

from anomaly_platform.notifications.channels.mqtt import broker_client
from anomaly_platform.serving.schemas.health import Part
from anomaly_platform.settings import Settings

_PATIENCE_S: Final = 2.0

_log = logging.getLogger(__name__)


async def ask_ems_core(settings: Settings) -> Part:
    """Return whether EMS Core answers, over HTTP or in its database, whichever is used."""
    if not (settings.ems_pull or settings.has_ems):
        return Part(status="off", detail="not set")
    url = settings.ems_database_url
    try:
        if url is not None:
            await asyncio.wait_for(_ask_database(url.get_secret_value()), _PATIENCE_S)
        else:
            status = await asyncio.to_thread(_status_of, f"{settings.ems_core_url}/health")
            if status >= 500:
                return Part(
                    status="degraded", detail=f"answers with {status}", fix="see its own log"
                )
    except Exception as error:  # any failure at all is the answer
        _log.info("EMS Core does not answer: %s", type(error).__name__)
        return Part(
            status="down",
            detail="does not answer; what is to be sent waits, nothing is fetched meanwhile",
            fix="see whether it runs, and "
            + ("ANOMALY_EMS_CORE_URL" if url is None else "ANOMALY_EMS_DATABASE_URL"),
        )
    return Part(status="ok", detail="answers")


async def ask_mqtt(settings: Settings) -> Part:
    """Return whether the MQTT broker accepts the platform's connection."""
    if settings.mqtt_url is None:
        return Part(status="off", detail="not set")
    from aiomqtt import MqttError

    try:
        async with broker_client(settings.mqtt_url.get_secret_value(), _PATIENCE_S):
            return Part(status="ok", detail="answers")
    except (MqttError, OSError, TimeoutError) as error:
        _log.info("the MQTT broker does not answer: %s", type(error).__name__)
        return Part(
            status="down",
            detail="does not answer; messages wait, and devices have to send again",
            fix="see whether the broker runs, and ANOMALY_MQTT_URL",
        )


async def _ask_database(url: str) -> None:
    from anomaly_platform.ems.database import EmsDatabase

    async with EmsDatabase.open(url) as ems:
        await ems.health()


def _status_of(url: str) -> int:
    import httpx

    # A redirect is an answer too: there is no need to follow it.
    return httpx.get(url, timeout=_PATIENCE_S, follow_redirects=False).status_code
