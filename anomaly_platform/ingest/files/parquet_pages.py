"""What reading a Parquet file would ask of the machine, found without decoding its values.

Here belongs the walk from page header to page header. Neither the size of a file nor its footer
says how much it holds: equal values take a bit or nothing each, and the footer counts them encoded.
The headers say how many values a page has and how large it is unpacked; with the longest entry of
each dictionary they bound what a row can take, and so how many rows may be decoded at once. Where
column chunks are, the footer's own bytes say: asked for one of a damaged footer, pyarrow ends the
process.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, Final

from anomaly_platform.ingest.files.limits import (
    ReadLimits,
    UnreadableFile,
    too_large,
    too_long_cell,
)

#: Bytes of values that are decoded at once, as far as pages do not ask for more.
DECODED_AT_ONCE: Final = 32 << 20
#: Pages, dictionaries and lists that have to be in memory at the same time.
_HELD_AT_ONCE: Final = 2 << 30
_LONGEST_FOOTER: Final = 32 << 20
_MOST_PAGES: Final = 1_000_000
_HEADER: Final = 1 << 14
_LONGEST_HEADER: Final = 16 << 20
_DEEPEST: Final = 8
_MOST_STRUCTS: Final = 2_000_000

_DATA, _DICTIONARY, _DATA_V2 = 0, 2, 3
_BY_DICTIONARY: Final = frozenset((2, 8))
#: Encodings of texts that write each out: a page of them holds no more than its size.
_WRITTEN_OUT: Final = frozenset((0, 6))
_KINDS: Final = (
    *("BOOLEAN", "INT32", "INT64", "INT96", "FLOAT", "DOUBLE"),
    *("BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY"),
)
_CODECS: Final = ("", "snappy", "gzip", "lzo", "brotli", "lz4", "zstd", "lz4_raw")
_WIDTHS: Final = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, "INT64": 8, "DOUBLE": 8, "INT96": 8}
#: A value of a list becomes an object and its text on the way to JSON.
_LISTED: Final = 8
#: Dictionaries beyond this are bounded by their size instead of their longest entry.
_MOST_ENTRIES: Final = 1_000_000
_LARGEST_DICTIONARY: Final = 256 << 20


@dataclass(frozen=True)
class _Column:
    """A column chunk, as the footer describes it."""

    kind: str
    codec: str
    values: int
    begin: int
    end: int

    @classmethod
    def of(cls, chunk: dict[int, Any]) -> _Column:
        about = _struct(chunk, 3)
        begin, dictionary = _whole(about, 9), _whole(about, 11, 0)
        if 0 < dictionary < begin:
            begin = dictionary
        kind, codec = _whole(about, 1), _whole(about, 4)
        if not (0 <= kind < len(_KINDS) and 0 <= codec < len(_CODECS) and begin >= 0):
            raise _damaged()
        values, end = _whole(about, 5), begin + _whole(about, 7)
        return cls(_KINDS[kind], _CODECS[codec], values, begin, end)


@dataclass
class _Chunk:
    """What the pages of a column chunk can take: values a row, texts, and pages in memory."""

    row_bytes: int = 0
    held: int = 0


def refuse_long_footer(stream: IO[bytes]) -> None:
    """Refuse a file whose footer alone would take much memory, before it is read."""
    end = stream.seek(0, 2)
    stream.seek(max(end - 8, 0))
    length = int.from_bytes(stream.read(4), "little")
    if _LONGEST_FOOTER < length < end:
        raise UnreadableFile(
            f"the footer of the Parquet file has {length:,} bytes; at most {_LONGEST_FOOTER:,} are"
            " read: write fewer columns or larger row groups"
        )


def bytes_of_row(stream: IO[bytes], metadata: Any, limits: ReadLimits) -> int:
    """Walk through the headers of all pages; return the most bytes a row takes among many others.

    Parameters
    ----------
    stream
        The file, able to seek.
    metadata
        Its footer, as pyarrow gives it.
    limits
        What a file may ask of the machine.

    Raises
    ------
    UnreadableFile
        When a page header is damaged, a dictionary has a text beyond the limit, or more than fits
        would have to be in memory at once.
    """
    pages = 0
    row_bytes = decoded = 0
    for group in _row_groups(stream):
        decoded += _whole(group, 2)
        if decoded > limits.max_bytes:
            raise too_large(limits)
        chunks = []
        columns = _structs(group, 1)
        if len(columns) != metadata.num_columns:
            raise _damaged()
        for place, described in enumerate(columns):
            column = _Column.of(described)
            chunk, count = _chunk(stream, column, metadata.schema.column(place), limits)
            chunks.append(chunk)
            pages += count
            if pages > _MOST_PAGES:
                raise UnreadableFile(
                    f"the Parquet file has more than {_MOST_PAGES:,} pages; write larger pages"
                )
        held = sum(chunk.held for chunk in chunks)
        if held > _HELD_AT_ONCE:
            raise UnreadableFile(
                f"{held:,} bytes of the Parquet file's pages would have to be in memory at once; at"
                f" most {_HELD_AT_ONCE:,} are: write smaller pages and row groups"
            )
        row_bytes = max(row_bytes, sum(chunk.row_bytes for chunk in chunks))
    return row_bytes


def _row_groups(stream: IO[bytes]) -> list[dict[int, Any]]:
    """Read the footer; return what it says of each row group."""
    end = stream.seek(0, 2)
    stream.seek(max(end - 8, 0))
    length = int.from_bytes(stream.read(4), "little")
    stream.seek(max(end - 8 - length, 0))
    try:
        return _structs(_Compact(stream.read(length)).struct(), 4)
    except IndexError:
        raise _damaged() from None


def _chunk(
    stream: IO[bytes], column: _Column, schema: Any, limits: ReadLimits
) -> tuple[_Chunk, int]:
    """Return what a column chunk can take, and how many pages it has."""
    kind = column.kind
    texts = kind == "BYTE_ARRAY"
    width = 0 if texts else _WIDTHS.get(kind) or max(schema.length, 1)
    listed = schema.max_repetition_level > 0
    chunk = _Chunk(row_bytes=width)
    page_size = dictionary_size = entry = values = count = 0
    for header, body in _pages(stream, column):
        count += 1
        size = _whole(header, 2)
        if header.get(1) == _DICTIONARY:
            dictionary_size = size
            if texts:
                entry = _longest_entry(stream, header, body, column.codec)
            if entry > limits.max_cell_bytes:
                raise too_long_cell(schema.path, limits)
            continue
        version = 5 if header.get(1) == _DATA else 8
        about = _struct(header, version)
        held_values = _whole(about, 1, 0)
        values += held_values
        page_size = max(page_size, size)
        if texts and held_values:
            encoding = _whole(about, 2 if version == 5 else 4, 0)
            by_value = _text_bytes(encoding, size, held_values, entry)
            chunk.row_bytes = max(chunk.row_bytes, by_value)
    chunk.held = dictionary_size + page_size * (2 if texts else 1)
    if listed:
        # One row may have all of the values.
        chunk.held += values * (chunk.row_bytes + 4)
        chunk.row_bytes *= _LISTED * max(1, -(-values // max(column.values, 1)))
    return chunk, count


def _text_bytes(encoding: int, size: int, values: int, entry: int) -> int:
    """Return a bound on the bytes of each of a page's texts, where many stand together."""
    if encoding in _BY_DICTIONARY:
        return entry
    if encoding in _WRITTEN_OUT:
        return -(-size // values)
    return size  # a text may repeat the beginning of the one before it


def _pages(stream: IO[bytes], column: _Column) -> Iterator[tuple[dict[int, Any], int]]:
    """Yield the header of each page of a column chunk, and where its body begins."""
    at, seen = column.begin, 0
    while at < column.end and seen < column.values:
        header, length = _header_at(stream, at)
        size = _whole(header, 3)
        values = _whole(_struct(header, 5) or _struct(header, 8), 1, 0)
        if size < 0 or _whole(header, 2) < 0 or values < 0:
            raise _damaged()
        yield header, at + length
        at += length + size
        if header.get(1) in {_DATA, _DATA_V2}:
            seen += values


def _header_at(stream: IO[bytes], at: int) -> tuple[dict[int, Any], int]:
    """Read the page header that begins there; return it and its length."""
    most = _HEADER
    while True:
        stream.seek(at)
        data = stream.read(most)
        try:
            reader = _Compact(data)
            return reader.struct(), reader.at
        except IndexError:
            if len(data) < most or most >= _LONGEST_HEADER:
                raise _damaged() from None
            most *= 4


def _damaged() -> UnreadableFile:
    return UnreadableFile(
        "the Parquet file is damaged or incomplete (footer or a page header is none)"
    )


def _whole(fields: dict[int, Any], number: int, default: int | None = None) -> int:
    """Return a field that is a whole number; without a default it has to be there."""
    value = fields.get(number, default)
    if not isinstance(value, int):
        raise _damaged()
    return value


def _struct(fields: dict[int, Any], number: int) -> dict[int, Any]:
    """Return a field that is a struct, empty where there is none."""
    value = fields.get(number, {})
    if not isinstance(value, dict):
        raise _damaged()
    return value


def _structs(fields: dict[int, Any], number: int) -> list[dict[int, Any]]:
    """Return a field that is a list of structs, empty where there is none."""
    value = fields.get(number, [])
    if not isinstance(value, list):
        raise _damaged()
    return value


def _longest_entry(stream: IO[bytes], header: dict[int, Any], body: int, codec: str) -> int:
    """Return the longest text of a dictionary, or a bound on it."""
    import pyarrow as pa

    size, entries = _whole(header, 2), _whole(_struct(header, 7), 1, 0)
    if entries < 0:
        raise _damaged()
    bound = max(size - 4 * entries, 0)
    if bound <= 256 or size > _LARGEST_DICTIONARY or entries > _MOST_ENTRIES:
        return bound
    stream.seek(body)
    data = stream.read(_whole(header, 3))
    if codec:
        try:
            data = pa.decompress(data, decompressed_size=size, codec=codec, asbytes=True)
        except (pa.ArrowException, OSError, ValueError):
            return bound  # a compression that only the reader of Parquet knows, or damage
    longest = at = 0
    while at + 4 <= len(data):
        (length,) = struct.unpack_from("<I", data, at)
        longest = max(longest, length)
        at += 4 + length
    return min(longest, bound)


class _Compact:
    """Reads structs of Thrift's compact protocol: whole numbers, structs and lists of structs.

    The rest is skipped.

    Parameters
    ----------
    data
        Bytes that begin with one. `IndexError` is raised where they end too early.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._structs = 0
        self.at = 0

    def struct(self, depth: int = 0) -> dict[int, Any]:
        """Return the fields of a struct by their numbers."""
        self._structs += 1
        if depth > _DEEPEST or self._structs > _MOST_STRUCTS:
            raise _damaged()
        fields: dict[int, Any] = {}
        number = 0
        while first := self._byte():
            kind = first & 0x0F
            step = first >> 4
            number = number + step if step else self._whole()
            fields[number] = self._value(kind, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if kind in {1, 2}:
            return kind == 1
        if kind == 3:
            return self._byte()
        if kind in {4, 5, 6}:
            return self._whole()
        if kind == 12:
            return self.struct(depth + 1)
        if kind == 9:
            return self._list(depth + 1)
        if kind not in {7, 8}:
            raise _damaged()  # there are no sets and maps
        return self._skip(8 if kind == 7 else self._number())

    def _list(self, depth: int) -> list[Any] | None:
        """Return a list of structs; None for one of other values, which is skipped."""
        if depth > _DEEPEST:
            raise _damaged()
        first = self._byte()
        kind, length = first & 0x0F, first >> 4
        if length == 15:
            length = self._number()
        if kind == 12:
            return [self.struct(depth) for _ in range(length)]
        for _ in range(length):
            if kind in {1, 2}:
                self._byte()
            else:
                self._value(kind, depth)
        return None

    def _byte(self) -> int:
        byte = self._data[self.at]
        self.at += 1
        return byte

    def _number(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 63:
                raise _damaged()

    def _whole(self) -> int:
        value = self._number()
        return (value >> 1) ^ -(value & 1)

    def _skip(self, length: int) -> None:
        self.at += length
        if self.at > len(self._data):
            raise IndexError
