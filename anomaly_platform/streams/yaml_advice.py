"""What people got wrong where a text is no YAML: the line, and what to write instead.

What belongs here: YAML's own errors in plain words. YAML often notices a slip a line late: a key
without a blank after its colon begins a text that the next line seems to go on with. So the lines
themselves are looked at, too.
"""

import re
from collections.abc import Sequence

import yaml

_ADVICE = (
    ("cannot start any token", "indent with spaces, not tabs, and put odd texts in quotes"),
    ("mapping values are not allowed", "put a text that contains ': ' in quotes, and indent alike"),
    ("could not find expected ':'", "write `key: value`, with a blank after the colon"),
    ("expected <block end>", "lines of one level have to begin in the same column"),
    ("found another document", "one file describes one stream; remove what follows ---"),
    ("determine a constructor", "tags (!name) are not read; write the value plainly"),
    ("undefined alias", "put a text that begins with * in quotes"),
    ("while parsing a flow", "a bracket is not closed"),
    ("end of stream", "a quote or bracket is not closed"),
)
#: What YAML says when lines do not fit together, which it may notice late.
_LAYOUT = (
    "mapping values are not allowed",
    "could not find expected ':'",
    "expected <block end>",
    "expected '<document start>'",
)
#: A key without a blank after its colon; an address such as http://… is none.
_NO_BLANK = re.compile(r"^\s*([A-Za-z_]\w*):(?!//)(\S.*)$")
#: A key with its value on the same line, not one whose text begins on the next.
_COMPLETE = re.compile(r"^\s*[^\s#:][^:]*:\s+[^\s#|>]")
_MOST_SHOWN = 40


def advise(text: str, error: yaml.MarkedYAMLError) -> tuple[int, str]:
    """Return the line, from 1, to mend in a text that is no YAML, and what to write there."""
    line = _line_of(error)
    said = f"{error.context or ''} {error.problem or ''}"
    if any(part in said for part in _LAYOUT):
        rows = text.splitlines()
        found = _without_blank(rows, line) or _indented(rows, line)
        if found is not None:
            return found
    advice = next((advice for part, advice in _ADVICE if part in said), "check the line")
    problem = (error.problem or error.context or "not YAML").strip()
    return line, f"not readable as YAML ({problem}); {advice}"


def missing_blank(row: str) -> str | None:
    """Return what to write where a row has a key without a blank after its colon."""
    found = _NO_BLANK.match(row)
    if found is None:
        return None
    value = found[2].rstrip()
    shown = value if len(value) <= _MOST_SHOWN else f"{value[:_MOST_SHOWN]}…"
    return f"a blank is missing after the colon; write {found[1]}: {shown}"


def _without_blank(rows: Sequence[str], line: int) -> tuple[int, str] | None:
    """Blame the first of the lines up to this one whose colons have no blank."""
    blamed = None
    for number in (line, *_above(rows, line)):
        advice = missing_blank(_row(rows, number))
        if advice is not None:
            blamed = number, advice
        elif number != line:
            break
    return blamed


def _indented(rows: Sequence[str], line: int) -> tuple[int, str] | None:
    """Blame a line that begins further to the right than the one it belongs beside."""
    above = _above(rows, line)
    if not above:
        return None
    here, before, first = (_column(_row(rows, number)) for number in (line, above[0], above[-1]))
    if here > before and _COMPLETE.match(_row(rows, above[0])):
        return line, _too_far(above[0])
    if here < first:
        return above[-1], _too_far(line)
    if here < before:
        return line, (
            f"begins in column {here + 1}, as no line does that it could belong beside; line "
            f"{above[0]} begins in column {before + 1}; lines of one level begin in the same column"
        )
    return None


def _too_far(other: int) -> str:
    return f"begins further to the right than line {other}; begin both in the same column"


def _above(rows: Sequence[str], line: int) -> list[int]:
    """Return the numbers of the lines above that say something, the nearest first."""
    numbers = range(min(line, len(rows) + 1) - 1, 0, -1)
    return [number for number in numbers if _row(rows, number).strip()[:1] not in {"", "#"}]


def _row(rows: Sequence[str], line: int) -> str:
    return rows[line - 1] if line <= len(rows) else ""


def _column(row: str) -> int:
    return len(row) - len(row.lstrip(" "))


def _line_of(error: yaml.MarkedYAMLError) -> int:
    # Of something that is never closed YAML notices the end; people look for the beginning.
    opened = (error.context or "").startswith(("while scanning", "while parsing a flow"))
    marks = (error.context_mark, error.problem_mark)
    mark = next((mark for mark in (marks if opened else marks[::-1]) if mark is not None), None)
    return 1 if mark is None else mark.line + 1
