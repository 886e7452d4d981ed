"""What one pass over a document finds, beside what parsers find."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from anomaly_platform.serving.http.bodies.json_kernels import (
    DEEP,
    FINE,
    LONG,
    MANY,
    TWICE,
    first_fault,
)
from anomaly_platform.serving.http.bodies.json_scan import pieces_of

_NAMES = st.text('[{"\\a\u00e9\u20ac\U0001f600\n', max_size=3)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text('[]{}"\\,:a\u00e9'),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=3),
    max_leaves=30,
)


def fault(document: bytes, deepest: int = 32, in_one: int = 1_000, values: int = 10_000) -> int:
    found: int = first_fault(np.frombuffer(document, np.uint8), deepest, in_one, values, 200)[0]
    return found


def depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 0


@given(_JSON, st.integers(0, 8), st.booleans())
def test_depth_is_what_the_parsed_document_has(value: Any, levels: int, ascii_only: bool) -> None:
    document = json.dumps(value, ensure_ascii=ascii_only).encode()
    assert fault(document, levels) == (DEEP if depth(value) > levels else FINE)


def test_what_is_never_closed_counts_as_deep() -> None:
    assert fault(b"[" * 100_000) == DEEP
    assert fault(b'{"a":' * 1_000 + b"}" * 3) == DEEP
    assert fault(b'"' + b"[" * 150 + b'"') == FINE


@given(st.binary(max_size=200) | st.text('[]{}",:\\u0dD8', max_size=60).map(str.encode))
def test_any_bytes_get_an_answer(document: bytes) -> None:
    assert fault(document, 3) in (FINE, DEEP, MANY, TWICE, LONG)


def _twice(document: bytes) -> bool:
    """Return whether the standard library's parser meets a name twice."""
    found = []

    def look(members: list[tuple[str, Any]]) -> None:
        found.append(len({name for name, _ in members}) < len(members))

    json.loads(document, object_pairs_hook=look)
    return any(found)


@given(
    st.lists(st.tuples(_NAMES, st.booleans(), _JSON), max_size=8), st.integers(0, 50), st.booleans()
)
def test_names_are_the_same_however_they_are_written(
    members: list[tuple[str, bool, Any]], more: int, nested: bool
) -> None:
    written = [
        f"{json.dumps(name, ensure_ascii=escaped)}: {json.dumps(value)}"
        for name, escaped, value in members
    ]
    # Beyond a few names they are sorted and not compared with each other.
    written += [f'"k{number}": {{}}' for number in range(more)]
    document = "{" + ", ".join(written) + "}"
    document = f'[1, {{"a": {document}}}]' if nested else document
    assert (fault(document.encode()) == TWICE) == _twice(document.encode())


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (b"[" + b"1," * 999 + b"1]", FINE),
        (b"[" + b"1," * 1_000 + b"1]", MANY),
        (b"[" + b"[1,1,1,1]," * 900 + b"1]", FINE),
        (b"[" + (b"[" + b"1," * 900 + b"1],") * 12 + b"1]", MANY),
        (b"[[[" + b"1," * 999 + b"1]]]", FINE),
        (b"[[[" + b"1," * 1_000 + b"1]]]", MANY),
        (b"{" + b",".join(b'"%d":1' % n for n in range(1_001)) + b"}", MANY),
    ],
)
def test_values_are_counted(document: bytes, expected: int) -> None:
    assert fault(document) == expected


@pytest.mark.parametrize("part", [b'"%b"', b"1%b", b"1%b\n", b'{"%b":1}', b'"\\"%b"'])
def test_texts_and_numbers_have_a_length(part: bytes) -> None:
    for length, expected in ((190, FINE), (210, LONG)):
        assert fault(b"[" + part % (b"1" * length) + b"]") == expected


_OBJECTS = st.dictionaries(st.sampled_from(["data", "a", "d\u00e9"]), _JSON, max_size=3)


@given(_OBJECTS, st.lists(_JSON, max_size=9), st.integers(1, 4), st.booleans())
def test_pieces_say_what_the_whole_says(
    value: dict[str, Any], data: list[Any], every: int, compact: bool
) -> None:
    value = {**value, "data": data}
    document = json.dumps(value, separators=(",", ":") if compact else None).encode()
    first, *further = map(json.loads, pieces_of(document, b"data", every))
    assert {**first, "data": sum(further, first["data"])} == value
    assert all(len(one) <= every for one in [first["data"], *further])


@given(st.text('[]{}",1: ', max_size=40), st.integers(1, 3))
@example(",1", 1)
@example("1, ,1", 1)
@example("1, ", 1)
def test_what_is_no_json_is_not_made_into_some(text: str, every: int) -> None:
    document = b'{"data":[' + text.encode() + b"]}"
    if not _is_json(document):
        assert not all(map(_is_json, pieces_of(document, b"data", every)))


def _is_json(document: bytes) -> bool:
    try:
        json.loads(document)
    except ValueError:
        return False
    return True
