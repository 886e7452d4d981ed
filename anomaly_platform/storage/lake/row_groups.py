"""Cuts a stream of frames into the row groups of a file.

Belongs here: the sizes of row groups and where they end.
"""

from collections.abc import Iterable, Iterator
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
        start = 0
        for end in [joined.height] if size >= ROW_GROUP_BYTES else _ends(joined, target_rows):
            wrote = True
            yield joined.slice(start, end - start)
            start = end
        held = [joined.slice(start)] if start < joined.height else []
        height = joined.height - start
        size = int(held[0].estimated_size()) if held else 0
    if held:
        yield pl.concat(held)
    elif schema is not None and not wrote:
        yield pl.DataFrame(schema=schema)


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


def _ends(frame: pl.DataFrame, target_rows: int) -> Iterator[int]:
    """Yield where groups end that need no further rows."""
    start = 0
    while frame.height - start >= target_rows:
        end = _end_of_group(frame, start, target_rows)
        if end is None:
            return
        yield end
        start = end


def _end_of_group(frame: pl.DataFrame, start: int, target_rows: int) -> int | None:
    """Return where the group that begins at `start` ends, None while more rows are needed."""
    if BUCKET not in frame.columns:
        return start + target_rows
    buckets = frame[BUCKET]
    reached = buckets[start + target_rows - 1]
    end = int(buckets.search_sorted(reached, side="right"))
    if end < frame.height:
        # The whole bucket is there; it goes in unless it makes the group too large.
        return end if end - start <= _LARGEST * target_rows else start + target_rows
    begin = int(buckets.search_sorted(reached, side="left"))
    if begin - start >= max(1, target_rows // 2):
        return begin
    return start + target_rows if end - start > _LARGEST * target_rows else None
