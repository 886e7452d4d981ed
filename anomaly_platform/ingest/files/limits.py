"""How much a file may ask of the machine, and how one that asks for more is refused.

Here belong the limits that every format shares, and messages that name the limit and the setting
that moves it. A file is small on disk and large inside when it is compressed, or when its format
writes equal values once: its size on disk shows none of these limits.
"""

from dataclasses import dataclass


class UnreadableFile(Exception):  # noqa: N818 - the name says what the file is
    """A file of which no row can be trusted; the text says why and what to do.

    Whatever was read from the file before this was raised must be discarded: none of its rows may
    be kept. (Rows that are broken in a file that is fine are rejects, not this.)
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class ReadLimits:
    """How much a file may ask of the machine.

    Parameters
    ----------
    max_bytes
        The largest file, decompressed and decoded (`ANOMALY_FILE_MAX_BYTES`).
    max_rows
        The most rows (`ANOMALY_FILE_MAX_ROWS`).
    max_columns
        The most columns; keys, for JSON (`ANOMALY_FILE_MAX_COLUMNS`).
    max_cell_bytes
        The longest cell, as UTF-8 (`ANOMALY_FILE_MAX_CELL_BYTES`).
    max_ratio
        How many times its size a gzip file may unpack to; measured from `ratio_from_bytes` on,
        because a small file of equal lines may well shrink a thousandfold.
    ratio_from_bytes
        Below this decompressed size the ratio is not looked at.
    max_line_bytes
        The longest line or record.
    max_document_bytes
        The largest JSON document that must be held in memory as a whole (columns of lists, single
        objects); lists of records and JSON Lines are not limited by it.
    """

    max_bytes: int = 4 << 30
    max_rows: int = 50_000_000
    max_columns: int = 2_000
    max_cell_bytes: int = 1 << 20
    max_ratio: int = 400
    ratio_from_bytes: int = 256 << 20
    max_line_bytes: int = 64 << 20
    max_document_bytes: int = 64 << 20


def too_large(limits: ReadLimits) -> UnreadableFile:
    """Return the refusal of a file that is too large unpacked."""
    return UnreadableFile(
        f"the file has more than {limits.max_bytes:,} bytes unpacked (ANOMALY_FILE_MAX_BYTES);"
        " split it"
    )


def too_many_rows(limits: ReadLimits) -> UnreadableFile:
    """Return the refusal of a file with too many rows."""
    return UnreadableFile(
        f"the file has more than {limits.max_rows:,} rows (ANOMALY_FILE_MAX_ROWS); split it"
    )


def too_many_columns(columns: int, limits: ReadLimits) -> UnreadableFile:
    """Return the refusal of a file with too many columns."""
    return UnreadableFile(
        f"the file has {columns:,} columns; at most {limits.max_columns:,} are read"
        " (ANOMALY_FILE_MAX_COLUMNS)"
    )


def too_long_cell(column: str, limits: ReadLimits) -> UnreadableFile:
    """Return the refusal of a file with a cell that is too long."""
    return UnreadableFile(
        f"a cell of the column {column[:80]!r} has more than {limits.max_cell_bytes:,} bytes"
        " (ANOMALY_FILE_MAX_CELL_BYTES)"
    )


def refuse_long_lines(text: bytes, limits: ReadLimits) -> None:
    """Refuse a text with a line that is too long."""
    if len(text) > limits.max_line_bytes and (
        max(map(len, text.split(b"\n"))) > limits.max_line_bytes
    ):
        raise UnreadableFile(f"a line has more than {limits.max_line_bytes:,} bytes")
