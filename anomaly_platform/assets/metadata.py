"""Dagster metadata of one shape: column schemas, tables of counts, pictures."""

import base64
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any

from dagster import (
    AssetExecutionContext,
    AssetKey,
    MaterializeResult,
    MetadataValue,
    TableColumn,
    TableRecord,
    TableSchema,
)

from anomaly_platform.ml.evaluation.miniatures import Drawing

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


def counts(what: str, numbers: Mapping[str, int]) -> list[dict[str, object]]:
    """Return counts as records of two columns."""
    return [{what: name, "count": count} for name, count in numbers.items()]


def records_table(records: Sequence[Mapping[str, Any]]) -> MetadataValue:
    """Return a table of flat records; the last ones when there are too many to show."""
    if not records:
        return MetadataValue.text("none")
    return MetadataValue.table([TableRecord(dict(record)) for record in records[-_LONGEST_TABLE:]])


def drawing(svg: Drawing) -> MetadataValue:
    """Return a small SVG as Markdown, which the UI unfolds by itself where it is short."""
    encoded = base64.b64encode(svg.encode()).decode()
    return MetadataValue.md(f"![](data:image/svg+xml;base64,{encoded})")


def days_result(
    context: AssetExecutionContext,
    key: Sequence[str],
    days: Mapping[date, Mapping[str, Any]],
    common: Mapping[str, Any],
) -> MaterializeResult[None]:
    """Return the result of a run over days: what is common to all, and each day what is its own."""
    for day, shown in days.items():
        context.add_asset_metadata(metadata_of(shown), AssetKey(key), day.isoformat())
    return MaterializeResult(asset_key=AssetKey(key), metadata=metadata_of(common))


def metadata_of(shown: Mapping[str, Any]) -> dict[str, MetadataValue]:
    """Return what a kind shows of its work as metadata: numbers, texts, records, pictures."""
    return {name: _value(value) for name, value in shown.items()}


def _value(value: Any) -> MetadataValue:
    if isinstance(value, MetadataValue):
        return value
    return _MAKERS.get(type(value), lambda other: MetadataValue.text(str(other)))(value)


_MAKERS: Mapping[type, Callable[[Any], MetadataValue]] = {
    bool: MetadataValue.bool,
    int: MetadataValue.int,
    float: MetadataValue.float,
    Drawing: drawing,
    list: records_table,
    dict: MetadataValue.json,
}
