"""However frames arrive, no row is lost and groups end where a bucket does."""

from __future__ import annotations

from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly_platform.storage.lake import row_groups as module
from anomaly_platform.storage.lake.row_groups import LakeError, row_groups


@given(
    sizes=st.lists(st.integers(0, 60), min_size=1, max_size=64),
    cut=st.integers(1, 50),
    target=st.integers(1, 40),
)
def test_rows_are_kept_in_order_and_groups_end_with_a_bucket(
    sizes: list[int], cut: int, target: int
) -> None:
    whole = pl.DataFrame(
        {"bucket": [b for b, size in enumerate(sizes) for _ in range(size)]},
        schema={"bucket": pl.UInt8},
    ).with_row_index()
    groups = list(row_groups(whole.iter_slices(cut), None, "here", target_rows=target))
    if whole.is_empty():
        assert groups in ([], [whole])
        return
    at_once = row_groups([whole], None, "here", target_rows=target)
    assert [group.height for group in groups] == [group.height for group in at_once]
    assert pl.concat(groups).equals(whole)
    assert all(group.height for group in groups)
    for group, following in pairwise(groups):
        if group["bucket"][-1] == following["bucket"][0]:
            assert sizes[group["bucket"][-1]] > target, "only a large bucket is split"
        assert group.height <= 4 * target or group["bucket"].n_unique() == 1


def test_without_buckets_groups_have_the_target_size() -> None:
    frames = [pl.DataFrame({"a": range(10)})] * 3
    assert [g.height for g in row_groups(frames, None, "here", target_rows=8)] == [8, 8, 8, 6]


def test_values_are_cast_to_the_schema() -> None:
    [group] = row_groups([pl.DataFrame({"a": [1]})], pl.Schema({"a": pl.Float64}), "here")
    assert group.schema == {"a": pl.Float64}


@pytest.mark.parametrize("buckets", [[3, 2], [None, 1], [64]])
def test_buckets_out_of_order_are_refused(buckets: list[int | None]) -> None:
    with pytest.raises(LakeError, match="order of their buckets"):
        list(row_groups([pl.DataFrame({"bucket": buckets})], None, "here"))


def test_long_rows_end_a_group_by_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROW_GROUP_BYTES", 10_000)
    frames = [pl.DataFrame({"text": ["x" * 400] * 10}) for _ in range(9)]
    groups = list(row_groups(frames, None, "here"))
    assert [group.height for group in groups] == [30, 30, 30]
    assert pl.concat(groups).equals(pl.concat(frames))
