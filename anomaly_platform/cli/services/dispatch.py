"""``anomaly dispatch``: the process that delivers messages, and ends questions without end."""

import asyncio
import contextlib
import logging
import signal
from typing import Final

import psycopg
from rich.console import Console

from anomaly_platform.cli.runtime import open_platform
from anomaly_platform.notifications.dispatcher import Dispatcher, open_dispatcher
from anomaly_platform.settings import Settings
from anomaly_platform.storage.postgres.database import DatabaseError, connect
from anomaly_platform.storage.postgres.reader import end_overlong

_LOOK_S: Final = 30.0

_log = logging.getLogger(__name__)


def run_dispatcher(settings: Settings, console: Console, *, once: bool = False) -> None:
    """Deliver until SIGINT or SIGTERM, or, with `once`, what is due now.

    Raises
    ------
    SettingsError
        When the routes cannot be understood.
    DatabaseError
        When the platform's database cannot be used.
    """
    with open_platform(settings) as platform:
        asyncio.run(_dispatch(settings, platform.urls.application, console, once=once))


async def _dispatch(settings: Settings, url: str, console: Console, *, once: bool) -> None:
    async with open_dispatcher(settings, url) as dispatcher:
        names = ", ".join(channel.name for channel in dispatcher.channels)
        console.print(f"Channels: {names or 'none; see docs/how-to/alerts.md'}", soft_wrap=True)
        if once:
            await _deliver_once(dispatcher, console)
            return
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        looking = asyncio.create_task(_end_overlong_questions(url))
        await dispatcher.run(stop)
        looking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await looking


async def _end_overlong_questions(url: str) -> None:
    """End what the reading role does beyond its limit, which PostgreSQL lets a session lift."""
    while True:
        try:
            ended = await asyncio.to_thread(_end_overlong, url)
        except (DatabaseError, psycopg.Error) as error:
            # Not there for the moment, or a role that may send no signals.
            _log.info("questions without end are not looked for: %s", type(error).__name__)
        else:
            if ended:
                _log.warning("%d questions ended that went on for too long", ended)
        await asyncio.sleep(_LOOK_S)


def _end_overlong(url: str) -> int:
    with connect(url) as connection:
        return end_overlong(connection)


async def _deliver_once(dispatcher: Dispatcher, console: Console) -> None:
    while await dispatcher.route():
        pass
    for channel in dispatcher.channels:
        delivered = failed = 0
        while True:
            batch = await dispatcher.deliver(channel)
            delivered += batch.delivered
            failed += batch.failed + batch.refused
            if not batch.delivered:
                break
        console.print(f"{channel.name}: {delivered} delivered, {failed} failed", soft_wrap=True)
