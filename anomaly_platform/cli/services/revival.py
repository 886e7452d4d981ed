"""Looks after the embedded database while the platform runs: no child of it, but needed by all.

Belongs here: noticing that it is gone, over one connection that is kept, since opening one at each
look would cost the server a process each time; and having it ready for its end.
"""

from __future__ import annotations

from contextlib import suppress

import psycopg

from anomaly_platform.settings import Settings
from anomaly_platform.storage.postgres.database import (
    DatabaseError,
    connect,
    database_urls,
    ensure_databases,
)


class Revival:
    """Starts the embedded server again where it is gone; nothing for a server of one's own."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._connection: psycopg.Connection | None = None

    def look(self) -> None:
        """Ask the server for a sign of life; start it where there is none.

        Raises
        ------
        DatabaseError
            When it does not start.
        """
        if not self._settings.is_embedded or self._lives():
            return
        self.close()
        urls = ensure_databases(self._settings)
        self._connection = connect(urls.application, autocommit=True)

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
        if self._connection is None:
            return False
        try:
            self._connection.execute("SELECT 1")
        except psycopg.Error:
            return False
        return True
