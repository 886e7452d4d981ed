"""YAML text to plain values, and the line on which each of them stands.

What belongs here: the YAML that a stream's file may be written in, a harmless part of the whole:
mappings, lists, texts, numbers, dates. What the keys mean is in ``stream_document``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from anomaly_platform.streams.yaml_advice import advise, missing_blank

#: A stream's file is a page long; whatever is larger is something else.
LARGEST_BYTES = 64 * 1024
#: Levels of lists and mappings; a stream's file has two.
DEEPEST = 20

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
    value_lines : mapping of key path to int
        The line on which each of their values begins.
    """

    values: Mapping[str, Any]
    lines: Mapping[KeyPath, int]
    value_lines: Mapping[KeyPath, int]

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
    if len(content) > LARGEST_BYTES:
        raise NotReadableError(1, f"the file is larger than {LARGEST_BYTES:,} bytes")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise NotReadableError(line, "the file is not UTF-8; save it as UTF-8 text") from None
    lines: dict[KeyPath, int] = {}
    try:
        depth = 0
        for event in yaml.parse(text, yaml.SafeLoader):
            line = 1 if event.start_mark is None else event.start_mark.line + 1
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                # Composing recurses; a text must not decide how deep.
                raise NotReadableError(line, "brackets within brackets without end")
            if isinstance(event, yaml.AliasEvent):
                message = f"aliases (*{event.anchor}) are not read; write it out"
                raise NotReadableError(line, message)
        root = yaml.compose(text, yaml.SafeLoader)
        if root is None:
            raise NotReadableError(1, "the file is empty; write at least name and frequency")
        lines[()] = root.start_mark.line + 1
        if not isinstance(root, yaml.MappingNode):
            advice = missing_blank(text.splitlines()[lines[()] - 1])
            wanted = "expected lines of the form `key: value`"
            raise NotReadableError(lines[()], advice or wanted)
        value_lines: dict[KeyPath, int] = {}
        values = _value(root, (), lines, value_lines, yaml.SafeLoader(""))
        return YamlDocument(values, lines, value_lines)
    except yaml.MarkedYAMLError as error:
        raise NotReadableError(*advise(text, error)) from None
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise NotReadableError(line, "a control character; keep to plain text") from None


def _value(
    node: yaml.Node,
    path: KeyPath,
    lines: dict[KeyPath, int],
    value_lines: dict[KeyPath, int],
    loader: yaml.SafeLoader,
) -> Any:
    """Return a node as plain Python and enter the lines of what is below it."""
    value_lines[path] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        found = {}
        for key_node, value in node.value:
            key = _key(key_node)
            line = key_node.start_mark.line + 1
            if key in found:
                raise NotReadableError(line, f"{key!r} stands here a second time; remove one")
            lines[*path, key] = line
            found[key] = _value(value, (*path, key), lines, value_lines, loader)
        return found
    if isinstance(node, yaml.SequenceNode):
        items = []
        for number, item in enumerate(node.value):
            lines[*path, number] = item.start_mark.line + 1
            items.append(_value(item, (*path, number), lines, value_lines, loader))
        return items
    try:
        return loader.construct_object(node)
    except (ValueError, OverflowError):
        # What looks like a date or number to YAML and is none, such as 2026-02-31, is a text: who
        # expects a date there says so, beside all else that is wrong.
        return node.value


def _key(node: yaml.Node) -> str:
    line = node.start_mark.line + 1
    if not isinstance(node.value, str) or node.tag.endswith(":merge"):
        raise NotReadableError(line, "expected a plain word as the key")
    if not node.tag.endswith(":str"):
        raise NotReadableError(line, f"{node.value} is no key; keys are words")
    return node.value
