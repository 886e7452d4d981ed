"""What PostgreSQL announces (NOTIFY), for as long as a worker lives.

Belongs here: one connection that listens on every channel somebody asked for, and opens again when
it is lost. Announcements made meanwhile are gone, so each listener then gets ``None``: read anew.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

import psycopg
from psycopg import sql

Listener = Callable[[str | None], Awaitable[None]]

_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 5.0
#: Seconds without an announcement after which the connection is asked whether it still lives.
_PROBE_AFTER_S: Final = 5.0

_log = logging.getLogger(__name__)


class Announcements:
    """Listens on channels and hands each payload to the channel's listeners.

    Parameters
    ----------
    url : str
        Of the platform's database.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._listeners: dict[str, list[Listener]] = {}
        self._task: asyncio.Task[None] | None = None
        self.connected = asyncio.Event()
        self.connections = 0

    def on(self, channel: str, listener: Listener) -> None:
        """Call `listener` with each payload of a channel, and with None after a connection began.

        To be asked before :meth:`start`.
        """
        self._listeners.setdefault(channel, []).append(listener)

    def start(self) -> None:
        """Begin to listen in the background."""
        self._task = asyncio.create_task(self._listen_for_ever(), name="announcements")

    async def stop(self) -> None:
        """Stop listening."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _listen_for_ever(self) -> None:
        pause = _FIRST_PAUSE_S
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(
                    self._url, autocommit=True, connect_timeout=10, application_name="anomaly_api"
                ) as connection:
                    pause = _FIRST_PAUSE_S
                    await self._listen(connection)
            except (psycopg.Error, OSError) as error:
                _log.warning("not listening to the database: %s", type(error).__name__)
            self.connected.clear()
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_S)

    async def _listen(self, connection: psycopg.AsyncConnection[Any]) -> None:
        for channel in self._listeners:
            await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
        # Listening first, reading afterwards: nothing falls between the two.
        for channel in self._listeners:
            await self._tell(channel, None)
        self.connections += 1
        self.connected.set()
        while True:
            async for notice in connection.notifies(timeout=_PROBE_AFTER_S):
                await self._tell(notice.channel, notice.payload)
            await connection.execute("SELECT 1")

    async def _tell(self, channel: str, payload: str | None) -> None:
        for listener in self._listeners[channel]:
            try:
                await listener(payload)
            except Exception:
                # One listener's failure is not the connection's, nor the other listeners'.
                _log.exception("an announcement on %s could not be followed", channel)
