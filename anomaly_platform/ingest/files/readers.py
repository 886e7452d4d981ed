"""From a file to raw rows of text.

Here belongs the one entry, `read_raw`, and the choice of the format. What a format's grammar is
belongs into its own module (`csv_rows`, `json_rows`, `parquet_rows`); what rows mean, into
`layout`.
"""

from collections.abc import Iterator
from pathlib import PurePath
from typing import Final

from anomaly_platform.ingest.files.batches import RawBatch, within
from anomaly_platform.ingest.files.csv_rows import read_csv
from anomaly_platform.ingest.files.influx_rows import is_annotated, read_annotated
from anomaly_platform.ingest.files.json_rows import looks_like_json, read_json
from anomaly_platform.ingest.files.parquet_rows import read_parquet
from anomaly_platform.ingest.files.sources import (
    FileSource,
    ReadLimits,
    UnreadableFile,
    inspect_source,
    rewindable,
    seekable_content,
    text_blocks,
)
from anomaly_platform.ingest.files.table_start import TablePlace

__all__ = [
    "FileSource",
    "RawBatch",
    "ReadLimits",
    "TablePlace",
    "UnreadableFile",
    "file_stem",
    "read_raw",
    "refuse_over_limits",
]

_SUFFIXES: Final = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson", ".parquet", ".pq")


def file_stem(name: str) -> str:
    """Return a file's name without folders and without the suffixes of its format.

    Examples
    --------
    >>> file_stem("landing/ems/server-01_train.csv.gz")
    'server-01_train'
    """
    stem = PurePath(name).name
    if stem.lower().endswith(".gz"):
        stem = stem[:-3]
    for suffix in _SUFFIXES:
        if stem.lower().endswith(suffix) and len(stem) > len(suffix):
            return stem[: -len(suffix)]
    return stem


def read_raw(
    source: FileSource,
    name: str,
    *,
    batch_rows: int = 250_000,
    limits: ReadLimits | None = None,
    place: TablePlace | None = None,
) -> Iterator[RawBatch]:
    """Read a file of any accepted format: CSV, JSON, JSON Lines or Parquet, plain or gzipped.

    The format is told by content; the name only decides between JSON and JSON Lines where the
    content leaves it open. Memory is bounded by the batch, whatever the size of the file.

    Parameters
    ----------
    source
        A path, or an open binary file.
    name
        The file's name, with its suffixes.
    batch_rows
        The most rows of a batch.
    limits
        What the file may ask of the machine.
    place
        What a person says of where the table is in a text; it is looked for otherwise.

    Yields
    ------
    RawBatch
        In the order of the file, and at least one: a file with a header and no rows yields one
        batch without rows.

    Raises
    ------
    UnreadableFile
        When the file as a whole cannot be trusted. Most of it is found before the first batch (the
        file is read once from end to end beforehand: gzip checksum, decompression bomb, encoding),
        but a JSON document or a Parquet page that breaks off is found on the way. **Whoever takes
        batches must therefore keep none of them for good until the iterator has ended.**
    OSError
        When the file cannot be opened or read; it may be readable later.
    """
    if batch_rows < 1:
        raise ValueError(f"batch_rows is {batch_rows}; it must be at least 1")
    bounds = limits or ReadLimits()
    return within(_batches(source, name, bounds, batch_rows, place), bounds)


def refuse_over_limits(
    source: FileSource,
    name: str,
    *,
    limits: ReadLimits | None = None,
    place: TablePlace | None = None,
) -> None:
    """Read a file to its end, unless it can be told sooner that no row or cell is too much.

    Raises
    ------
    UnreadableFile
        As `read_raw` does.
    """
    bounds = limits or ReadLimits()
    with rewindable(source) as stream:
        if not inspect_source(stream, bounds).is_surely_within(bounds):
            for _ in read_raw(stream, name, limits=bounds, place=place):
                pass


def _batches(
    source: FileSource, name: str, bounds: ReadLimits, batch_rows: int, place: TablePlace | None
) -> Iterator[RawBatch]:
    """Choose the format, and read."""
    with rewindable(source) as stream:
        inspection = inspect_source(stream, bounds)
        said = place is not None and place != TablePlace()
        if said and inspection.kind == "parquet":
            raise UnreadableFile("a Parquet file has no header line and no comments")
        if inspection.kind == "parquet":
            with seekable_content(stream, inspection, bounds) as content:
                yield from read_parquet(content, bounds, batch_rows)
            return
        if not said and is_annotated(inspection.head):
            passes = (text_blocks(stream, inspection, bounds) for _ in range(2))
            yield from read_annotated(passes, inspection, bounds, batch_rows)
            return
        blocks = text_blocks(stream, inspection, bounds)
        if not said and looks_like_json(inspection.head, name):
            yield from read_json(blocks, inspection, name, bounds, batch_rows)
        else:
            yield from read_csv(blocks, inspection, bounds, batch_rows, place or TablePlace())
