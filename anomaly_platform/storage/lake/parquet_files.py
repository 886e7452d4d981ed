"""Writes and reads Parquet files in pieces.

Belongs here: the platform's use of the format (compression, statistics, rows per bucket). Does not
belong here: where files lie and what they are called (see ``lake``).
"""

import contextlib
import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO, Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from anomaly_platform.storage.lake.row_groups import BUCKET, BUCKETS, LakeError, row_groups

_BUCKET_ROWS: Final = "anomaly_platform.bucket_rows"
_SHORT_AT_THE_END: Final = 4

Bounds = Mapping[str, tuple[Any, Any]]
"""Least and greatest value per column, both inclusive."""


class HashingFile(io.RawIOBase):
    """A binary file for writing that keeps the digest and the number of its bytes."""

    def __init__(self, handle: IO[bytes]) -> None:
        self._handle = handle
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: Any) -> int:
        """Write and count bytes."""
        view = memoryview(data)
        self._hash.update(view)
        self._handle.write(view)
        self.size += view.nbytes
        return view.nbytes

    def tell(self) -> int:
        """Return how many bytes were written."""
        return self.size

    def writable(self) -> bool:
        """Return True."""
        return True

    def digest(self) -> str:
        """Return the SHA-256 of what was written, hexadecimal."""
        return self._hash.hexdigest()


def write_parquet(
    sink: HashingFile,
    frames: Iterable[pl.DataFrame],
    schema: Mapping[str, Any] | None,
    place: str,
) -> int:
    """Write frames as one Parquet file.

    Parameters
    ----------
    sink : HashingFile
        Where to.
    frames : iterable of polars.DataFrame
        Consumed once; in the order of their buckets where there is a column ``bucket``.
    schema : mapping of str to polars type, optional
        The first frame's where None.
    place : str
        Named in errors.

    Returns
    -------
    int
        Number of rows.
    """
    writer: pq.ParquetWriter | None = None
    rows = 0
    per_bucket = np.zeros(BUCKETS, dtype=np.int64)
    groups = row_groups(frames, None if schema is None else pl.Schema(schema), place)
    # One group is written while the next one is made.
    with ThreadPoolExecutor(1) as thread:
        writing: Future[None] | None = None
        for group in groups:
            if writing is not None:
                writing.result()
            if writer is None:
                writer = _writer(sink, _to_arrow(group.clear()).schema)
            if group.height:
                writing = thread.submit(_write_group, writer, group)
            rows += group.height
            if BUCKET in group.columns:
                per_bucket += np.bincount(group[BUCKET].to_numpy(), minlength=BUCKETS)
            # It keeps the frame that it was cut off in memory.
            del group
        if writing is not None:
            writing.result()
    if writer is None:
        raise LakeError(f"{place}: nothing to write, and no schema of an empty file")
    if BUCKET in writer.schema.names:
        writer.add_key_value_metadata({_BUCKET_ROWS: json.dumps(per_bucket.tolist())})
    writer.close()
    return rows


def _write_group(writer: pq.ParquetWriter, group: pl.DataFrame) -> None:
    # In one piece, so that equal rows give equal pages however they arrived.
    writer.write_table(_to_arrow(group.rechunk()), row_group_size=group.height)


def _to_arrow(frame: pl.DataFrame) -> pa.Table:
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest())


def _writer(sink: HashingFile, schema: pa.Schema) -> pq.ParquetWriter:
    texts = [field.name for field in schema if pa.types.is_large_string(field.type)]
    return pq.ParquetWriter(
        pa.PythonFile(sink, mode="w"),
        schema,
        compression="zstd",
        compression_level=1,
        # Numbers hardly repeat; trying to find out costs more than the texts gain.
        use_dictionary=texts,
        # What is asked for by bounds: days, times, buckets.
        write_statistics=[
            field.name
            for field in schema
            if pa.types.is_integer(field.type) or pa.types.is_temporal(field.type)
        ],
    )


def read_rows(
    file: pq.ParquetFile, local: str | None, columns: Sequence[str] | None, between: Bounds
) -> pl.DataFrame:
    """Return the rows between the bounds, in the order of the file.

    Row groups that lie outside are not read.

    Parameters
    ----------
    file : pyarrow.parquet.ParquetFile
        The file.
    local : str or None
        Its path on this machine; Polars reads it in a fraction of the time that PyArrow takes,
        and keeps a text that is in the file once only once. None where it lies elsewhere.
    columns : sequence of str, optional
        All by default.
    between : mapping of str to (low, high)
        Bounds, both inclusive.
    """
    names = file.schema_arrow.names
    unknown = [name for name in (*(columns or ()), *between) if name not in names]
    if unknown:
        raise LakeError(f"there is no column {', '.join(unknown)} in the file")
    wanted = list(names if columns is None else columns)
    inside = [pl.col(name).is_between(low, high) for name, (low, high) in between.items()]
    if local is not None:
        # A file that was replaced meanwhile may be gone by its path; what is open of it is not.
        with contextlib.suppress(FileNotFoundError):
            found = pl.scan_parquet(local, glob=False)
            return (found.filter(*inside) if inside else found).select(wanted).collect().rechunk()
    return _read_open(file, wanted, between, inside)


def _read_open(
    file: pq.ParquetFile, wanted: Sequence[str], between: Bounds, inside: Sequence[pl.Expr]
) -> pl.DataFrame:
    """Read the rows inside bounds of a file that is open, wherever it lies."""
    names = file.schema_arrow.names
    read = list(dict.fromkeys([*wanted, *between]))
    # One group at a time, so that what lies outside is not held; at least an empty one.
    groups = [_to_polars(file.schema_arrow.empty_table()).select(read)]
    for number in range(file.metadata.num_row_groups):
        if _may_overlap(file.metadata.row_group(number), names, between):
            group = file.read_row_group(number, columns=read, use_threads=False)
            rows = _to_polars(group)
            groups.append(rows.filter(*inside) if inside else rows)
    return pl.concat(groups, rechunk=True).select(wanted)


def bucket_rows(file: pq.ParquetFile, path: str) -> npt.NDArray[np.int64]:
    """Return the number of rows in each of the 64 buckets."""
    counts = (file.metadata.metadata or {}).get(_BUCKET_ROWS.encode())
    if counts is None:
        raise LakeError(f"{path} was not written by bucket and cannot be read by bucket")
    return np.asarray(json.loads(counts), dtype=np.int64)


def bucket_ranges(
    rows: npt.NDArray[np.int64], target_rows: int, *, short_ends: bool = False
) -> Iterator[tuple[int, int]]:
    """Yield the fewest contiguous ranges (first, last) that hold at most the target each.

    A bucket that alone holds more is a range of its own; all 64 are covered if there are rows.
    With `short_ends` so are the first bucket that has rows, and the last `_SHORT_AT_THE_END`.
    """
    first, held = 0, 0
    found = np.flatnonzero(rows).tolist() if short_ends else []
    begins = {*found[1:2], *found[-_SHORT_AT_THE_END:]}
    for bucket, count in enumerate(rows.tolist()):
        if held and (held + count > target_rows or bucket in begins):
            yield first, bucket - 1
            first, held = bucket, 0
        held += count
    if held:
        yield first, len(rows) - 1


def _to_polars(table: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(table)
    if not isinstance(frame, pl.DataFrame):
        raise TypeError("a Parquet file holds tables only")
    return frame


def _may_overlap(group: pq.RowGroupMetaData, names: Sequence[str], between: Bounds) -> bool:
    """Return whether rows of a row group can lie between the bounds, by its statistics."""
    for name, (low, high) in between.items():
        statistics = group.column(names.index(name)).statistics
        if statistics is None or not statistics.has_min_max:
            continue
        if statistics.max < low or statistics.min > high:
            return False
    return True
