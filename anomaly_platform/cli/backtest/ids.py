"""Ids of a file of scans as they came: a number stays a number in the answer.

What belongs here: the kinds of the cells, which text alone does not tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import polars as pl

from anomaly_platform.ingest.files.json_rows import json_records, looks_like_json
from anomaly_platform.ingest.files.sources import (
    ReadLimits,
    inspect_source,
    rewindable,
    text_blocks,
)

Number = int | float
#: What tells scans apart of which one has a number as its id, and another the same in writing.
_TELLING: Final = ("epc_code", "location_id", "business_step", "event_type")
_WHOLE: Final = r"^(0|-?[1-9][0-9]{0,17})$"


def numbers_of(file: Path, columns: Mapping[str, str], scans: pl.DataFrame, field: str) -> Numbers:
    """Return which scans have a number as an id.

    In a CSV file, which has no types, ids are numbers where all of them are whole numbers.

    Parameters
    ----------
    file
        The file of scans.
    columns
        Its columns by canonical field.
    scans
        The valid scans of it.
    field
        `event_id` or `file_id`.

    Returns
    -------
    dict of int to number
        By the position in `scans`; a scan whose id is a text is not in it.
    """
    if field not in columns:
        return {}
    limits = ReadLimits()
    with rewindable(file) as stream:
        inspection = inspect_source(stream, limits)
        if inspection.kind == "parquet":
            typed = pl.read_parquet_schema(file).get(columns[field])
            return _whole(scans[field]) if typed is not None and typed.is_integer() else {}
        if not looks_like_json(inspection.head, file.name):
            return _whole(scans[field])
        records = json_records(
            text_blocks(stream, inspection, limits), inspection, file.name, limits
        )
        named = [columns[name] for name in _TELLING if name in columns]
        said: dict[tuple[str | None, ...], Any] = {}
        for record in records:
            if isinstance(record, dict):
                value = record.get(columns[field])
                said.setdefault(_key([value, *(record.get(name) for name in named)]), value)
    told = scans.select(field, *(name for name in _TELLING if name in columns))
    found = {row: said.get(_key(texts)) for row, texts in enumerate(told.iter_rows())}
    return {
        row: value
        for row, value in found.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


Numbers = dict[int, Number]


def _key(cells: Iterable[Any]) -> tuple[str | None, ...]:
    return tuple(None if cell in (None, "") else str(cell).strip() for cell in cells)


def _whole(ids: pl.Series) -> Numbers:
    if ids.is_empty() or not ids.str.contains(_WHOLE).fill_null(value=False).all():
        return {}
    return {row: int(text) for row, text in enumerate(ids)}
