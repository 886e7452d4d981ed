"""``anomaly sql``: one read-only question to the database; ``anomaly db``: its tables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, TextIO

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
#: What is refused, since it would write or change the session.
_WRITES = re.compile(
    r"\s*(insert|update|delete|merge|truncate|create|alter|drop|grant|revoke|copy|vacuum|analyze"
    r"|set|reset|begin|commit|rollback|lock|call|do|refresh|reindex|comment)\b",
    re.IGNORECASE,
)

#: What of a cell makes quotes necessary.
_QUOTED = re.compile(r'[",\r\n]')
_END = r"\."

#: Cells as the server writes them, and not as Python would: JSON stays JSON.
_Row = tuple[str | None, ...]


def ask(settings: Settings, query: str, console: Console) -> None:
    """Run one statement that reads, and print at most 200 rows.

    Raises
    ------
    DatabaseError
        When the server refuses the statement.
    """
    with _answer(settings, query, _MOST_ROWS + 1) as (names, batches):
        rows = next(batches, [])
    texts = [[cell or "" for cell in row] for row in rows[:_MOST_ROWS]]
    print_rows(console, names, texts, folded_at=_FOLDED_AT)
    more = ", more are not shown; --csv gives all" if len(rows) > _MOST_ROWS else ""
    shown = min(len(rows), _MOST_ROWS)
    console.print(f"{shown} {'row' if shown == 1 else 'rows'}{more}")


def write_csv(settings: Settings, query: str, out: TextIO) -> None:
    """Run one statement that reads, and write all of its rows as PostgreSQL's COPY writes CSV.

    NULL is an empty cell, and an empty text one in quotes.

    Raises
    ------
    DatabaseError
        When the server refuses the statement.
    """
    with _answer(settings, query, _ROWS_AT_ONCE) as (names, batches):
        out.write(_csv_line(names))
        for rows in batches:
            out.writelines(map(_csv_line, rows))


def _csv_line(cells: Sequence[str | None]) -> str:
    line = ",".join(map(_csv_cell, cells))
    # Alone on a line it ends the data for older servers that read it.
    return f'"{line}"\n' if line == _END else f"{line}\n"


def _csv_cell(text: str | None) -> str:
    if text is None:
        return ""
    if text and _QUOTED.search(text) is None:
        return text
    return '"' + text.replace('"', '""') + '"'


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
            _leave_as_text(connection)
            # A person's own query to their own database is what this command is for.
            statement = query if explained else f"DECLARE asked NO SCROLL CURSOR FOR {query}"
            cursor = connection.execute(statement.encode(), prepare=True)
            fetch = None if explained else f"FETCH {at_once} FROM asked".encode()
            if fetch is not None:
                cursor = connection.execute(fetch)
            names = [column.name for column in cursor.description or ()]
            yield names, _batches(connection, cursor, fetch)
    except psycopg.Error as error:
        if isinstance(error, psycopg.errors.SyntaxError) and (word := _WRITES.match(query)):
            raise DatabaseError(
                f"SQL is read-only here, and {word[1].upper()} is no question; statements begin"
                " with SELECT, WITH, VALUES, TABLE, EXPLAIN or SHOW"
            ) from None
        said = error.diag.message_primary or str(error).strip()
        raise DatabaseError(f"{said}\n{error.diag.message_hint or ''}".strip()) from None


def _leave_as_text(connection: psycopg.Connection) -> None:
    from psycopg.types.string import TextLoader

    for known in connection.adapters.types:
        for oid in (known.oid, known.array_oid):
            connection.adapters.register_loader(oid, TextLoader)


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
