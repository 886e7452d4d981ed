"""How a file would be read, found out before it is taken: its columns, and its first rows."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from anomaly_platform.ingest.layout.context import LayoutContext
from anomaly_platform.ingest.layout.contradictions import name_options
from anomaly_platform.ingest.layout.mapping import MappingError
from anomaly_platform.ingest.layout.row_reader import Head
from anomaly_platform.kinds.formats import RowFormat

_FIRST = 3
_LONGEST = 36
_OPTION_OF_TIMES = (
    "; say which column is the time with --map COLUMN=timestamp, or how it is written with"
    " --time-format"
)
_WORDS = {
    "event_time": "the time",
    "entity": "the entity",
    "metric": "the metric's name",
    "value": "the value",
    "event_id": "the event's id",
    "label": "the label",
}


@dataclass(frozen=True, slots=True)
class Preview:
    """How the first rows of a file read.

    Attributes
    ----------
    head : Head
        The rows, and how their columns are understood.
    valid : polars.DataFrame
        What can be used.
    refused : Counter of str
        How many readings are refused, by reason.
    """

    head: Head
    valid: pl.DataFrame
    refused: Counter[str]

    @property
    def summary(self) -> str:
        """Say in a few words how the file is understood."""
        layout = self.head.layout
        whose = f", entity {layout.entity_from_name}" if layout.entity_from_name else ""
        return f"{'wide' if layout.wide else 'long'}{whose}"

    def columns(self) -> list[tuple[str, str, str]]:
        """Return each column with what it is taken for and its first values, then what is set."""
        frame = self.head.batch.frame
        found = [(name, role, _values(frame[name])) for name, role in _roles(self.head)]
        return found + [
            (field, "set for every row", text) for field, text in self.head.layout.constants.items()
        ]

    def first_rows(self, form: RowFormat) -> tuple[list[str], list[list[str]]]:
        """Return the names of the columns that matter, and the first rows as they are read."""
        names = [name for name in form.key if name in self.valid.columns]
        names += [name for name in ("value",) if name in self.valid.columns]
        first = self.valid.sort("event_time", maintain_order=True).head(_FIRST).select(names)
        return names, [[_text(cell) for cell in row] for row in first.rows()]

    def unread_names(self) -> tuple[list[str], str]:
        """Return metrics without one number that may be names, and the options to read them so.

        There are none where a column says whose the readings are.
        """
        layout, frame = self.head.layout, self.head.batch.frame
        if not (layout.wide and layout.entity_from_name):
            return [], ""
        read = set(self.valid["metric"].unique())
        metrics = layout.metric_columns(frame.columns)
        names = [one for one in metrics if one not in read and frame[one].drop_nulls().len()]
        return names, name_options(names, frame, layout)

    @property
    def seen(self) -> int:
        """How many readings were looked at."""
        return self.head.rows.height + self.head.rejects.height


@dataclass(slots=True)
class Refusals:
    """What would be refused of a whole file.

    Attributes
    ----------
    seen : int
        How many readings the file has.
    reasons : Counter of str
        How many of them are refused, by reason.
    """

    seen: int = 0
    reasons: Counter[str] = field(default_factory=Counter)


def refusals(form: RowFormat, file: Path, context: LayoutContext) -> Refusals:
    """Read a whole file, batch by batch, and count what would be refused of it."""
    found = Refusals()
    for rows, rejects in form.reader.read(file, context):
        found.seen += rows.height + rejects.height
        found.reasons.update(rejects["reason"])
        for day in form.judged(rows, context):
            found.reasons.update(day.rejects["reason"])
    return found


def look_at(form: RowFormat, file: Path, context: LayoutContext) -> Preview:
    """Read the first rows of a file.

    Raises
    ------
    UnreadableFile
        When the file cannot be read, its columns have no sense, or none of its first rows can be
        used.
    """
    head = form.reader.head(file, context)
    days = list(form.judged(head.rows, context))
    refused = Counter(head.rejects["reason"].to_list())
    for day in days:
        refused.update(day.rejects["reason"])
    valid = [day.frame for day in days if day.frame.height]
    if not valid:
        if not refused:
            raise MappingError("the file has no rows")
        reason, _ = refused.most_common(1)[0]
        option = _OPTION_OF_TIMES if reason.startswith("not a time") else ""
        columns = ", ".join(f"{name} ({role})" for name, role in _roles(head)[:8])
        raise MappingError(
            f"none of the first {refused.total():,} readings can be used; most of them: {reason};"
            f" its columns are {columns}{option}"
        )
    return Preview(head, pl.concat(valid), refused)


def _roles(head: Head) -> list[tuple[str, str]]:
    """Return what each column is taken for."""
    fields = {column: field for field, column in head.layout.columns.items()}
    metrics = set(head.layout.metric_columns(head.batch.frame.columns) if head.layout.wide else ())
    conventions = head.layout.conventions
    used = dict.fromkeys(conventions.columns, "the quality")
    used.update((one.name, "a part of the time") for one in conventions.time_columns)

    def roles() -> Iterator[tuple[str, str]]:
        for name in head.batch.frame.columns:
            if name in used:
                yield name, used[name]
            elif name in fields:
                yield name, _WORDS.get(fields[name], f"the {fields[name].replace('_', ' ')}")
            else:
                yield name, "a metric" if name in metrics else "left out"

    return list(roles())


def _values(column: pl.Series) -> str:
    texts: Sequence[str] = column.drop_nulls().unique(maintain_order=True).head(_FIRST).to_list()
    said = ", ".join(text.strip() for text in texts)
    return said if len(said) <= _LONGEST else f"{said[: _LONGEST - 1]}…"


def _text(cell: object) -> str:
    return "" if cell is None else str(cell)
