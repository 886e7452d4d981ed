"""PostgreSQL's binary format, for statements that run a thousand times a second.

Belongs here: bytes, and statements that take bytes. psycopg's own adaptation looks at every element
of a list, and at every argument anew, which costs more than the server's work on it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, LiteralString, NamedTuple

import numpy as np
from psycopg import errors, generators
from psycopg.adapt import Dumper
from psycopg.pq import DiagnosticField, ExecStatus, Format

if TYPE_CHECKING:
    from anomaly_platform.storage.postgres.transactions import Connection

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
#: An element behind its length, and as a column has it, by kind.
_CELLS: Final = {
    kind: (
        np.dtype([("length", ">i4"), ("value", written.replace("f", "i"))]),
        np.dtype(written.lstrip(">").replace("f", "i")),
    )
    for kind, (_, _, written) in _ELEMENTS.items()
    if written
}
_EPOCH_US: Final = 946_684_800_000_000  # 2000-01-01, from which PostgreSQL counts
_IS_PREPARED: Final = b"42P05"
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
    if kind == "uuid":
        elements = np.frombuffer(elements, "V16")
    else:
        elements = np.asarray(elements, np.float64 if kind == "float8" else np.int64)
    (array,) = fixed_arrays((kind, elements))
    return array


def fixed_arrays(*columns: tuple[str, Any]) -> list[Encoded]:
    """Return arrays of the same number of elements, of types whose elements have the same length.

    Parameters
    ----------
    *columns
        Each a kind and its elements, as of `fixed_array`; of ids an array.
    """
    size, (cell, native) = len(columns[0][1]), _CELLS[columns[0][0]]
    values = np.empty((len(columns), size), dtype=native)
    for n, (kind, elements) in enumerate(columns):
        if kind == "timestamptz":
            np.subtract(elements, _EPOCH_US, out=values[n])
        else:
            values[n] = elements.view(native) if kind == "float8" else elements
    cells = np.empty(values.shape, dtype=cell)
    cells["length"], cells["value"] = native.itemsize, values
    data, length = cells.tobytes(), size * cell.itemsize
    arrays = []
    for n, (kind, _) in enumerate(columns):
        element, oid, _ = _ELEMENTS[kind]
        cut = data[n * length : (n + 1) * length]
        arrays.append(Encoded(oid, _header(element, size) + cut))
    return arrays


def cell_array(cells: Sequence[bytes]) -> Encoded:
    """Return a ``text[]`` of texts as `text_cell` writes them."""
    element, oid, _ = _ELEMENTS["text"]
    return Encoded(oid, _header(element, len(cells)) + b"".join(cells))


def text_array(texts: Sequence[bytes], kind: str) -> Encoded:
    """Return an array of a type whose elements are bytes of any length."""
    element, oid, _ = _ELEMENTS[kind]
    cells = [_LENGTH.pack(len(text)) + text for text in texts]
    return Encoded(oid, _header(element, len(texts)) + b"".join(cells))


def prepare(connection: Connection, name: str, statement: LiteralString) -> None:
    """Prepare a statement with arguments $1, $2, …, unless it is, for :func:`run_prepared`."""
    result = connection.pgconn.prepare(name.encode(), statement.encode())
    is_known = result.error_field(DiagnosticField.SQLSTATE) == _IS_PREPARED
    if result.status != ExecStatus.COMMAND_OK and not is_known:
        raise errors.error_from_result(result)


def run_prepared(
    connection: Connection,
    name: str,
    arguments: Sequence[bytes | None],
    meanwhile: Callable[[], None],
) -> None:
    """Run a prepared statement, of whose result nothing is needed.

    Parameters
    ----------
    connection : psycopg.Connection
        Of this thread alone.
    name
        Of the statement (:func:`prepare`).
    arguments
        In PostgreSQL's binary format.
    meanwhile
        Is called while the server works.
    """
    wire = connection.pgconn
    formats = [Format.BINARY] * len(arguments)
    wire.send_query_prepared(name.encode(), arguments, param_formats=formats)
    wire.flush()
    try:
        meanwhile()
    finally:
        results = connection.wait(generators.execute(wire))
    if results[-1].status != ExecStatus.TUPLES_OK:
        raise errors.error_from_result(results[-1])


def _header(element: int, size: int) -> bytes:
    if size == 0:
        return struct.pack(">iiI", 0, 0, element)
    return struct.pack(">iiIii", 1, 0, element, size, 1)


def text_cell(text: str) -> bytes:
    """Return a text as arrays have it, behind its length."""
    data = text.encode("utf-8")
    return _LENGTH.pack(len(data)) + data
