"""The types of feature columns, as feature sets name them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import polars as pl

DTYPES: Final[Mapping[str, pl.DataType]] = {
    "f64": pl.Float64(),
    "f32": pl.Float32(),
    "i8": pl.Int8(),
    "i16": pl.Int16(),
    "bool": pl.Boolean(),
    "str": pl.String(),
    "date": pl.Date(),
    "list[str]": pl.List(pl.String()),
}
