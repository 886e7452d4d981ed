"""Arrays in PostgreSQL's binary format, for statements that run a thousand times a second.

Belongs here: bytes. psycopg's own adaptation looks at every element of a list, which costs more
than the server's work on it.
"""

import struct
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from psycopg.adapt import Dumper
from psycopg.pq import Format

#: Identifiers of element and array, and how NumPy writes an element of fixed length.
_ELEMENTS: Final = {
    "bytea": (17, 1001, ""),
    "int8": (20, 1016, ">i8"),
    "int2": (21, 1005, ">i2"),
    "text": (25, 1009, ""),
    "float8": (701, 1022, ">f8"),
    "timestamptz": (1184, 1185, ">i8"),
    "uuid": (2950, 2951, "V16"),
}
_EPOCH_US: Final = 946_684_800_000_000  # 2000-01-01, from which PostgreSQL counts
NULL: Final = b"\xff\xff\xff\xff"
_LENGTH: Final = struct.Struct(">i")


class Encoded(NamedTuple):
    """A parameter that is in PostgreSQL's binary format already."""

    oid: int
    data: bytes


class _EncodedDumper(Dumper):
    format = Format.BINARY

    def __init__(self, cls: type, context: Any = None, oid: int = 0) -> None:
        super().__init__(cls, context)
        self.oid = oid

    # The names of the arguments are psycopg's.
    def get_key(self, obj: Any, format: Any) -> Any:  # noqa: A002, ARG002
        return (self.cls, obj.oid)

    def upgrade(self, obj: Any, format: Any) -> Dumper:  # noqa: A002, ARG002
        return _EncodedDumper(self.cls, oid=obj.oid)

    def dump(self, obj: Any) -> bytes:
        return bytes(obj.data)


def register(connection: Any) -> None:
    """Make a connection take :class:`Encoded` parameters."""
    connection.adapters.register_dumper(Encoded, _EncodedDumper)


def fixed_array(kind: str, elements: Any) -> Encoded:
    """Return an array of a type whose elements have one length.

    Parameters
    ----------
    kind
        ``int8``, ``int2``, ``float8``, ``timestamptz`` or ``uuid``.
    elements
        (n,) numbers, of times microseconds since 1970; of ids the bytes of all.
    """
    element, oid, written = _ELEMENTS[kind]
    if kind == "uuid":
        elements = np.frombuffer(elements, dtype=written)
    elif kind == "timestamptz":
        elements = np.asarray(elements) - _EPOCH_US
    size = len(elements)
    value = np.dtype(written)
    cells = np.empty(size, dtype=[("length", ">i4"), ("value", value)])
    cells["length"] = value.itemsize
    cells["value"] = elements
    return Encoded(oid, _header(element, size) + cells.tobytes())


def cell_array(cells: Sequence[bytes]) -> Encoded:
    """Return a ``text[]`` of texts as `text_cell` writes them."""
    element, oid, _ = _ELEMENTS["text"]
    return Encoded(oid, _header(element, len(cells)) + b"".join(cells))


def text_array(texts: Sequence[bytes], kind: str) -> Encoded:
    """Return an array of a type whose elements are bytes of any length."""
    element, oid, _ = _ELEMENTS[kind]
    cells = [_LENGTH.pack(len(text)) + text for text in texts]
    return Encoded(oid, _header(element, len(texts)) + b"".join(cells))


def _header(element: int, size: int) -> bytes:
    if size == 0:
        return struct.pack(">iiI", 0, 0, element)
    return struct.pack(">iiIii", 1, 0, element, size, 1)


def text_cell(text: str) -> bytes:
    """Return a text as arrays have it, behind its length."""
    data = text.encode("utf-8")
    return _LENGTH.pack(len(data)) + data
