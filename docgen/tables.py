"""The reference of tables and views, from a database that has just been migrated."""

from __future__ import annotations

import tomllib
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import psycopg

from docgen.markdown import table

_MEANINGS = Path(__file__).with_name("columns.toml")
_COLUMNS = """
    SELECT c.relname, c.relkind = 'v', obj_description(c.oid, 'pg_class'), a.attname,
           format_type(a.atttypid, a.atttypmod), NOT a.attnotnull,
           col_description(c.oid, a.attnum)
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p', 'v')
      AND NOT c.relispartition AND c.relname <> 'alembic_version'
      AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY c.relname COLLATE "C", a.attnum
"""


class Column(NamedTuple):
    """A column of a table or view, as the database describes it."""

    table: str
    of_view: bool
    subject: str | None
    name: str
    type: str
    may_be_null: bool
    comment: str | None


def tables_reference(url: str) -> str:
    """Return a section for each view, then for each table, with a row for each column.

    Raises
    ------
    LookupError
        When neither the database nor ``columns.toml`` says what some column means, or the file
        describes a column that is not there.
    """
    with psycopg.connect(url) as connection:
        columns = [Column(*row) for row in connection.execute(_COLUMNS)]
    meanings = _meanings(columns)
    of_tables: dict[str, list[Column]] = defaultdict(list)
    for column in columns:
        of_tables[column.table].append(column)
    views = {name: found for name, found in of_tables.items() if found[0].of_view}
    tables = {name: found for name, found in of_tables.items() if not found[0].of_view}
    sections = (_section(found, meanings) for found in views.values())
    others = (_section(found, meanings) for found in tables.values())
    return "\n\n".join(["## Views", *sections, "## Tables", *others])


def _section(columns: list[Column], meanings: dict[Column, str]) -> str:
    first = columns[0]
    # What a column of a view may be, PostgreSQL does not know.
    heading = ("column", "type", *([] if first.of_view else ["null"]), "meaning")
    rows = [
        (
            f"`{one.name}`",
            one.type,
            *([] if one.of_view else ["yes" if one.may_be_null else ""]),
            meanings[one],
        )
        for one in columns
    ]
    return f"### `{first.table}`\n\n{_plain(first.subject or '')}\n\n{table(heading, rows)}"


def _meanings(columns: Iterable[Column]) -> dict[Column, str]:
    """Return what each column means: as the database says, else this table's, else any table's."""
    written = tomllib.loads(_MEANINGS.read_text())
    anywhere = written.pop("anywhere")
    used: set[tuple[str, str]] = set()
    found: dict[Column, str] = {}
    unknown = []
    for column in columns:
        own = written.get(column.table, {}).get(column.name)
        used.add((column.table if own else "anywhere", column.name))
        meaning = own or column.comment or anywhere.get(column.name)
        if meaning is None:
            unknown.append(f"{column.table}.{column.name}")
        found[column] = _plain(meaning or "")
    listed = {"anywhere": anywhere, **written}
    spare = {(part, name) for part, names in listed.items() for name in names} - used
    if unknown or spare:
        raise LookupError(
            f"{_MEANINGS.name} does not describe {unknown} and describes {sorted(spare)}, "
            "which are not there"
        )
    return found


def _plain(text: str) -> str:
    return text.replace("<", "&lt;")
