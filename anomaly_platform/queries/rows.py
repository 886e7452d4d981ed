"""Reading the rows of a statement as objects of a type."""

from typing import Any, LiteralString, TypeVar

from psycopg import AsyncConnection
from psycopg.rows import class_row

Row = TypeVar("Row")
Values = dict[str, Any]


async def fetch_all(
    connection: AsyncConnection[Any],
    kind: type[Row],
    statement: LiteralString | bytes,
    values: Values,
) -> list[Row]:
    """Return every row of a statement, whose columns are called as the fields of `kind`."""
    async with connection.cursor(row_factory=class_row(kind)) as cursor:
        await cursor.execute(statement, values)
        return await cursor.fetchall()


async def fetch_one(
    connection: AsyncConnection[Any],
    kind: type[Row],
    statement: LiteralString | bytes,
    values: Values,
) -> Row | None:
    """Return the first row of a statement, None where there is none."""
    async with connection.cursor(row_factory=class_row(kind)) as cursor:
        await cursor.execute(statement, values)
        return await cursor.fetchone()


async def count(
    connection: AsyncConnection[Any], statement: LiteralString | bytes, values: Values
) -> int:
    """Return the number that a statement counts."""
    row = await (await connection.execute(statement, values)).fetchone()
    return 0 if row is None else int(row[0])
