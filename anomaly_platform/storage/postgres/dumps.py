"""Copies whole databases into files and back, with PostgreSQL's ``pg_dump`` and ``pg_restore``.

Belongs here: the choice of the programs, snapshots that several readers share, and how a URL
reaches a program without being an argument that other users could read. Does not belong here:
which databases there are, and what else a back-up holds.
"""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, LiteralString

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from anomaly_platform.parent_death import end_with_parent
from anomaly_platform.storage.postgres.database import DatabaseError, connect, redact
from anomaly_platform.storage.postgres.embedded import server_programs

#: The first release that can leave the extensions of a server out.
_OLDEST_CLIENT: Final = 17
_NOBODYS: Final = ("--no-owner", "--no-privileges", "--no-tablespaces", "--no-password")
_RELATIONS: Final = (
    "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
    "WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND n.nspname <> 'information_schema' "
    "AND n.nspname NOT LIKE 'pg\\_%' AND NOT EXISTS (SELECT FROM pg_depend d "
    "WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')"
)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A database as it is at one instant, for as long as the connection is open.

    Attributes
    ----------
    connection : psycopg.Connection
        In a transaction that sees that instant.
    name : str
        Under which other connections see the same.
    """

    url: str = field(repr=False)
    connection: psycopg.Connection[tuple[Any, ...]]
    name: str


@contextmanager
def snapshots(urls: Mapping[str, str]) -> Iterator[dict[str, Snapshot]]:
    """Hold a snapshot of each database of one server, taken one after the other within a moment.

    Parameters
    ----------
    urls : mapping of str to str
        By name, in the order of the snapshots.
    """
    with ExitStack() as stack:
        opened = {
            name: (url, stack.enter_context(connect(url, autocommit=True)))
            for name, url in urls.items()
        }
        yield {name: _hold(url, connection) for name, (url, connection) in opened.items()}


def _hold(url: str, connection: psycopg.Connection[Any]) -> Snapshot:
    connection.execute("SET idle_in_transaction_session_timeout = 0")
    connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    ((name,),) = connection.execute("SELECT pg_export_snapshot()").fetchall()
    return Snapshot(url, connection, str(name))


def existing(connection: psycopg.Connection[Any], urls: Mapping[str, str]) -> dict[str, str]:
    """Return those of the URLs whose database is on the server of the connection."""
    rows = connection.execute("SELECT datname FROM pg_database").fetchall()
    there = {str(row[0]) for row in rows}
    return {name: url for name, url in urls.items() if conninfo_to_dict(url)["dbname"] in there}


def server_major(connection: psycopg.Connection[Any]) -> int:
    """Return the major version of the server, such as 18."""
    return connection.info.server_version // 10_000


def is_empty(url: str) -> bool:
    """Return whether nobody has made a table, view or sequence in the database yet."""
    with connect(url) as connection:
        return connection.execute(_RELATIONS.encode()).fetchone() == (0,)


def dump(snapshot: Snapshot, target: Path) -> None:
    """Write a snapshot of a database into one file.

    Raises
    ------
    DatabaseError
        When ``pg_dump`` fails, with what it says.
    """
    program = _program("pg_dump", server_major(snapshot.connection))
    target.touch(mode=0o600)
    _run(
        [
            program,
            *_NOBODYS,
            "--format=custom",
            "--compress=1",
            f"--snapshot={snapshot.name}",
            "--exclude-extension=*",
            "--no-publications",
            "--no-subscriptions",
            "--no-security-labels",
            f"--file={target}",
        ],
        snapshot.url,
    )


def load(source: Path, url: str) -> None:
    """Bring a database to what :func:`dump` wrote: all of it or, on an error, nothing.

    Whatever of the file's tables is there already is replaced; everything happens in one
    transaction.

    Raises
    ------
    DatabaseError
        When ``pg_restore`` fails, with what it says.
    """
    with connect(url, autocommit=True) as connection:
        program = _program("pg_restore", server_major(connection))
        _run(
            [
                program,
                *_NOBODYS,
                "--single-transaction",
                "--exit-on-error",
                "--clean",
                "--if-exists",
                f"--dbname={connection.info.dbname}",
                str(source),
            ],
            url,
        )
        connection.execute("ANALYZE")


def move_texts(url: str, columns: tuple[str, ...], old: str, new: str) -> None:
    """Give texts that begin with `old` another beginning, in all columns of these names."""
    with connect(url) as connection:
        found = connection.execute(
            "SELECT c.table_schema, c.table_name, c.column_name FROM information_schema.columns c "
            "JOIN information_schema.tables t USING (table_schema, table_name) "
            "WHERE t.table_type = 'BASE TABLE' AND c.column_name = ANY(%s) "
            "AND c.data_type IN ('text', 'character varying') "
            "AND c.table_schema NOT IN ('pg_catalog', 'information_schema')",
            (list(columns),),
        ).fetchall()
        for schema, table, column in found:
            statement: LiteralString = (
                "UPDATE {table} SET {column} = %s || substr({column}, %s) "
                "WHERE starts_with({column}, %s)"
            )
            connection.execute(
                sql.SQL(statement).format(
                    table=sql.Identifier(schema, table), column=sql.Identifier(column)
                ),
                (new, len(old) + 1, old),
            )


def _program(name: str, server: int) -> str:
    """Return the path of a program that knows the server's version.

    That of the machine, where it is new enough: unlike the embedded server's it can speak TLS.
    """
    installed = shutil.which(name)
    known = {installed: _major(installed)} if installed else {}
    if installed and known[installed] >= max(server, _OLDEST_CLIENT):
        return installed
    bundled = str(server_programs() / name)
    if _major(bundled) >= server:
        return bundled
    raise DatabaseError(
        f"the server is PostgreSQL {server}, for which this machine has no {name}: "
        f"install PostgreSQL's client programs, version {server} or newer"
    )


def _major(program: str) -> int:
    said = subprocess.run(  # noqa: S603 - PostgreSQL's own program
        [program, "--version"], check=False, capture_output=True, text=True
    ).stdout
    found = re.search(r"\) (\d+)", said)
    return int(found.group(1)) if found else 0


def _run(command: list[str], url: str) -> None:
    """Run a program on a database; it ends when this process does."""
    done = subprocess.run(  # noqa: S603 - PostgreSQL's own programs
        command,
        check=False,
        env={**os.environ, **_environment(url)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        # A program left over would go on writing what somebody begins anew.
        preexec_fn=partial(end_with_parent, signal.SIGKILL),
    )
    if done.returncode != 0:
        name = Path(command[0]).name
        raise DatabaseError(f"{name} fails at {redact(url)}: {done.stderr.strip()[-2000:]}")


def _environment(url: str) -> dict[str, str]:
    """Return the variables that mean the same as the URL, password included."""
    options = psycopg.pq.Conninfo.parse(url.encode())
    return {
        one.envvar.decode(): one.val.decode()
        for one in options
        if one.envvar is not None and one.val is not None
    }
