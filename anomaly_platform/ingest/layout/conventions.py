"""How the cells of one file are written, settled before its first row is made.

Here belongs what was settled, one immutable value. How it is settled is in ``settling``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

import polars as pl

from anomaly_platform.ingest.notation.dates import TimeNotation
from anomaly_platform.ingest.notation.numbers import Sign
from anomaly_platform.ingest.notation.quality import Codes

TimePart = Literal[
    "date",
    "clock",
    "hour",
    "minute",
    "second",
    "hourminute",
    "hourminutesecond",
    "millisecond",
    "half",
    "zone",
    "year",
    "month",
    "day",
    "ordinal",
    "",
]
"""What a column says of a row's time; '' where only its text tells."""

NO_ROWS: Final = pl.Series("row_number", [], dtype=pl.Int64)


class TimeColumn(NamedTuple):
    """One of several columns that make up the time of a row."""

    name: str
    part: TimePart


class Quality(NamedTuple):
    """A column that says whether readings are good, and in which codes."""

    column: str
    codes: Codes


@dataclass(frozen=True)
class Conventions:
    """How the cells of one file are written.

    Parameters
    ----------
    signs
        Column of numbers → its decimal sign; '' where it has none here.
    times
        Notation of the times.
    time_columns
        The columns of the time, where it is in several.
    zone
        Of the times, where the name of their column says it; '' elsewhere.
    quality
        Of all readings of a row.
    quality_of
        Column of a wide file → its own column of qualities.
    states, numbered
        Series that are good or bad and nothing else, and series that have numbers besides 0 and 1.
    first, later
        Rows whose local time comes twice, and which of the two it is; elsewhere it is not known.
    """

    signs: Mapping[str, Sign] = field(default_factory=lambda: MappingProxyType({}))
    times: TimeNotation = field(default_factory=TimeNotation)
    time_columns: tuple[TimeColumn, ...] = ()
    zone: str = ""
    quality: Quality | None = None
    quality_of: Mapping[str, Quality] = field(default_factory=lambda: MappingProxyType({}))
    states: frozenset[str] = frozenset()
    numbered: frozenset[str] = frozenset()
    first: pl.Series = field(default_factory=lambda: NO_ROWS, compare=False)
    later: pl.Series = field(default_factory=lambda: NO_ROWS, compare=False)

    @property
    def columns(self) -> set[str]:
        """The columns that are used up besides those of the fields."""
        qualities = [*self.quality_of.values(), *([self.quality] if self.quality else [])]
        return {one.name for one in self.time_columns} | {one.column for one in qualities}
