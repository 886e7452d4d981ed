"""The grammar of delimited text: lines, fields, quotes, delimiters.

Here belongs what can be said of a text without knowing its columns. Reading a table is the subject
of `csv_rows`, where the decisions on the grammar are written down.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

NEWLINE: Final = 10
RETURN: Final = 13
QUOTE: Final = 34

MAX_RECORD_LINES: Final = 64
"""Over so many lines a quoted field may run."""

DELIMITERS: Final = (",", ";", "\t", "|")

_Positions = npt.NDArray[np.int64]


class OpenQuote(Exception):  # noqa: N818 - a state of the text, not an error yet
    """A quoted field goes on beyond the end of the text."""


class BadQuote(Exception):  # noqa: N818
    """A closing quote is followed by something else than a delimiter."""


def split_record(text: str, delimiter: str) -> list[str]:
    r"""Split one record into its fields.

    Parameters
    ----------
    text
        The record without its line end; it may contain line breaks inside quotes.
    delimiter
        One character.

    Raises
    ------
    OpenQuote
        When a quoted field is not closed.
    BadQuote
        When text follows a closing quote.

    Examples
    --------
    >>> split_record('a,"b ""c"", d",5" pipe', ",")
    ['a', 'b "c", d', '5" pipe']
    """
    fields: list[str] = []
    at = 0
    while True:
        if text.startswith('"', at):
            close = at + 1
            while True:
                close = text.find('"', close)
                if close < 0:
                    raise OpenQuote
                if not text.startswith('"', close + 1):
                    break
                close += 2
            fields.append(text[at + 1 : close].replace('""', '"'))
            at = close + 1
            if at < len(text) and not text.startswith(delimiter, at):
                raise BadQuote
        else:
            end = text.find(delimiter, at)
            end = len(text) if end < 0 else end
            fields.append(text[at:end])
            at = end
        if at >= len(text):
            return fields
        at += 1


def sniff_delimiter(line: str) -> str:
    """Return the delimiter of a table by its header line; a comma where it has none."""
    outside = "".join(line.split('"')[::2])
    return max(DELIMITERS, key=lambda delimiter: (outside.count(delimiter), delimiter == ","))


@dataclass(frozen=True)
class Lines:
    """A text of whole lines, with the places where they start and end."""

    text: bytes
    codes: npt.NDArray[np.uint8]
    starts: _Positions
    ends: _Positions
    blank: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, text: bytes, comment: bytes = b"") -> "Lines":
        """Find the lines of a text that is empty or ends with a line end.

        Lines that begin with `comment` count as blank.
        """
        codes = np.frombuffer(text, dtype=np.uint8)
        ends = np.flatnonzero(codes == NEWLINE)
        starts = np.concatenate([np.zeros(min(1, len(ends)), dtype=np.int64), ends[:-1] + 1])
        size = ends - starts
        blank = (size == 0) | ((size == 1) & (codes[starts] == RETURN))
        if comment and comment in text:
            begins = np.ones(len(starts), dtype=np.bool_)
            for place, code in enumerate(comment):
                begins &= codes[np.minimum(starts + place, ends)] == code
            blank |= begins
        return cls(text, codes, starts, ends, blank)

    def positions(self, code: int) -> _Positions:
        """Return the places of a byte in the text."""
        return np.flatnonzero(self.codes == code)

    def line(self, index: int, last: int | None = None) -> str:
        """Return a line without its end, or several with line feeds between them."""
        until = int(self.ends[index if last is None else last])
        raw = self.text[int(self.starts[index]) : until].decode("utf-8").removesuffix("\r")
        return raw.replace("\r\n", "\n")

    def next_with(self, mark: bytes, after: int) -> int | None:
        """Return the first line after a line that contains some bytes; None if there is none."""
        at = self.text.find(mark, int(self.ends[after]))
        return None if at < 0 else int(np.searchsorted(self.ends, at))

    def marked(self, mark: bytes) -> npt.NDArray[np.bool_]:
        """Tell which lines contain some bytes."""
        result = np.zeros(len(self.starts), dtype=np.bool_)
        at = self.text.find(mark)
        while at >= 0:
            line = int(np.searchsorted(self.ends, at))
            result[line] = True
            at = self.text.find(mark, int(self.ends[line]))
        return result

    def content_ends(self) -> _Positions:
        """Return the places after the last character of each line, before its line end."""
        returns = (self.ends > self.starts) & (self.codes[self.ends - 1] == RETURN)
        return np.where(returns, self.ends - 1, self.ends)

    def keep(self, chosen: npt.NDArray[np.bool_], cut: _Positions) -> bytes:
        """Return the text of the chosen lines, without the last `cut` characters of each."""
        shortened = cut.any()
        if chosen.all() and not shortened:
            return self.text
        kept = np.repeat(chosen, self.ends - self.starts + 1)
        if shortened:
            ends = self.content_ends()
            for back in range(1, int(cut.max()) + 1):
                kept[ends[cut >= back] - back] = False
        return self.codes[kept].tobytes()
