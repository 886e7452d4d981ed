"""Connections to Dagster's database that a process keeps, and the questions that this spares.

Dagster makes its instance anew for every tick of a sensor, asks each time whether its tables are
there, and deletes old ticks at the end of each. Here a process has one pool of connections, looks
for the tables once per connection, and deletes once an hour. Does not belong here: where the
database is (``instance_parts``).
"""

from __future__ import annotations

import os
import select
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from dagster_postgres import PostgresScheduleStorage
from dagster_postgres.utils import create_pg_engine
from sqlalchemy import event, exc

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dagster._core.scheduler.instigation import TickStatus
    from sqlalchemy import Connection, Engine
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry

#: Connections that a process keeps open; more are opened while they are needed.
_KEPT_CONNECTIONS: Final = 4
_RECYCLED_AFTER_S: Final = 600
#: A connection that rested longer is asked whether it lives: a router may have forgotten it.
_TRUSTED_FOR_S: Final = 30.0
_PURGED_EVERY_S: Final = 3600.0
_USED: Final = "used"


@dataclass(slots=True)
class Kept:
    """What a process keeps of one database.

    Attributes
    ----------
    url : str
    pid : int
        Of the process: a fork must not share its parent's sockets.
    engine : Engine
    tables_seen : bool
        Whether Dagster's tables are known to be there. A new connection makes it unknown, since a
        database that was dropped and made again has closed the ones before.
    indexes : set of str
        Indexes of Dagster's schedules that are known to be built.
    purged : dict
        When ticks were last deleted, by sensor and status.
    """

    url: str
    pid: int
    engine: Engine
    tables_seen: bool = False
    indexes: set[str] = field(default_factory=set)
    purged: dict[tuple[str, ...], float] = field(default_factory=dict)

    def look(self) -> None:
        """Take a connection once: if those before are closed, the tables may be gone with them."""
        if self.tables_seen:
            self.engine.connect().close()


_lock = threading.Lock()
_newest: Kept | None = None


def kept(url: str) -> Kept:
    """Return what this process keeps of a database; that of another one is let go of."""
    global _newest  # noqa: PLW0603 - Dagster makes storages by their class and hands nothing on
    with _lock:
        before = _newest
        if before is not None and (before.url, before.pid) == (url, os.getpid()):
            return before
        now = _newest = Kept(url, os.getpid(), _engine(url))
        event.listen(now.engine, "connect", _forgetting_tables(now))
        if before is not None:
            before.engine.dispose(close=before.pid == os.getpid())
        return now


def _forgetting_tables(it: Kept) -> Any:
    def forget(_connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        it.tables_seen = False

    return forget


def _engine(url: str) -> Engine:
    """Return an engine that tries a connection only where something says that it may be dead.

    A server that goes away says so on the socket, which costs no question to see.
    """
    engine = create_pg_engine(
        url,
        isolation_level="AUTOCOMMIT",
        pool_size=_KEPT_CONNECTIONS,
        max_overflow=-1,
        pool_recycle=_RECYCLED_AFTER_S,
    )
    event.listen(engine, "connect", _note_use)
    event.listen(engine, "checkin", _note_use)
    event.listen(engine, "checkout", _refuse_dead)
    return engine


def _note_use(_connection: DBAPIConnection | None, entry: ConnectionPoolEntry) -> None:
    entry.info[_USED] = time.monotonic()


def _refuse_dead(connection: Any, entry: ConnectionPoolEntry, _proxy: object) -> None:
    """Raise where the server has closed the connection, so that the pool opens another."""
    trusted = time.monotonic() - entry.info[_USED] < _TRUSTED_FOR_S
    if trusted and not connection.closed and not _has_word(connection.fileno()):
        return
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Exception as error:  # of the driver, whichever it is
        raise exc.DisconnectionError from error


def _has_word(descriptor: int) -> bool:
    """Return whether the server said something unasked, which is mostly its last word."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


class Schedules(PostgresScheduleStorage):
    """Dagster's sensors, schedules and ticks over kept connections, with fewer questions."""

    def __init__(self, it: Kept) -> None:
        super().__init__(it.url, should_autocreate_tables=False)
        self._engine = it.engine
        self._kept = it

    def has_instigators_table(self) -> bool:
        """Say yes: this version of Dagster makes the table with the others."""
        return True

    def _has_instigators_table(self, conn: Connection) -> bool:  # noqa: ARG002
        return True

    def has_built_index(self, migration_name: str) -> bool:
        """Return whether an index is built; one that was stays so."""
        if migration_name not in self._kept.indexes and super().has_built_index(migration_name):
            self._kept.indexes.add(migration_name)
        return migration_name in self._kept.indexes

    def purge_ticks(
        self,
        origin_id: str,
        selector_id: str,
        before: float,
        tick_statuses: Sequence[TickStatus] | None = None,
    ) -> None:
        """Delete old ticks, for each sensor and status once an hour."""
        which = (selector_id, *sorted(status.value for status in tick_statuses or ()))
        now = time.monotonic()
        if now - self._kept.purged.get(which, -_PURGED_EVERY_S) < _PURGED_EVERY_S:
            return
        super().purge_ticks(origin_id, selector_id, before, tick_statuses)
        self._kept.purged[which] = now
