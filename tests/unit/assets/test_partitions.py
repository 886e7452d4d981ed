"""Days, spans and the tags that carry them."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from anomaly_platform.assets.partitions import (
    PARTITION_TAG,
    contiguous_spans,
    range_tags,
    tagged_days,
    to_days,
)

days = st.dates(date(2020, 1, 1), date(2020, 3, 31))


@given(st.lists(days))
def test_spans_cover_exactly_the_days_and_never_touch(chosen: list[date]) -> None:
    spans = contiguous_spans(chosen)
    covered = [
        first + timedelta(days=n) for first, last in spans for n in range((last - first).days + 1)
    ]
    assert covered == sorted(set(chosen))
    assert all(b[0] - a[1] > timedelta(days=1) for a, b in pairwise(spans))


@given(days, st.integers(0, 40))
def test_a_runs_tags_give_its_days_back(first: date, length: int) -> None:
    last = first + timedelta(days=length)
    found = tagged_days(range_tags(first, last))
    assert (found[0], found[-1], len(found)) == (first, last, length + 1)
    assert tagged_days({PARTITION_TAG: first.isoformat()}) == [first]
    assert tagged_days({}) == []


def test_partition_keys_become_sorted_days() -> None:
    assert to_days(["2026-02-01", "2026-01-31"]) == [date(2026, 1, 31), date(2026, 2, 1)]
