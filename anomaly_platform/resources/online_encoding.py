"""Arrays and rows in PostgreSQL's binary format, for statements that run a thousand times a second.

Belongs here: bytes. psycopg's own adaptation looks at every element of a list, which costs more
than the server's work on it.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from psycopg.adapt import Dumper
from psycopg.pq import Format

if TYPE_CHECKING:
    from anomaly_platform.resources.online import StoredReading

_ELEMENTS: Final = {"int8": (20, 1016), "bytea": (17, 1001)}
_EPOCH_US: Final = 946_684_800_000_000  # 2000-01-01, from which PostgreSQL counts
_SIGNATURE: Final = b"PGCOPY\n\xff\r\n\x00" + b"\x00" * 8
_END: Final = b"\xff\xff"
_NULL: Final = b"\xff\xff\xff\xff"
_LENGTH: Final = struct.Struct(">i")
_FLOAT: Final = struct.Struct(">id")
_INT4: Final = struct.Struct(">ii")
_TIME_VALUE: Final = struct.Struct(">iqid")
_ID: Final = struct.Struct(">i16s")
_BOOL: Final = {True: b"\x00\x00\x00\x01\x01", False: b"\x00\x00\x00\x01\x00", None: _NULL}


class Encoded:
    """A parameter that is in PostgreSQL's binary format already."""

    __slots__ = ("data", "oid")

    def __init__(self, oid: int, data: bytes) -> None:
        self.oid = oid
        self.data = data


class Int8Array(Encoded):
    """``bigint[]``."""


class ByteaArray(Encoded):
    """``bytea[]``."""


class _Int8Dumper(Dumper):
    format = Format.BINARY
    oid = _ELEMENTS["int8"][1]

    def dump(self, obj: Any) -> bytes:
        data: bytes = obj.data
        return data


class _ByteaDumper(_Int8Dumper):
    oid = _ELEMENTS["bytea"][1]


def register(connection: Any) -> None:
    """Make a connection take :class:`Encoded` parameters."""
    connection.adapters.register_dumper(Int8Array, _Int8Dumper)
    connection.adapters.register_dumper(ByteaArray, _ByteaDumper)


def int8_array(numbers: Sequence[int]) -> Int8Array:
    """Return a ``bigint[]``."""
    element, oid = _ELEMENTS["int8"]
    cells = np.empty(len(numbers), dtype=[("length", ">i4"), ("value", ">i8")])
    cells["length"] = 8
    cells["value"] = numbers
    return Int8Array(oid, _header(element, len(numbers)) + cells.tobytes())


def pair_array(first: Sequence[int], second: Sequence[float]) -> ByteaArray:
    """Return a ``bytea[]`` of pairs, 16 bytes each: what ``text_array`` makes of them, sooner."""
    element, oid = _ELEMENTS["bytea"]
    cells = np.empty(len(first), dtype=[("length", ">i4"), ("first", "<i8"), ("second", "<f8")])
    cells["length"] = 16
    cells["first"], cells["second"] = first, second
    return ByteaArray(oid, _header(element, len(first)) + cells.tobytes())


def text_array(texts: Sequence[bytes], kind: str) -> ByteaArray:
    """Return an array of a type whose elements are bytes of any length."""
    element, oid = _ELEMENTS[kind]
    parts = [_header(element, len(texts))]
    for text in texts:
        parts.append(_LENGTH.pack(len(text)))
        parts.append(text)
    return ByteaArray(oid, b"".join(parts))


def _header(element: int, size: int) -> bytes:
    if size == 0:
        return struct.pack(">iiI", 0, 0, element)
    return struct.pack(">iiIii", 1, 0, element, size, 1)


def reading_rows(stream: str, source: str, readings: Sequence[StoredReading]) -> bytes:
    """Return readings as COPY takes them: fifteen columns in the order of ``online._COPY``."""
    first = struct.pack(">h", 15) + _text(stream)
    origin = _text(source)
    names: dict[str, bytes] = {}
    parts = [_SIGNATURE]
    for one in readings:
        for name in (one.entity, one.metric, one.status):
            if name not in names:
                names[name] = _text(name)
        parts += (
            first,
            _ID.pack(16, one.event_id.bytes),
            names[one.entity],
            names[one.metric],
            _TIME_VALUE.pack(8, one.event_time - _EPOCH_US, 8, one.value),
            _NULL if one.metadata is None else _text(one.metadata),
            origin,
            _NULL if one.score is None else _FLOAT.pack(8, one.score),
            _NULL if one.p_value is None else _FLOAT.pack(8, one.p_value),
            _BOOL[one.is_anomaly],
            _FLOAT.pack(8, one.threshold),
            names[one.status],
            _BOOL[one.provisional],
            _NULL if one.bundle_version is None else _INT4.pack(4, one.bundle_version),
        )
    parts.append(_END)
    return b"".join(parts)


def _text(text: str) -> bytes:
    data = text.encode("utf-8")
    return _LENGTH.pack(len(data)) + data
