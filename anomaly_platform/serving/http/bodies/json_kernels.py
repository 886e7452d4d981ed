"""The compiled pass over a document's bytes; ``json_scan`` says what it is for.

Belongs here: loops over bytes, without the interpreter's lock. Nothing in here trusts the document:
numba checks no index.
"""

from typing import Any, Final

import numpy as np
from numba import types

from anomaly_platform.ml.compiled import compiled

FINE, DEEP, MANY, TWICE, LONG = range(5)

#: Names in one object up to which each is compared with each, which is faster than sorting.
_FEW: Final = 32
_LEVELS: Final = 64
#: Rows lie in the outer levels; what lies deeper describes one of them.
_OUTER, _MOST_DEEPER = 2, 1_000
#: FNV-1a: who finds two names that look alike here has a document of his own refused.
_OFFSET: Final = np.uint64(0xCBF29CE484222325)
_PRIME: Final = np.uint64(0x100000001B3)

_DOCUMENT: Final = types.Array(types.uint8, 1, "C", readonly=True)
_FAULT: Final = types.UniTuple(types.int64, 3)  # type: ignore[no-untyped-call]
_HASHES: Final = types.uint64[::1]
_QUOTE, _BACKSLASH, _COMMA, _LETTER_U = (ord(one) for one in '"\\,u')
_IS_MARK: Final = np.array([chr(byte) in '"[]{},' for byte in range(256)])
_OPEN_ARRAY, _CLOSE_ARRAY, _OPEN_OBJECT, _CLOSE_OBJECT = (ord(one) for one in "[]{}")


@compiled(types.int64(_DOCUMENT, types.int64))
def _next_mark(document: Any, at: int) -> int:
    """Return where the next byte is that is not part of a number, a word or white space."""
    while at < document.size and not _IS_MARK[document[at]]:
        at += 1
    return at


@compiled(types.int64(_DOCUMENT, types.int64))
def _end_of_text(document: Any, at: int) -> int:
    """Return where the text ends that begins behind a quote: behind its last quote, or the end."""
    while at < document.size:
        byte = document[at]
        if byte == _QUOTE:
            return at + 1
        at += 2 if byte == _BACKSLASH else 1
    return int(document.size)


@compiled(types.int64(_DOCUMENT, types.int64))
def _unit(document: Any, at: int) -> int:
    """Return the UTF-16 unit of an escape that begins there; -1 where none does."""
    if at + 6 > document.size or document[at] != _BACKSLASH or document[at + 1] != _LETTER_U:
        return -1
    found = 0
    for place in range(at + 2, at + 6):
        digit = document[place]
        if 48 <= digit <= 57:
            found = found * 16 + digit - 48
        elif 97 <= digit <= 102 or 65 <= digit <= 70:
            found = found * 16 + (digit | 32) - 87
        else:
            return -1
    return found


@compiled(types.uint64(types.uint64, types.int64))
def _with_byte(hashed: Any, byte: int) -> Any:
    return (hashed ^ np.uint64(byte)) * _PRIME


@compiled(types.uint64(types.uint64, types.int64))
def _with_code(hashed: Any, code: int) -> Any:
    """Take a character in, as UTF-8 has it."""
    if code < 0x80:
        return _with_byte(hashed, code)
    if code < 0x800:
        hashed = _with_byte(hashed, 0xC0 | code >> 6)
    elif code < 0x10000:
        hashed = _with_byte(hashed, 0xE0 | code >> 12)
        hashed = _with_byte(hashed, 0x80 | code >> 6 & 0x3F)
    else:
        hashed = _with_byte(hashed, 0xF0 | code >> 18)
        hashed = _with_byte(hashed, 0x80 | code >> 12 & 0x3F)
        hashed = _with_byte(hashed, 0x80 | code >> 6 & 0x3F)
    return _with_byte(hashed, 0x80 | code & 0x3F)


@compiled(types.int64(types.int64))
def _plain(letter: int) -> int:
    """Return the character of a short escape, such as of a line break."""
    if letter == 110:
        return 10
    if letter == 116:
        return 9
    if letter == 114:
        return 13
    if letter == 98:
        return 8
    if letter == 102:
        return 12
    return letter


@compiled(types.uint64(_DOCUMENT, types.int64, types.int64))
def _hash(document: Any, at: int, end: int) -> Any:
    """Return a hash of a text, the same however its characters are written."""
    hashed = _OFFSET
    while at < end:
        byte = document[at]
        if byte != _BACKSLASH:
            hashed = _with_byte(hashed, byte)
            at += 1
            continue
        code = _unit(document, at)
        if code < 0:
            if at + 1 < end:
                hashed = _with_byte(hashed, _plain(document[at + 1]))
            at += 2
            continue
        at += 6
        low = _unit(document, at)
        if 0xD800 <= code < 0xDC00 and 0xDC00 <= low < 0xE000:
            code = 0x10000 + ((code - 0xD800) << 10) + low - 0xDC00
            at += 6
        hashed = _with_code(hashed, code)
    return hashed


@compiled(types.int64(_HASHES, types.int64, types.int64))
def _again(hashes: Any, low: int, high: int) -> int:
    """Return the place of the first name of an object that was there before; -1 if there is none.

    An object's names lie in ``hashes`` from ``low`` to ``high``.
    """
    if high - low <= _FEW:
        for later in range(low + 1, high):
            for earlier in range(low, later):
                if hashes[earlier] == hashes[later]:
                    return later
        return -1
    ordered = np.sort(hashes[low:high])
    for place in range(1, ordered.size):
        if ordered[place] == ordered[place - 1]:
            seen = False
            for later in range(low, high):
                if hashes[later] == ordered[place]:
                    if seen:
                        return later
                    seen = True
    return -1


@compiled(types.uint64[::1](types.uint64[::1]))
def _longer(numbers: Any) -> Any:
    more = np.empty(2 * numbers.size, np.uint64)
    more[: numbers.size] = numbers
    return more


@compiled(_FAULT(_DOCUMENT, types.int64, types.int64, types.int64, types.int64))
def first_fault(  # noqa: C901, PLR0912, PLR0915 - one loop over all of its state
    document: Any, deepest: int, most_in_one: int, most_values: int, longest: int
) -> tuple[int, int, int]:
    """Return the first fault, and where the name that it is about begins and ends.

    Parameters
    ----------
    document
        Its bytes.
    deepest
        Levels that it may have, 63 at most.
    most_in_one
        Elements that an array, and members that an object, may have: a thousand at most from the
        third level on.
    most_values
        Values that it may have in all.
    longest
        Bytes that a text, and what lies between two marks, may have.
    """
    is_object = np.zeros(_LEVELS, np.bool_)
    elements = np.zeros(_LEVELS, np.int64)
    first_name = np.zeros(_LEVELS, np.int64)
    hashes, starts = np.empty(64, np.uint64), np.empty(64, np.uint64)
    depth = names = at = 0
    values = 1
    is_name = False
    while True:
        end = _next_mark(document, at)
        if end - at > longest:
            return LONG, 0, 0
        at = end
        if at >= document.size:
            break
        byte = document[at]
        at += 1
        if byte == _QUOTE:
            end = _end_of_text(document, at)
            if end - at > longest:
                return LONG, 0, 0
            if is_name:
                is_name = False
                if names == hashes.size:
                    hashes, starts = _longer(hashes), _longer(starts)
                hashes[names] = _hash(document, at, end - 1)
                starts[names] = np.uint64(at - 1)
                names += 1
            at = end
        elif byte in (_OPEN_OBJECT, _OPEN_ARRAY):
            depth += 1
            if depth > deepest:
                return DEEP, 0, 0
            is_object[depth] = is_name = byte == _OPEN_OBJECT
            elements[depth] = 1
            first_name[depth] = names
            values += 1
        elif byte == _COMMA:
            elements[depth] += 1
            values += 1
            most = most_in_one if depth <= _OUTER else min(most_in_one, _MOST_DEEPER)
            if (depth and elements[depth] > most) or values > most_values:
                return MANY, 0, 0
            is_name = is_object[depth]
        elif byte in (_CLOSE_OBJECT, _CLOSE_ARRAY):
            if depth == 0:
                # No JSON: the parser says where it ends to be any.
                break
            if is_object[depth]:
                found = _again(hashes, first_name[depth], names)
                if found >= 0:
                    start = int(starts[found])
                    return TWICE, start, _end_of_text(document, start + 1)
            names = first_name[depth]
            depth -= 1
            if depth == 0:
                break
            is_name = False
    return FINE, 0, 0


@compiled(types.int64[::1](_DOCUMENT, types.uint64, types.int64))
def cuts_of(  # noqa: C901, PLR0912 - as above
    document: Any, name: Any, every: int
) -> Any:
    """Return where an array of the outermost object may be cut into pieces.

    The first number is where its first element begins, the last where its bracket closes, and those
    between are commas, each so many elements after the one before. Nothing where there is no such
    array. The document has no other fault than that it may be no JSON.

    Parameters
    ----------
    document
        Its bytes.
    name
        Hash of the member's name.
    every
        Elements of a piece.
    """
    cuts = np.empty(2 + document.size // every, np.int64)
    found = depth = elements = at = 0
    is_name = is_it = is_inside = False
    while True:
        at = _next_mark(document, at)
        if at >= document.size:
            break
        byte = document[at]
        at += 1
        if byte == _QUOTE:
            end = _end_of_text(document, at)
            if depth == 1 and is_name:
                is_it = _hash(document, at, end - 1) == name
                is_name = False
            at = end
        elif byte in (_OPEN_OBJECT, _OPEN_ARRAY):
            depth += 1
            if depth == 1:
                is_name = byte == _OPEN_OBJECT
            elif depth == 2 and is_it and byte == _OPEN_ARRAY:
                is_inside = True
                cuts[0] = at
                found = 1
        elif byte == _COMMA:
            if depth == 1:
                is_name, is_it = True, False
            elif depth == 2 and is_inside:
                elements += 1
                if elements % every == 0:
                    cuts[found] = at - 1
                    found += 1
        elif byte in (_CLOSE_OBJECT, _CLOSE_ARRAY):
            if depth == 2 and is_inside:
                cuts[found] = at - 1
                return cuts[: found + 1].copy()
            depth -= 1
            if depth <= 0:
                break
    return cuts[:0].copy()


@compiled(types.uint64(_DOCUMENT))
def hash_of(text: Any) -> Any:
    """Return the hash of a name as it stands between its quotes."""
    return _hash(text, 0, text.size)
