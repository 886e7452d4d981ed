"""Cursors: back to what they were made of, and nothing else."""

from __future__ import annotations

import datetime as dt
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly_platform.serving.http.cursors import Pages, read_cursor, write_cursor
from anomaly_platform.serving.problems import ApiProblem

TYPES = (str, int, dt.datetime, uuid.UUID)
names = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]))


@given(names, st.integers(-(2**63), 2**63 - 1), st.datetimes(timezones=st.just(dt.UTC)), st.uuids())
def test_a_cursor_is_read_as_it_was_written(
    name: str, number: int, time: dt.datetime, identity: uuid.UUID
) -> None:
    key = (name, number, time, identity)
    assert read_cursor("list", write_cursor("list", *key), TYPES) == key


@given(st.text())
def test_anything_else_is_a_problem_of_the_client(text: str) -> None:
    with pytest.raises(ApiProblem) as caught:
        read_cursor("list", text, TYPES)
    assert caught.value.status == 422


@pytest.mark.parametrize("text", ["\ud800", "a\x00b"])
def test_a_text_that_no_database_holds_is_refused(text: str) -> None:
    with pytest.raises(ApiProblem) as caught:
        read_cursor("list", write_cursor("list", text), (str,))
    assert caught.value.status == 422


def test_a_cursor_of_another_list_is_refused() -> None:
    with pytest.raises(ApiProblem, match="another list"):
        read_cursor("list", write_cursor("other", "a"), (str,))


def test_a_list_is_cut_into_pages_that_follow_each_other() -> None:
    pages, rows, seen, cursor = Pages("numbers", int), list(range(7)), [], None
    while True:
        (after,) = pages.after(cursor) or (-1,)
        found = [row for row in rows if row > after][:4]
        page, cursor = pages.cut(found, 3, lambda last: (last,))
        seen.append(page)
        if cursor is None:
            break
    assert seen == [[0, 1, 2], [3, 4, 5], [6]]
    assert pages.cut([], 3, lambda last: (last,)) == ([], None)
