"""Tables of Markdown, and the part of a page that a program writes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
MARKER = "<!-- From here on written by `make docs-reference`; change the code instead. -->"


def table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; cells may hold any text of one line or several."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def page_with(path: Path, written: str) -> str:
    """Return a page with its written part replaced; what a person wrote above it stays.

    Raises
    ------
    ValueError
        When the page does not say where that part begins.
    """
    above, found, _ = path.read_text().partition(MARKER)
    if not found:
        raise ValueError(f"{path} lacks the line {MARKER!r}")
    return f"{above}{MARKER}\n\n{written.strip()}\n"
