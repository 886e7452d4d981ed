"""``anomaly sql``: one read-only question to the platform's database."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from anomaly_platform.resources.database import DatabaseError, connect, prepare_databases
from anomaly_platform.settings import Settings

_MOST_ROWS = 200
_FOLDED_AT = 24


def ask(settings: Settings, query: str, console: Console) -> None:
    """Run one statement in a read-only transaction and print at most 200 rows.

    The statement is prepared, so that the server itself refuses several at once: a COMMIT among
    them would end what keeps the rest from writing.

    Raises
    ------
    DatabaseError
        When the server refuses the statement.
    """
    import psycopg

    with connect(prepare_databases(settings).application) as connection:
        connection.read_only = True
        try:
            # A person's own query to their own database is what this command is for.
            cursor = connection.execute(query.encode(), prepare=True)
            rows = cursor.fetchmany(_MOST_ROWS + 1) if cursor.description else []
        except psycopg.Error as error:
            raise DatabaseError(str(error).strip()) from None
        names = [column.name for column in cursor.description or ()]
    texts = [["" if cell is None else str(cell) for cell in row] for row in rows[:_MOST_ROWS]]
    if _fits(names, texts, console.width):
        table = Table()
        for name in names:
            table.add_column(name, overflow="fold")
        for row_of_texts in texts:
            table.add_row(*row_of_texts)
        console.print(table)
    else:
        _print_records(names, texts, console)
    more = ", more are not shown" if len(rows) > _MOST_ROWS else ""
    console.print(f"{min(len(rows), _MOST_ROWS)} rows{more}")


def _fits(names: list[str], texts: list[list[str]], width: int) -> bool:
    """Return whether a table would show every cell without breaking most of them."""
    columns = zip(names, *texts, strict=True)
    # A long cell may be folded once or twice; a dozen narrow columns of letters help nobody.
    needed = sum(min(max(len(cell) for cell in column), _FOLDED_AT) + 3 for column in columns)
    return needed <= width


def _print_records(names: list[str], texts: list[list[str]], console: Console) -> None:
    """Print a line per column under each row's number, as wide rows are read."""
    longest = max(map(len, names))
    for number, row in enumerate(texts, 1):
        console.rule(f"row {number}", align="left")
        for name, text in zip(names, row, strict=True):
            console.print(f"{name:<{longest}}  {text}", markup=False, highlight=False)
