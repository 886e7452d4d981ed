"""``anomaly mqtt``: the process that takes telemetry from an MQTT broker."""

import asyncio
import signal

from rich.console import Console

from anomaly_platform.cli.runtime import open_platform
from anomaly_platform.platform import Platform
from anomaly_platform.settings import Settings


def run_subscriber(settings: Settings, console: Console) -> int:
    """Take messages until SIGINT or SIGTERM; return the exit code."""
    if settings.mqtt_url is None:
        console.print("[red]No broker is set: ANOMALY_MQTT_URL=mqtt://host:1883")
        return 2
    with open_platform(settings) as platform:
        asyncio.run(_subscribe(platform, console))
    return 0


async def _subscribe(platform: Platform, console: Console) -> None:
    from anomaly_platform.serving.telemetry.ingest import open_ingestion
    from anomaly_platform.serving.telemetry.mqtt import Subscriber

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with open_ingestion(platform) as ingestion:
        subscriber = Subscriber(platform, ingestion)
        topic = f"{platform.settings.mqtt_prefix}/telemetry/+/+"
        console.print(f"Listening to {topic} at {subscriber.where}", soft_wrap=True)
        await subscriber.run(stop)
        console.print(
            f"{subscriber.stored:,} readings stored, {subscriber.quarantined:,} in quarantine"
        )
