"""One JSON document as a stream of records, whatever its length.

Here belongs the reading of documents piece by piece. Which shapes are accepted is written down in
`json_rows`. Values are read by the standard library, whose scanner takes what files have: NaN, and
numbers and half surrogate pairs of which only their row is refused. (ijson refuses the document for
the first, writes ? for the last, and ends the process with a number of 5,000 digits.)
"""

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any, Final

from anomaly_platform.ingest.files.sources import ReadLimits, UnreadableFile

RECORD_KEYS: Final = ("data", "records", "rows", "events", "telemetry")

_SHAPES: Final = (
    "a list of objects, an object with such a list under data, records, rows, events or telemetry,"
    " an object of lists of equal length, or JSON Lines"
)
_SMALL: Final = 8 << 20
_MARK: Final = re.compile(r"[^ \t\r\n]")
_DECODER: Final = json.JSONDecoder()
#: The most values that are held at once, each of which takes some hundred bytes.
_MOST_VALUES: Final = 8_000_000


class _Broken(Exception):  # noqa: N818
    """The document breaks the grammar of JSON."""


def refuse_many_values(text: str) -> None:
    """Refuse a text with more values than may be held at once, before it is read.

    Raises
    ------
    UnreadableFile
        When it has more; separators inside of texts count, which hardly matters.
    """
    if len(text) <= _MOST_VALUES:
        return
    if sum(text.count(mark) for mark in ",[{") > _MOST_VALUES:
        raise UnreadableFile(
            f"the JSON has more than {_MOST_VALUES:,} values that would have to be read at once;"
            " write a record a line (JSON Lines)"
        )


class _Document:
    """A JSON text that arrives in pieces, with a place up to which it has been read."""

    def __init__(self, blocks: Iterator[bytes], limits: ReadLimits) -> None:
        self._pieces = codecs.iterdecode(blocks, "utf-8")
        self._most = limits.max_document_bytes
        self._text = ""
        self._at = 0

    def _more(self) -> bool:
        """Take in more text; at least as much as is held, so that retries stay linear."""
        parts = [self._text[self._at :]]
        wanted = max(1 << 20, len(parts[0]))
        for piece in self._pieces:
            parts.append(piece)
            wanted -= len(piece)
            if wanted <= 0:
                break
        if len(parts) == 1:
            return False
        self._text, self._at = "".join(parts), 0
        refuse_many_values(self._text)  # so much is here because one value needs it
        return True

    def peek(self) -> str:
        """Return the next character that is not blank; '' at the end."""
        while not (found := _MARK.search(self._text, self._at)):
            self._at = len(self._text)
            if not self._more():
                return ""
        self._at = found.start()
        return found[0]

    def take(self, character: str) -> None:
        """Go past a character that must come next; '' is the end."""
        if self.peek() != character:
            raise _Broken
        self._at += 1

    def value(self) -> Any:
        """Read one value as a whole."""
        self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except RecursionError as error:
                raise UnreadableFile("the JSON is nested too deeply") from error
            except ValueError as error:
                if "integer string conversion" in str(error):
                    raise UnreadableFile("the JSON has a number of thousands of digits") from error
                if len(self._text) - self._at > self._most:
                    raise UnreadableFile(
                        f"the JSON document has a value of more than {self._most:,} bytes that"
                        " would have to be read at once, or is broken; write JSON Lines instead"
                    ) from error
                if not self._more():
                    raise _Broken from error
            else:
                # A number may go on in text that is not here yet.
                if end < len(self._text) or not self._more():
                    self._at = end
                    return value

    def opens_records(self) -> bool:
        """Tell whether a list of objects, or an empty one, comes next; stay before it."""
        while self.peek() == "[":
            second = _MARK.search(self._text, self._at + 1)
            if second:
                return second[0] in "{]"
            if not self._more():
                break
        return False

    def items(self) -> Iterator[Any]:
        """Read a list, one element after the other."""
        return (self.value() for _ in self._elements("[", "]"))

    def members(self) -> Iterator[str]:
        """Read an object's keys; between two, its caller reads the value."""
        for _ in self._elements("{", "}"):
            key = self.value()
            if not isinstance(key, str):
                raise _Broken
            self.take(":")
            yield key

    def _elements(self, opening: str, closing: str) -> Iterator[None]:
        """Stop before each element, which the caller reads."""
        self.take(opening)
        if self.peek() != closing:
            yield
            while self.peek() == ",":
                self.take(",")
                yield
        self.take(closing)


def document_records(blocks: Iterator[bytes], size: int, limits: ReadLimits) -> Iterator[Any]:
    """Yield the records of one JSON document.

    Parameters
    ----------
    blocks
        The text as UTF-8.
    size
        Of the text, in bytes.
    limits
        Bounds on values that must be held as a whole.

    Raises
    ------
    UnreadableFile
        When it is no valid JSON (also after some records), or has another shape than the accepted.
    """
    document = _Document(blocks, limits)
    try:
        if document.peek() == "[":
            yield from document.items()
        else:
            yield from _object(document, small=size <= _SMALL)
        document.take("")
    except _Broken as error:
        raise UnreadableFile(
            "the JSON document is not valid, or is cut off; no row of it was taken"
        ) from error


def _object(document: _Document, *, small: bool) -> Iterator[Any]:
    """Yield the records of a document that is an object.

    The plain values beside its list of records belong to each record. In a small document they may
    stand on either side of the list; a large one is not held until its end is seen.
    """
    beside: dict[str, Any] = {}
    held: list[Any] | None = None
    for key in document.members():
        if held is None and key in RECORD_KEYS and document.opens_records():
            records = document.items()
            held = list(records) if small else []
            # None is left of a small document's.
            for record in records:
                yield _with_constants(record, beside)
            continue
        beside[key] = document.value()
        if held is not None and not small and not isinstance(beside[key], dict | list):
            raise UnreadableFile(
                f"{key[:80]!r} stands after the list of records; in a document of this size, put it"
                " before the list, or write JSON Lines"
            )
    if held is None:
        yield from _whole_object(beside)
    else:
        yield from (_with_constants(record, beside) for record in held)


def _with_constants(record: Any, beside: dict[str, Any]) -> Any:
    if not isinstance(record, dict):
        return record
    return {**{k: v for k, v in beside.items() if not isinstance(v, dict | list)}, **record}


def _whole_object(values: dict[str, Any]) -> Iterator[Any]:
    """Yield the records of an object of lists, or the object itself where it is one record."""
    lists = {key: value for key, value in values.items() if isinstance(value, list)}
    if not lists:
        if not values or all(isinstance(value, dict) for value in values.values()):
            raise UnreadableFile(f"the JSON document has no rows; accepted are {_SHAPES}")
        yield values
        return
    lengths = {len(value) for value in lists.values()}
    if len(lengths) > 1:
        sizes = ", ".join(f"{key[:40]}: {len(value):,}" for key, value in list(lists.items())[:5])
        raise UnreadableFile(f"the lists of the JSON document differ in length ({sizes})")
    for cells in zip(*lists.values(), strict=True):
        yield _with_constants(dict(zip(lists, cells, strict=True)), values)
