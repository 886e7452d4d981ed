"""``anomaly sql``: one read-only question to the platform's database."""

from __future__ import annotations

import re

from rich.console import Console

from anomaly_platform.cli.rows import print_rows
from anomaly_platform.settings import Settings
from anomaly_platform.storage.postgres.database import DatabaseError, connect, prepare_databases

_MOST_ROWS = 200
#: A long cell may be folded once or twice.
_FOLDED_AT = 24
#: What no cursor takes, and reads.
_EXPLAINED = re.compile(r"\s*(explain|show)\b", re.IGNORECASE)


def ask(settings: Settings, query: str, console: Console) -> None:
    """Run one statement that reads, in a read-only transaction, and print at most 200 rows.

    The statement is prepared, so that the server itself refuses several at once: a COMMIT among
    them would end what keeps the rest from writing. A cursor takes nothing but queries, and a
    superuser, as the platform's own server has one, asks as somebody who may only read: COPY and
    DO run programs and write files of the server's machine, in a read-only transaction too.

    Raises
    ------
    DatabaseError
        When the server refuses the statement.
    """
    import psycopg

    explained = _EXPLAINED.match(query) is not None
    with connect(prepare_databases(settings).application) as connection:
        connection.read_only = True
        try:
            if connection.execute("SHOW is_superuser").fetchone() == ("on",):
                connection.execute("SET LOCAL ROLE pg_read_all_data")
            # A person's own query to their own database is what this command is for.
            statement = query if explained else f"DECLARE asked NO SCROLL CURSOR FOR {query}"
            cursor = connection.execute(statement.encode(), prepare=True)
            if not explained:
                cursor = connection.execute(f"FETCH {_MOST_ROWS + 1} FROM asked".encode())
            rows = cursor.fetchmany(_MOST_ROWS + 1) if cursor.description else []
        except psycopg.Error as error:
            said = error.diag.message_primary or str(error).strip()
            raise DatabaseError(f"{said}\n{error.diag.message_hint or ''}".strip()) from None
        names = [column.name for column in cursor.description or ()]
    texts = [["" if cell is None else str(cell) for cell in row] for row in rows[:_MOST_ROWS]]
    print_rows(console, names, texts, folded_at=_FOLDED_AT)
    more = ", more are not shown" if len(rows) > _MOST_ROWS else ""
    console.print(f"{min(len(rows), _MOST_ROWS)} rows{more}")
