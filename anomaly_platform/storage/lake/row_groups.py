"""Cuts a stream of frames into the row groups of a file.

Belongs here: the sizes of row groups and where they end.
"""

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Final

import polars as pl

BUCKET: Final = "bucket"
BUCKETS: Final = 64
ROW_GROUP_ROWS: Final = 131_072
ROW_GROUP_BYTES: Final = 256 << 20
_LARGEST: Final = 4


class LakeError(RuntimeError):
    """A file of the lake cannot be written or read as asked; the message says which and why."""


def row_groups(
    frames: Iterable[pl.DataFrame],
    schema: pl.Schema | None,
    place: str,
    *,
    target_rows: int = ROW_GROUP_ROWS,
) -> Iterator[pl.DataFrame]:
    """Cut frames into row groups that end, where there is a column ``bucket``, with a bucket.

    Parameters
    ----------
    frames : iterable of polars.DataFrame
        In the order of their buckets.
    schema : polars.Schema or None
        What each frame has to have; the first frame's where None.
    place : str
        Named in errors.
    target_rows : int
        Rows from which a group ends. It grows to four times as many where a bucket is large, and
        beyond that a bucket is split over groups. Where rows are long, a group ends before it has
        much more than `ROW_GROUP_BYTES`, whatever its buckets.

    Yields
    ------
    polars.DataFrame
        One empty frame if there are no rows; nothing without any frame or schema.

    Raises
    ------
    LakeError
        When columns differ between frames, or buckets are out of order.
    """
    held: list[pl.DataFrame] = []
    height = size = 0
    last_bucket = -1
    wrote = False
    for given in frames:
        if schema is None:
            schema = given.schema
        frame = _conform(given, schema, place)
        if frame.is_empty():
            continue
        if BUCKET in frame.columns:
            last_bucket = _check_order(frame[BUCKET], last_bucket, place)
        held.append(frame)
        height += frame.height
        size += int(frame.estimated_size())
        if height < target_rows and size < ROW_GROUP_BYTES:
            continue
        joined = pl.concat(held)
        whole = size >= ROW_GROUP_BYTES
        ends = [joined.height] if whole else _ends(joined, target_rows, last=False)
        *groups, rest = _cut(joined, ends)
        wrote |= bool(groups)
        yield from groups
        height = rest.height
        # Without rows it may still name the texts of the others.
        size = int(rest.estimated_size()) if height else 0
        # A part of a frame keeps all of it in memory, and so would these while the next is made.
        held = [rest[pl.int_range(height, eager=True)]]
        del given, frame, joined, groups, rest
    if height:
        joined = pl.concat(held)
        yield from filter(len, _cut(joined, _ends(joined, target_rows, last=True)))
    elif schema is not None and not wrote:
        yield pl.DataFrame(schema=schema)


def _cut(frame: pl.DataFrame, ends: Iterable[int]) -> list[pl.DataFrame]:
    """Return the groups that end there, and what is left behind the last one."""
    return [frame.slice(a, b - a) for a, b in pairwise([0, *ends, frame.height])]


def _conform(frame: pl.DataFrame, schema: pl.Schema, place: str) -> pl.DataFrame:
    if frame.schema == schema:
        return frame
    missing = [name for name in schema if name not in frame.columns]
    unknown = [name for name in frame.columns if name not in schema]
    if missing or unknown:
        raise LakeError(
            f"{place}: columns differ from the file's: "
            f"missing {missing or 'none'}, unknown {unknown or 'none'}"
        )
    return frame.select(pl.col(name).cast(kind) for name, kind in schema.items())


def _check_order(buckets: pl.Series, last_bucket: int, place: str) -> int:
    first, last = buckets[0], buckets[-1]
    if buckets.null_count() or first < last_bucket or not buckets.is_sorted() or last >= BUCKETS:
        raise LakeError(f"{place}: rows are not in the order of their buckets (0 to 63)")
    return int(last)


def _ends(frame: pl.DataFrame, target_rows: int, *, last: bool) -> Iterator[int]:
    """Yield where groups end that need no further rows; with the `last` ones none will come."""
    start = 0
    while frame.height - start >= target_rows:
        end = _end_of_group(frame, start, target_rows, last=last)
        if end is None:
            return
        yield end
        start = end


def _end_of_group(frame: pl.DataFrame, start: int, target_rows: int, *, last: bool) -> int | None:
    """Return where the group that begins at `start` ends, None while more rows are needed.

    Rows are cut alike, however many of them come at once, unless their texts are so long that a
    group is full by its bytes.
    """
    if BUCKET not in frame.columns:
        return start + target_rows
    buckets = frame[BUCKET]
    reached = buckets[start + target_rows - 1]
    end = int(buckets.search_sorted(reached, side="right"))
    if end - start > _LARGEST * target_rows:
        return start + target_rows
    if end < frame.height:
        return end
    begin = int(buckets.search_sorted(reached, side="left"))
    return begin if last and begin - start >= max(1, target_rows // 2) else None
