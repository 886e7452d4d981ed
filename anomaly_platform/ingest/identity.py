"""Ids of events that come without one.

Here belongs how an id is derived from an event's natural key: always the same for the same key, in
batch and one at a time, fast for a million rows. Ids that senders give are checked in `cells`.

A derived id is a UUID of version 8 (RFC 9562: custom content). Its 128 bits are the MD5 of the
parts of the key other than the time, of which a column has few different ones, mixed with the time
in microseconds by SplitMix64 (Steele, Lea and Flood, 2014), which is a bijection: within a series
two times never share an id.
"""

import hashlib
import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Final
from uuid import UUID

import numpy as np
import numpy.typing as npt
import polars as pl

DERIVED_VERSION: Final = 8
"""Of derived ids; readings that come one by one may have no other ids of it."""

#: Shown to whoever sends an id of another kind.
NOT_A_UUID: Final = "the event id is not a UUID such as 6f1c2a34-9d0e-4c1b-8a7e-2f5b3c4d5e6f"
#: Shown to whoever sends an id that may be, or become, that of another reading.
NOT_DERIVED: Final = (
    "an event id of version 8 has to be the one that follows from entity, metric and time, and "
    "this one does not: make one of another version, such as 4, or leave event_id out"
)

_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_SECOND: Final = np.uint64(0xD1B54A32D192ED03)
#: The two hexadecimal digits of each byte, as one word, and the four of each two bytes.
_HEX: Final = np.frombuffer("".join(f"{byte:02x}" for byte in range(256)).encode(), dtype=np.uint16)
_HEX_OF_TWO: Final = _HEX[np.arange(1 << 16, dtype=np.uint16).view(np.uint8)].view(np.uint32)
#: The five groups of digits, side by side and among the 36 characters.
_NAMES, _SIZES = ("a", "b", "c", "d", "e"), ("V8", "V4", "V4", "V4", "V12")
_DIGITS: Final = np.dtype(list(zip(_NAMES, _SIZES, strict=True)))
_TEXT: Final = np.dtype(
    {"names": _NAMES, "formats": _SIZES, "offsets": (0, 9, 14, 19, 24), "itemsize": 36}
)
#: Ids that are made at once: what they are made of stays near the processor.
_BLOCK: Final = 32_768
#: Rows of one key beside each other, on average, from which on they are taken as a run.
_LONG_RUN: Final = 4

_TWO_WORDS: Final = struct.Struct(">QQ")

_Words = npt.NDArray[np.uint64]


def derive_event_ids(frame: pl.DataFrame, key: list[str]) -> pl.Series:
    """Derive the ids of events from their natural keys.

    Parameters
    ----------
    frame
        Has ``event_time`` (``Datetime('us', 'UTC')``, no nulls) and the columns of `key`.
    key
        The text columns that make up the natural key together with the time, in a fixed order. A
        missing part differs from an empty one.

    Returns
    -------
    pl.Series
        Text, shape (n,), named ``event_id``: lower-case UUIDs with hyphens.
    """
    if frame.is_empty():
        return pl.Series("event_id", [], dtype=pl.String)
    parts = frame.select(key)
    runs = parts.select(pl.struct(key).rle_id().cast(pl.Int64)).to_series()
    if int(runs[-1]) < len(runs) // _LONG_RUN:
        # In order of the key, as a day's events are.
        groups = parts.filter(runs.diff().fill_null(1) > 0)
    else:
        runs = parts.select(pl.struct(key).rank("dense").cast(pl.Int64) - 1).to_series()
        groups = parts.with_columns(runs.alias("__group")).unique(subset="__group", keep="any")
        groups = groups.sort("__group").drop("__group")
    digests = np.frombuffer(b"".join(map(_digest, groups.iter_rows())), dtype=">u8").reshape(-1, 2)
    times = frame["event_time"].dt.epoch("us").to_numpy().view(np.uint64)
    return _uuids(digests.astype(np.uint64), runs.to_numpy(), times)


def derived_ids(keys: Sequence[tuple[str, str]], times: Sequence[int]) -> list[UUID]:
    """Derive the ids of readings that come one by one; the same as in `derive_event_ids`.

    Parameters
    ----------
    keys
        Entity and metric of each.
    times
        Microseconds since 1970.
    """
    digests = np.array([digest_of_series(key) for key in keys], dtype=np.uint64).reshape(-1, 2)
    moments = np.array(times, dtype=np.int64).view(np.uint64)
    octets = _octets(digests[:, 0], digests[:, 1], moments).tobytes()
    return [UUID(bytes=octets[at : at + 16]) for at in range(0, len(octets), 16)]


def foreign_ids(
    event_ids: Sequence[UUID | None], keys: Sequence[tuple[str, str]], times: Sequence[int]
) -> list[int]:
    """Return the places of ids that look as if derived, and are not derived of their readings.

    Parameters
    ----------
    event_ids
        What senders gave, None where nothing.
    keys, times
        As of `derived_ids`, of the same readings.
    """
    found = [n for n, one in enumerate(event_ids) if one and one.version == DERIVED_VERSION]
    if not found:
        return []
    derived = derived_ids([keys[n] for n in found], [times[n] for n in found])
    return [n for n, one in zip(found, derived, strict=True) if event_ids[n] != one]


@lru_cache(maxsize=65_536)
def digest_of_series(key: tuple[str, str]) -> tuple[int, int]:
    """Return what ids of a series' readings have in common, as two words."""
    return _TWO_WORDS.unpack(_digest(key))


def _digest(parts: tuple[str | None, ...]) -> bytes:
    text = "".join("-" if part is None else f"{len(part)}:{part}" for part in parts)
    return hashlib.md5(text.encode("utf-8"), usedforsecurity=False).digest()


def _mix(words: _Words) -> _Words:
    """Return SplitMix64's finaliser of each word."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def _octets(high: _Words, low: _Words, times: _Words) -> npt.NDArray[np.uint8]:
    """Return the (n, 16) bytes of ids."""
    words = np.empty((2, times.size), dtype=np.uint64)
    words[0], words[1] = high + times * _GOLDEN, low ^ (times * _SECOND)
    # In one order of bytes, one id after the other.
    octets = np.ascontiguousarray(_mix(words).T.astype(">u8")).view(np.uint8)
    octets[:, 6] = (octets[:, 6] & 0x0F) | 0x80
    octets[:, 8] = (octets[:, 8] & 0x3F) | 0x80
    return octets


def _uuids(digests: _Words, rows: npt.NDArray[np.int64], times: _Words) -> pl.Series:
    """Make ids, as text, of times and of the digests in these rows."""
    import pyarrow as pa

    text = np.empty((len(times), 36), dtype=np.uint8)
    for first in range(0, len(times), _BLOCK):
        block = slice(first, first + _BLOCK)
        words = digests[rows[block]]
        text[block] = _text(_octets(words[:, 0], words[:, 1], times[block]))
    offsets = np.arange(0, text.size + 1, 36, dtype=np.int64)
    array = pa.LargeStringArray.from_buffers(len(text), pa.py_buffer(offsets), pa.py_buffer(text))
    return pl.Series("event_id", array, dtype=pl.String)


def _text(octets: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return the (n, 36) characters of (n, 16) bytes of ids."""
    digits = _HEX_OF_TWO[octets.view(np.uint16)].view(_DIGITS)
    text = np.full((len(octets), 36), ord("-"), dtype=np.uint8)
    groups = text.view(_TEXT)
    for name in _NAMES:
        groups[name] = digits[name]
    return text


def is_uuid(text: str) -> bool:
    """Tell whether a text is a UUID in one of its two common notations."""
    try:
        UUID(text)
    except ValueError:
        return False
    return len(text) in {32, 36}
