"""``anomaly sql``: one read-only question to the database; ``anomaly db``: its tables."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer
from rich.console import Console

from anomaly_platform.cli.rows import print_rows
from anomaly_platform.platform import Platform
from anomaly_platform.settings import Settings, get_settings
from anomaly_platform.storage.postgres.database import DatabaseError, connect_as_reader
from anomaly_platform.storage.postgres.reader import READER

if TYPE_CHECKING:
    import psycopg

database_app = typer.Typer(help="The platform's tables.", no_args_is_help=True)
console = Console()

_MOST_ROWS = 200
_ROWS_AT_ONCE = 10_000
#: A long cell may be folded once or twice.
_FOLDED_AT = 24
#: What no cursor takes, and reads.
_EXPLAINED = re.compile(r"\s*(explain|show)\b", re.IGNORECASE)

_Row = tuple[Any, ...]


def ask(settings: Settings, query: str, console: Console) -> None:
    """Run one statement that reads, and print at most 200 rows.

    Raises
    ------
    DatabaseError
        When the server refuses the statement.
    """
    with _answer(settings, query, _MOST_ROWS + 1) as (names, batches):
        rows = next(batches, [])
    texts = [["" if cell is None else str(cell) for cell in row] for row in rows[:_MOST_ROWS]]
    print_rows(console, names, texts, folded_at=_FOLDED_AT)
    more = ", more are not shown; --csv gives all" if len(rows) > _MOST_ROWS else ""
    shown = min(len(rows), _MOST_ROWS)
    console.print(f"{shown} {'row' if shown == 1 else 'rows'}{more}")


def write_csv(settings: Settings, query: str, out: TextIO) -> None:
    """Run one statement that reads, and write all of its rows as CSV; NULL is an empty cell.

    Raises
    ------
    DatabaseError
        When the server refuses the statement.
    """
    writer = csv.writer(out, lineterminator="\n")
    with _answer(settings, query, _ROWS_AT_ONCE) as (names, batches):
        writer.writerow(names)
        for rows in batches:
            writer.writerows(rows)


@contextmanager
def _answer(
    settings: Settings, query: str, at_once: int
) -> Iterator[tuple[list[str], Iterator[list[_Row]]]]:
    """Run one statement as the role that can only read; yield the columns' names, and its rows.

    The role's privileges are one guard, and these are another: the transaction is read-only, the
    statement is prepared, so that the server itself refuses several at once (a COMMIT among them
    would end that transaction), and a cursor takes nothing but queries.
    """
    import psycopg

    explained = _EXPLAINED.match(query) is not None
    try:
        with connect_as_reader(settings) as connection:
            connection.read_only = True
            # A person's own query to their own database is what this command is for.
            statement = query if explained else f"DECLARE asked NO SCROLL CURSOR FOR {query}"
            cursor = connection.execute(statement.encode(), prepare=True)
            fetch = None if explained else f"FETCH {at_once} FROM asked".encode()
            if fetch is not None:
                cursor = connection.execute(fetch)
            names = [column.name for column in cursor.description or ()]
            yield names, _batches(connection, cursor, fetch)
    except psycopg.Error as error:
        said = error.diag.message_primary or str(error).strip()
        raise DatabaseError(f"{said}\n{error.diag.message_hint or ''}".strip()) from None


def _batches(
    connection: psycopg.Connection, cursor: psycopg.Cursor, fetch: bytes | None
) -> Iterator[list[_Row]]:
    while rows := cursor.fetchall() if cursor.description else []:
        yield rows
        if fetch is None:
            return
        cursor = connection.execute(fetch)


@database_app.command("upgrade")
def upgrade_database() -> None:
    """Bring the platform's tables up to date; the embedded database does so by itself."""
    from anomaly_platform.storage.postgres.database import upgrade

    console.print(f"The tables are at version {upgrade(get_settings())}.")


@database_app.command("url")
def database_url(
    reader: Annotated[
        bool, typer.Option("--reader", help=f"As the role {READER}, which can only read.")
    ] = False,
) -> None:
    """Print how psql and BI tools reach the database, without a password."""
    url = Platform(get_settings()).public_url
    place = url.partition("://")[2].rpartition("@")[2]
    console.print(f"postgresql://{READER}@{place}" if reader else url, soft_wrap=True)
