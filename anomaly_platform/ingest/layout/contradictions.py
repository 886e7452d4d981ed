"""Rows of a file that contradict each other, as those of a long file do that is read as a wide one.

Here belongs the count of contradictions in a file of any size, and the refusal that names the
columns that were perhaps misread. Contradictions between files are none of it.
"""

from collections.abc import Sequence
from typing import Final

import polars as pl

from anomaly_platform.ingest.cells import read_numbers
from anomaly_platform.ingest.layout.context import Layout
from anomaly_platform.ingest.layout.mapping import ColumnMapping, MappingError, plain
from anomaly_platform.ingest.layout.time_columns import looks_like_time

LONG_NAMES: Final = {
    "entity": (
        *("geraet", "gerät", "anlage", "maschine", "aggregat", "machine", "equipment"),
        *("appareil", "equipo"),
    ),
    "metric": (
        *("messgroesse", "messgröße", "messgrösse", "kenngroesse", "kenngröße", "kenngrösse"),
        *("parameter", "variable", "quantity", "measurand", "grandeur", "magnitud"),
    ),
    "value": ("wert", "messwert", "reading", "valeur", "valor"),
}
"""What columns of long files are called besides the known names, by field."""

_FEW_ROWS: Final = 10
#: Readings that are compared with each other; of larger files those of some times are.
_COMPARED: Final = 200_000
#: A letter before any digit: 12.5 bar and 7A are no names.
_NAME: Final = r"^[^0-9]*\p{L}"
_NAMES_SHOWN: Final = 100


class Contradictions:
    """Counts readings of a file that contradict another one of the same series and time.

    Times are kept or left out as a whole, so what is counted is right for those that are kept.
    """

    def __init__(self) -> None:
        self._every = 1
        self._kept: list[pl.DataFrame] = []
        self._height = 0
        self._example = ""

    def see(self, rows: pl.DataFrame) -> None:
        """Look at the next raw rows of the file."""
        rows = rows.filter(
            pl.col("value_text").is_not_null() & (pl.col("event_time").hash(0) % self._every == 0)
        )
        if not rows.height:
            return
        self._example = self._example or rows["event_time_text"][0] or ""
        self._kept.append(
            rows.select(
                moment=pl.col("event_time").hash(0),
                series=pl.struct("entity", "metric").hash(0),
                value=pl.col("value_text").hash(0),
            )
        )
        self._height += rows.height
        while self._height > _COMPARED and self._every < 1 << 32:
            self._every *= 2
            later = pl.concat(self._kept).filter(pl.col("moment") % self._every == 0)
            self._kept, self._height = [later], later.height

    def refusal(self, layout: Layout, hint: str) -> MappingError | None:
        """Return why the file is refused; None where most of its readings contradict no other.

        Parameters
        ----------
        layout
            Of the file.
        hint
            The options that name columns, from `name_options`; blank where none looks like names.
        """
        if self._height < _FEW_ROWS:
            return None
        seen = pl.concat(self._kept)
        contradictions = seen.n_unique() - seen.select("moment", "series").n_unique()
        if contradictions * 2 <= seen.height:
            return None
        count = (
            f"{contradictions:,} of {seen.height:,} readings"
            f" contradict another one of the same time, such as {self._example!r}"
        )
        time = f"name all columns of the time, such as --map {layout.columns['event_time']}+hour"
        if hint:
            return MappingError(
                f"the file is misread: {count}; say which columns hold names, such as {hint}, or"
                f" {time}=timestamp"
            )
        return MappingError(
            f"the times are too coarse for the rows: {count}; {time}=timestamp, or the column of"
            " what was measured, with --map column=entity or --map column=metric"
        )


def name_columns(frame: pl.DataFrame, layout: Layout, mapping: ColumnMapping) -> list[str]:
    """Return columns that seem to hold names although no field of names is read from them.

    Parameters
    ----------
    frame
        The first rows of the file, as text.
    layout, mapping
        How the file is understood, and what the user says of it.
    """
    used = {*layout.columns.values(), *layout.conventions.columns, *mapping.ignore}
    used.update(one.name for one in layout.conventions.time_columns)
    return [name for name in frame.columns if name not in used and _holds_names(frame[name])]


def _holds_names(cells: pl.Series) -> bool:
    cells = cells.drop_nulls()
    return (
        len(cells) > 0
        and bool(cells.head(_NAMES_SHOWN).str.contains(_NAME).all())
        and cells.n_unique() * 2 <= max(len(cells), 4)
        and not looks_like_time(cells)
        and not read_numbers(cells).values.count()
    )


def name_options(names: Sequence[str], frame: pl.DataFrame, layout: Layout) -> str:
    """Return the options that would read these columns as names; blank where there are none.

    The first column says whose the readings are and the second one what was measured, unless they
    are called otherwise.

    Parameters
    ----------
    names
        From `name_columns`.
    frame
        The first rows of the file, as text.
    layout
        Of the file.
    """
    open_fields = [
        field
        for field in ("entity", "metric")
        if field not in layout.columns and field not in layout.constants
    ]
    found = {}
    for field in open_fields:
        called = [name for name in names if plain(name) in LONG_NAMES[field]]
        if called:
            found[field] = called[0]
    for field in open_fields:
        free = [name for name in names if name not in found.values()]
        if field not in found and free:
            found[field] = free[0]
    if "metric" in found and "value" not in layout.columns:
        numbers = [one for one in layout.metric_columns(frame.columns) if one not in names]
        numbers.sort(key=lambda name: plain(name) not in ("value", *LONG_NAMES["value"]))
        if numbers:
            found["value"] = numbers[0]
        else:
            del found["metric"]
    fields = ("entity", "metric", "value")
    return " ".join(f'--map "{found[one]}={one}"' for one in fields if one in found)
