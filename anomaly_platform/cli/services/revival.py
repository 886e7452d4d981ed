"""Looks after the embedded database while the platform runs: no child of it, but needed by all.

Belongs here: noticing that it is gone, over one connection that is kept, since opening one at each
look would cost the server a process each time; starting it again; and having it ready for its end.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import psycopg

from anomaly_platform.settings import Settings
from anomaly_platform.storage.postgres.database import (
    DatabaseError,
    connect,
    database_urls,
    ensure_databases,
)
from anomaly_platform.storage.postgres.embedded import EmbeddedPostgres, EmbeddedPostgresError

#: Some nine minutes, within which a disk may be freed.
_MOST_TRIES: Final = 20
_FIRST_PAUSE_S: Final = 2.0
_LONGEST_PAUSE_S: Final = 30.0


class Revival:
    """Starts the embedded server again where it is gone; nothing for a server of one's own.

    Parameters
    ----------
    settings : Settings
    say : callable
        Takes a line for the person who watches.
    """

    def __init__(self, settings: Settings, say: Callable[[str], None]) -> None:
        self._settings = settings
        self._say = say
        self._server = EmbeddedPostgres(settings.home)
        self._connection: psycopg.Connection | None = None
        self._tries = 0
        self._due_at = 0.0

    def look(self) -> None:
        """Ask the server for a sign of life; start it where there is none or where it shuts down.

        What fails is tried again at a later look, after a pause.

        Raises
        ------
        DatabaseError, EmbeddedPostgresError
            When it has failed too often in a row.
        """
        if not self._settings.is_embedded or self._lives() or time.monotonic() < self._due_at:
            return
        self.close()
        try:
            urls = ensure_databases(self._settings)
            self._connection = connect(urls.application, autocommit=True)
        except (DatabaseError, EmbeddedPostgresError) as error:
            pause_s = min(_FIRST_PAUSE_S * 2**self._tries, _LONGEST_PAUSE_S)
            self._tries += 1
            if self._tries == _MOST_TRIES:
                raise
            self._say(f"PostgreSQL does not answer; trying again in {pause_s:.0f} s: {error}")
            self._due_at = time.monotonic() + pause_s
        else:
            self._tries = 0

    def write_out(self) -> None:
        """Have the server write out what it holds in memory, as it does before it ends.

        New databases and tables are more than a thousand files, for which a busy disk takes
        seconds. What is written when all has started, and while the server's users end, nobody
        waits for after they have.
        """
        if not self._settings.is_embedded:
            return
        # Another thread's, and the server may end before it answers.
        with (
            suppress(psycopg.Error, DatabaseError),
            connect(database_urls(self._settings).application, autocommit=True) as connection,
        ):
            connection.execute("CHECKPOINT")

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _lives(self) -> bool:
        # A connection that was there before answers on while the server shuts down.
        if self._connection is None or self._server.is_shutting_down():
            return False
        try:
            self._connection.execute("SELECT 1")
        except psycopg.Error:
            return False
        return True
