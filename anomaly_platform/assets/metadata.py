"""Dagster metadata of one shape: column schemas, tables of counts, pictures."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from dagster import MetadataValue, TableColumn, TableRecord, TableSchema

_LONGEST_TABLE = 400


def column_schema(columns: Mapping[str, tuple[str, str]]) -> MetadataValue:
    """Return a table schema from column name → (type, description)."""
    return MetadataValue.table_schema(
        TableSchema(
            columns=[
                TableColumn(name, type_name, description=text)
                for name, (type_name, text) in columns.items()
            ]
        )
    )


def counts_table(what: str, counts: Mapping[str, int]) -> MetadataValue:
    """Return a two-column table of counts; the last rows when it would grow too long."""
    return records_table([{what: name, "count": count} for name, count in counts.items()])


def records_table(records: Sequence[Mapping[str, Any]]) -> MetadataValue:
    """Return a table of flat records; the last ones when there are too many to show."""
    if not records:
        return MetadataValue.text("none")
    return MetadataValue.table([TableRecord(dict(record)) for record in records[-_LONGEST_TABLE:]])


def picture(png: bytes) -> MetadataValue:
    """Return a PNG as Markdown that shows it in the UI."""
    return MetadataValue.md(f"![](data:image/png;base64,{base64.b64encode(png).decode()})")


def metadata_of(shown: Mapping[str, object]) -> dict[str, MetadataValue]:
    """Return what a kind shows of its work as metadata: numbers, texts, records, pictures."""
    return {name: _value(value) for name, value in shown.items()}


def _value(value: Any) -> MetadataValue:
    if isinstance(value, bytes):
        return picture(value)
    if isinstance(value, list):
        return records_table(value)
    if isinstance(value, Mapping):
        return MetadataValue.json(dict(value))
    if isinstance(value, bool):
        return MetadataValue.bool(value)
    if isinstance(value, int):
        return MetadataValue.int(value)
    return (
        MetadataValue.float(value) if isinstance(value, float) else MetadataValue.text(str(value))
    )
