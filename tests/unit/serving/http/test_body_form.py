"""Bodies that no schema would find fault with, and should not be taken."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly_platform.serving.http.bodies.form import compressed, problem_of

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=20,
)


@given(_JSON, st.booleans())
def test_what_a_library_writes_has_nothing_twice(value: Any, ascii_only: bool) -> None:
    assert problem_of(json.dumps(value, ensure_ascii=ascii_only).encode()) is None


@given(st.lists(st.text(), min_size=1, max_size=4, unique=True), st.data())
def test_a_name_that_occurs_twice_is_found_at_any_depth(names: list[str], data: Any) -> None:
    again = data.draw(st.sampled_from(names))
    members = ", ".join(f"{json.dumps(name)}: [1]" for name in [*names, again])
    found = problem_of(f'[{{"deep": {{{members}}}}}]'.encode())
    assert found is not None
    assert found.status == 400
    assert again[:20] in found.detail


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"9" * 10_000, b"[NaN]"])
def test_what_is_no_json_is_left_to_the_schema(body: bytes) -> None:
    assert problem_of(body) is None


def test_compressed_bodies_are_told_to_be() -> None:
    found = problem_of(gzip.compress(b"{}"))
    assert found is not None
    assert (found.status, "compressed" in found.detail) == (415, True)
    assert compressed([(b"content-encoding", b"gzip")]) is not None
    assert compressed([(b"content-encoding", b" Identity"), (b"x", b"gzip")]) is None
