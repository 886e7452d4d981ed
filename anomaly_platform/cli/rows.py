"""Rows for a terminal: a table where it is wide enough, and otherwise a line per column."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

_NEVER_FOLDED = 10_000


def print_rows(
    console: Console,
    names: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    title: str = "",
    folded_at: int = _NEVER_FOLDED,
) -> None:
    """Print rows so that every cell can be read and copied.

    Parameters
    ----------
    console : Console
    names : sequence of str
        Of the columns.
    rows : sequence of sequence of str
        Cells, plain text.
    title : str
        Above them.
    folded_at : int
        Characters up to which a cell must be whole; longer ones may be folded. By default none is:
        what is folded cannot be copied.
    """
    if _fits(names, rows, console.width, folded_at):
        console.print(word_table(names, [map(escape, row) for row in rows], title))
        return
    if title:
        console.print(title, style="italic", markup=False)
    longest = max(map(len, names))
    for number, row in enumerate(rows, 1):
        console.rule(f"row {number}", align="left")
        for name, text in zip(names, row, strict=True):
            # A line that is too long goes on at the margin, with nothing put into it.
            console.print(
                f"{name:<{longest}}  {text}", markup=False, highlight=False, soft_wrap=True
            )


def word_table(headings: Sequence[str], rows: Iterable[Iterable[str]], title: str = "") -> Table:
    """Return a table of markup; what is too long for its column goes on below."""
    return _filled(Table(*(Column(one, overflow="fold") for one in headings), title=title), rows)


def figure_table(headings: Sequence[str], rows: Iterable[Iterable[str]], title: str) -> Table:
    """Return a table of figures, of which the first column says what they are about."""
    first, *others = headings
    columns = (Column(first), *(Column(one, justify="right") for one in others))
    return _filled(Table(*columns, title=title), rows)


def _filled(table: Table, rows: Iterable[Iterable[str]]) -> Table:
    for row in rows:
        table.add_row(*row)
    return table


def _fits(names: Sequence[str], rows: Sequence[Sequence[str]], width: int, folded_at: int) -> bool:
    """Return whether a table would show every cell without breaking most of them."""
    # A dozen narrow columns of letters help nobody.
    columns = zip(names, *rows, strict=True)
    needed = sum(min(max(len(cell) for cell in column), folded_at) + 3 for column in columns)
    return needed + 1 <= width
