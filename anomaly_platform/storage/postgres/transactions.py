"""Connection pool, transactions and advisory locks of the platform's database.

Belongs here: the pool, transactions, advisory locks, and the error that a writer gets who comes
too late. Does not belong here: any statement about a table.
"""

import contextlib
import dataclasses
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final, LiteralString, TypeVar

import psycopg
from psycopg import sql
from psycopg.abc import Params
from psycopg.rows import class_row
from psycopg_pool import AsyncConnectionPool, ConnectionPool, PoolTimeout

from anomaly_platform.storage.postgres.database import DatabaseError, redact

Connection = psycopg.Connection[tuple[Any, ...]]
_Awaited = psycopg.AsyncConnection[tuple[Any, ...]]

Statement = LiteralString | bytes | sql.SQL | sql.Composed

T = TypeVar("T")

#: Most connections that a process holds at once.
_MOST_CONNECTIONS: Final = 8
_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"


class StaleInput(RuntimeError):  # noqa: N818 - not a fault: somebody newer was first
    """What was to be stored is older than what is there; nothing was changed.

    The writer has nothing to repair: its result has been overtaken by a newer one.
    """


@contextlib.contextmanager
def naming_lost(connection: Connection | _Awaited) -> Iterator[None]:
    """Make any error on a connection that is lost a :class:`psycopg.OperationalError`.

    Where a server is killed, the class that psycopg gives depends on what was waited for just then.
    """
    try:
        yield
    except psycopg.Error as error:
        if connection.closed and not isinstance(error, psycopg.OperationalError):
            raise psycopg.OperationalError(f"the connection is lost: {error}") from error
        raise


class Pool(AsyncConnectionPool[_Awaited]):
    """Connections that are awaited; an error on one that is lost is named so."""

    @contextlib.asynccontextmanager
    async def connection(self, timeout: float | None = None) -> AsyncIterator[_Awaited]:
        """Run the block with a connection: committed at its end, rolled back on an error.

        Raises
        ------
        psycopg_pool.PoolTimeout
            When none can be had in time.
        psycopg.OperationalError
            When the connection is lost.
        """
        connection = await self.getconn(timeout)
        try:
            with naming_lost(connection):
                async with connection:
                    yield connection
        finally:
            await self.putconn(connection)


class Transactions:
    """A pool of connections that hands out transactions.

    Parameters
    ----------
    url : str
        Of the platform's database.
    patience_s : float
        Seconds to wait for one of them.
    """

    def __init__(self, url: str, *, patience_s: float = 60.0) -> None:
        self._url = url
        self._patience_s = patience_s
        self._opening = threading.Lock()
        self._pool: ConnectionPool[Connection] | None = None

    def _open(self) -> ConnectionPool[Connection]:
        """Return the pool; one that was closed is opened anew, since parts keep this object."""
        with self._opening:
            if self._pool is None:
                self._pool = ConnectionPool(
                    self._url,
                    kwargs={
                        "options": "-c timezone=UTC",
                        "application_name": "anomaly_platform",
                        "connect_timeout": 10,
                    },
                    min_size=0,
                    max_size=_MOST_CONNECTIONS,
                    check=ConnectionPool.check_connection,
                    timeout=self._patience_s,
                    open=True,
                )
            return self._pool

    @contextlib.contextmanager
    def begin(self) -> Iterator[Connection]:
        """Run the block in one transaction: committed at its end, rolled back on an error.

        Raises
        ------
        DatabaseError
            When no connection can be had in time.
        psycopg.OperationalError
            When the connection is lost.
        """
        pool = self._open()
        try:
            connection = pool.getconn()
        except PoolTimeout:
            raise DatabaseError(
                f"no connection to {redact(self._url)} within {self._patience_s:g} s"
            ) from None
        try:
            with naming_lost(connection), connection.transaction():
                yield connection
        finally:
            pool.putconn(connection)

    @contextlib.contextmanager
    def within(self, connection: Connection | None) -> Iterator[Connection]:
        """Take part in a transaction that the caller has begun, or :meth:`begin` one."""
        if connection is not None:
            yield connection
            return
        with self.begin() as own:
            yield own

    def rows(self, kind: type[T], statement: Statement, values: Params | None = None) -> list[T]:
        """Run one query in a transaction of its own; return its rows as objects of `kind`."""
        with self.begin() as connection:
            return fetch_all(connection, kind, statement, values)

    def row(self, kind: type[T], statement: Statement, values: Params | None = None) -> T | None:
        """Return the first of :meth:`rows`, if there is one."""
        return next(iter(self.rows(kind, statement, values)), None)

    def tuples(self, statement: Statement, values: Params | None = None) -> list[tuple[Any, ...]]:
        """Run one query in a transaction of its own; return its rows."""
        with self.begin() as connection:
            return connection.execute(statement, values).fetchall()

    def value(self, statement: Statement, values: Params | None = None) -> Any:
        """Return the first column of the first of :meth:`tuples`, ``None`` where there is none."""
        return next((row[0] for row in self.tuples(statement, values)), None)

    def execute(self, statement: Statement, values: Params | None = None) -> int:
        """Run one statement in a transaction of its own; return how many rows it changed."""
        with self.begin() as connection:
            return connection.execute(statement, values).rowcount

    def close(self) -> None:
        """Close every connection; the next transaction opens new ones."""
        with self._opening:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()


class TableAccess:
    """Reads and writes tables, each statement in a transaction of its own unless it says otherwise.

    Parameters
    ----------
    transactions : Transactions
    """

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions


def lock(connection: Connection, *names: str) -> None:
    """Wait for a lock of that name, held until the transaction ends.

    Parameters
    ----------
    connection : Connection
        In a transaction.
    *names : str
        Parts of the name; equal parts in equal order mean the same lock.
    """
    connection.execute(_LOCK, ("\x1f".join(names),))


async def lock_async(connection: psycopg.AsyncConnection[Any], *names: str) -> None:
    """Do what :func:`lock` does, over a connection that is awaited."""
    await connection.execute(_LOCK, ("\x1f".join(names),))


def fetch_all(
    connection: Connection, kind: type[T], statement: Statement, values: Params | None = None
) -> list[T]:
    """Return what a statement finds, each row as an object with its columns."""
    with connection.cursor(row_factory=class_row(kind)) as cursor:
        return cursor.execute(statement, values).fetchall()


def fetch_one(
    connection: Connection, kind: type[T], statement: Statement, values: Params | None = None
) -> T | None:
    """Return the first row that a statement finds as an object with its columns."""
    return next(iter(fetch_all(connection, kind, statement, values)), None)


def columns_of(kind: type[Any]) -> str:
    """Return the fields of a dataclass as a SELECT lists them, for rows of that class."""
    return ", ".join(field.name for field in dataclasses.fields(kind))
