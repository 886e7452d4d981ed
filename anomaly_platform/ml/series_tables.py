"""Tables with numbers of each series: how states that a day leaves to the next are kept."""

from collections.abc import Mapping
from typing import Final

import polars as pl

from anomaly_platform.ml.arrays import Floats

Key = tuple[str, str]
"""A series' entity and metric."""

_NUMBERS: Final = pl.List(pl.Float64)


def schema_of(*columns: str) -> pl.Schema:
    """Return the schema of a table with lists of numbers in these columns."""
    keys = {"entity": pl.String(), "metric": pl.String()}
    return pl.Schema({**keys, **dict.fromkeys(columns, _NUMBERS)})


def table_of(**columns: Mapping[Key, Floats]) -> pl.DataFrame:
    """Return a row for each series, in order of their keys, which all columns have alike."""
    keys = sorted(next(iter(columns.values())))
    rows = {name: [values[key] for key in keys] for name, values in columns.items()}
    return pl.DataFrame(
        {
            "entity": [entity for entity, _ in keys],
            "metric": [metric for _, metric in keys],
            **{name: pl.Series(values, dtype=_NUMBERS) for name, values in rows.items()},
        },
        schema=schema_of(*columns),
    )


def numbers_of(table: pl.DataFrame, column: str) -> dict[Key, Floats]:
    """Return a column's numbers by series, as arrays of their own that may be written to."""
    keys = table.select("entity", "metric").iter_rows()
    numbers = (one.to_numpy(writable=True) for one in table[column])
    return dict(zip(keys, numbers, strict=True))
