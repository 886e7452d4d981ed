"""Ids of readings that come together: made, and written as text, in a compiled pass each.

Belongs here: what `identity` does of a million rows by some thirty steps of NumPy, each of which
takes longer than a hundred rows. What an id is made of is decided there; a test holds the two
together.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from numba import types

from anomaly_platform.ml.compiled import compiled

_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_SECOND: Final = np.uint64(0xD1B54A32D192ED03)
_FIRST_FACTOR: Final = np.uint64(0xBF58476D1CE4E5B9)
_SECOND_FACTOR: Final = np.uint64(0x94D049BB133111EB)
_DIGITS: Final = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)
#: Bytes of an id behind which a hyphen stands in its text.
_ENDS: Final = (3, 5, 7, 9)
_HYPHEN: Final = ord("-")
_OCTETS: Final = types.Array(types.uint8, 1, "C", readonly=True)
_INTS: Final = types.int64[::1]


@compiled(types.uint64(types.uint64))
def _mix(word: Any) -> Any:  # pragma: no cover
    """Return SplitMix64's finaliser of a word."""
    word = (word ^ (word >> np.uint64(30))) * _FIRST_FACTOR
    word = (word ^ (word >> np.uint64(27))) * _SECOND_FACTOR
    return word ^ (word >> np.uint64(31))


@compiled(types.void(types.uint64[:, ::1], _INTS, _INTS, types.uint8[:, ::1]))
def _write_octets(digests: Any, places: Any, times: Any, out: Any) -> None:  # pragma: no cover
    for n in range(times.size):
        time = np.uint64(times[n])
        high = _mix(digests[places[n], 0] + time * _GOLDEN)
        low = _mix(digests[places[n], 1] ^ (time * _SECOND))
        for at in range(8):
            shift = np.uint64(56 - 8 * at)
            out[n, at] = (high >> shift) & np.uint64(0xFF)
            out[n, 8 + at] = (low >> shift) & np.uint64(0xFF)
        out[n, 6] = (out[n, 6] & 0x0F) | 0x80
        out[n, 8] = (out[n, 8] & 0x3F) | 0x80


@compiled(types.void(_OCTETS, types.uint8[::1]))
def _write_text(octets: Any, out: Any) -> None:  # pragma: no cover
    to = 0
    for start in range(0, octets.size, 16):
        for at in range(16):
            octet = octets[start + at]
            out[to], out[to + 1] = _DIGITS[octet >> 4], _DIGITS[octet & 0x0F]
            to += 2
            if at in _ENDS:
                out[to] = _HYPHEN
                to += 1


def octets_at(
    digests: npt.NDArray[np.uint64], places: npt.NDArray[np.int64], times: npt.NDArray[np.int64]
) -> bytes:
    """Return the (16 n,) bytes of readings' ids.

    Parameters
    ----------
    digests
        (series, 2) what the ids of each series' readings are made of (`digest_of_series`).
    places, times
        (n,) whose each reading is; microseconds since 1970.
    """
    out = np.empty((times.size, 16), dtype=np.uint8)
    _write_octets(digests, places, times, out)
    return out.tobytes()


def id_texts(octets: bytes) -> list[str]:
    """Return ids, given as (16 n,) bytes, as text: lower-case UUIDs with hyphens.

    Examples
    --------
    >>> id_texts(bytes(range(16)))
    ['00010203-0405-0607-0809-0a0b0c0d0e0f']
    """
    out = np.empty(len(octets) // 16 * 36, dtype=np.uint8)
    _write_text(np.frombuffer(octets, dtype=np.uint8), out)
    text = out.tobytes().decode("ascii")
    return [text[at : at + 36] for at in range(0, len(text), 36)]
