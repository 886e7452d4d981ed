"""How a file would be read, shown before it is taken: its columns, and its first rows."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from rich.console import Console
from rich.markup import escape

from anomaly_platform.cli.rows import word_table
from anomaly_platform.ingest.layout.context import LayoutContext
from anomaly_platform.ingest.layout.mapping import MappingError
from anomaly_platform.ingest.layout.row_reader import Head
from anomaly_platform.kinds.formats import RowFormat

_MOST_COLUMNS = 16
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


def show(preview: Preview, form: RowFormat, console: Console) -> None:
    """Print which column became what, and how the first rows read."""
    head = preview.head
    for note in head.batch.notes:
        console.print(f"  {note}", markup=False, highlight=False)
    roles = _roles(head)
    rows = [(name, role, _values(head.batch.frame[name])) for name, role in roles[:_MOST_COLUMNS]]
    rows += [(field, "set for every row", text) for field, text in head.layout.constants.items()]
    console.print(word_table(("column", "is", "first values"), [map(escape, row) for row in rows]))
    if len(roles) > _MOST_COLUMNS:
        console.print(f"  and {len(roles) - _MOST_COLUMNS:,} more columns")
    names = [name for name in form.key if name in preview.valid.columns]
    names += [name for name in ("value",) if name in preview.valid.columns]
    first = preview.valid.sort("event_time", maintain_order=True).head(_FIRST).select(names)
    texts = [[escape(_text(cell)) for cell in row] for row in first.rows()]
    console.print(word_table(names, texts, "read as"))
    for reason, count in preview.refused.most_common(_FIRST):
        seen = head.rows.height + head.rejects.height
        console.print(
            f"  refused, {count:,} of the first {seen:,} readings: {reason}",
            markup=False,
            highlight=False,
        )
    for name in _words_for_numbers(preview):
        console.print(
            f"  {name} holds no number. Does it say whose readings these are? Then import with\n"
            f'  --map "{name}=entity"',
            markup=False,
            highlight=False,
        )


def _words_for_numbers(preview: Preview) -> list[str]:
    """Return metrics without one number, where nothing but the file's name says whose they are."""
    head = preview.head
    if not (head.layout.wide and head.layout.entity_from_name):
        return []
    frame = head.batch.frame
    metrics = head.layout.metric_columns(frame.columns)
    read = set(preview.valid["metric"].unique())
    return [one for one in metrics if one not in read and frame[one].drop_nulls().len()]


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
