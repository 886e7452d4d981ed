"""How a file would be read, printed before it is taken."""

from collections import Counter

from rich.console import Console
from rich.markup import escape

from anomaly_platform.cli.rows import word_table
from anomaly_platform.ingest.layout.mapping import listed
from anomaly_platform.kinds.formats import RowFormat
from anomaly_platform.kinds.preview import Preview

_MOST_COLUMNS = 16
_MOST_REASONS = 3


def show_refusals(reasons: Counter[str], seen: str, console: Console) -> None:
    """Print the commonest reasons for which readings are refused, and of which they are."""
    for reason, count in reasons.most_common(_MOST_REASONS):
        console.print(f"  refused, {count:,} of {seen}: {reason}", markup=False, highlight=False)


def show(preview: Preview, form: RowFormat, console: Console) -> None:
    """Print which column became what, and how the first rows read."""
    for note in preview.head.batch.notes:
        console.print(f"  {note}", markup=False, highlight=False)
    columns = preview.columns()
    constants = len(preview.head.layout.constants)
    of_file = columns[: len(columns) - constants]
    shown = of_file[:_MOST_COLUMNS] + columns[len(of_file) :]
    console.print(word_table(("column", "is", "first values"), [map(escape, row) for row in shown]))
    if len(of_file) > _MOST_COLUMNS:
        console.print(f"  and {len(of_file) - _MOST_COLUMNS:,} more columns")
    names, rows = preview.first_rows(form)
    console.print(word_table(names, [map(escape, row) for row in rows], "read as"))
    show_refusals(preview.refused, f"the first {preview.seen:,} readings", console)
    names, options = preview.unread_names()
    if names:
        holds, it = ("holds", "it says") if len(names) == 1 else ("hold", "they say")
        console.print(
            f"  {listed(names)} {holds} no number. If {it} what the readings are of, import with\n"
            f"  {options}",
            markup=False,
            highlight=False,
        )
