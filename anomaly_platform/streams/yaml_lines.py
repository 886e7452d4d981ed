"""YAML text to plain values, and the line on which each of them stands.

What belongs here: the YAML that a stream's file may be written in, a harmless part of the whole:
mappings, lists, texts, numbers, dates. What the keys mean is in ``stream_document``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import yaml

#: A stream's file is a page long; whatever is larger is something else.
LARGEST_BYTES = 64 * 1024

KeyPath = tuple[str | int, ...]


class NotReadableError(ValueError):
    """A text that is not the YAML expected here.

    Attributes
    ----------
    line : int
        Where, from 1.
    """

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True, slots=True)
class YamlDocument:
    """A mapping read from YAML.

    Attributes
    ----------
    values : mapping
        Keys and values as plain Python objects.
    lines : mapping of key path to int
        The line of each key and list item; the empty path is the document's own.
    """

    values: Mapping[str, Any]
    lines: Mapping[KeyPath, int]

    def line_of(self, path: KeyPath) -> int:
        """Return the line of a key path, or of the nearest one above that is written down."""
        while path not in self.lines:
            path = path[:-1]
        return self.lines[path]


def read_yaml(content: bytes) -> YamlDocument:
    """Read one YAML mapping.

    Parameters
    ----------
    content : bytes
        UTF-8, with or without a byte order mark.

    Raises
    ------
    NotReadableError
        When it is no YAML, no mapping, or uses what a stream's file has no use for: several
        documents, aliases, tags, the same key twice.
    """
    # Dagster has imported yaml already where the graph is loaded; the command line may not have.
    import yaml

    if len(content) > LARGEST_BYTES:
        raise NotReadableError(1, f"the file is larger than {LARGEST_BYTES:,} bytes")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise NotReadableError(line, "the file is not UTF-8; save it as UTF-8 text") from None
    try:
        root = yaml.compose(text, yaml.SafeLoader)
        if root is None:
            raise NotReadableError(1, "the file is empty; write at least name and frequency")
        if not isinstance(root, yaml.MappingNode):
            line = root.start_mark.line + 1
            raise NotReadableError(line, "expected lines of the form `key: value`")
        lines = dict(_lines(root, (), set()))
        return YamlDocument(yaml.safe_load(text), lines)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = 1 if mark is None else mark.line + 1
        raise NotReadableError(line, _in_plain_words(error)) from None
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise NotReadableError(line, "a control character; keep to plain text") from None
    except (RecursionError, ValueError, OverflowError) as error:
        if isinstance(error, NotReadableError):
            raise
        # Values that YAML takes for dates or numbers and Python does not, such as 2026-02-31.
        raise NotReadableError(1, f"a value that cannot be read: {error}") from None


def _lines(node: yaml.Node, path: KeyPath, seen: set[int]) -> Iterator[tuple[KeyPath, int]]:
    import yaml

    line = node.start_mark.line + 1
    if id(node) in seen:
        raise NotReadableError(line, "aliases (*name) are not read; write the value out")
    seen.add(id(node))
    if not path:
        yield path, line
    if isinstance(node, yaml.MappingNode):
        keys: set[str] = set()
        for key, value in node.value:
            at = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode) or key.tag.endswith(":merge"):
                raise NotReadableError(at, "expected a plain word as the key")
            if not key.tag.endswith(":str"):
                raise NotReadableError(at, f"{key.value} is no key; keys are words")
            if key.value in keys:
                raise NotReadableError(at, f"{key.value!r} stands here a second time; remove one")
            keys.add(key.value)
            yield (*path, key.value), at
            yield from _lines(value, (*path, key.value), seen)
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            yield (*path, number), item.start_mark.line + 1
            yield from _lines(item, (*path, number), seen)


_ADVICE = (
    ("cannot start any token", "indent with spaces, not tabs, and put odd texts in quotes"),
    ("mapping values are not allowed", "put a text that contains ': ' in quotes, and indent alike"),
    ("could not find expected ':'", "write `key: value`, with a blank after the colon"),
    ("expected <block end>", "lines of one level have to begin in the same column"),
    ("found another document", "one file describes one stream; remove what follows ---"),
    ("determine a constructor", "tags (!name) are not read; write the value plainly"),
    ("undefined alias", "put a text that begins with * in quotes"),
    ("end of stream", "a quote or bracket is not closed"),
)


def _in_plain_words(error: yaml.MarkedYAMLError) -> str:
    """Return what is wrong and what to write instead."""
    said = f"{error.context or ''} {error.problem or ''}"
    advice = next((advice for part, advice in _ADVICE if part in said), "check the line")
    problem = (error.problem or error.context or "not YAML").strip()
    return f"not readable as YAML ({problem}); {advice}"
