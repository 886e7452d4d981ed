"""From a file's columns to raw scans, for streams of scan events.

Here belongs what the columns of a file of scans mean. A row is a scan; columns that are no field of
a scan are left out and listed in the layout. Cells are not judged here, except for the time.
"""

from collections.abc import Sequence
from typing import Final

import polars as pl

from anomaly_platform.ingest.bucketing import bucket_of
from anomaly_platform.ingest.event_days import EVENT_TIME
from anomaly_platform.ingest.files.batches import RawBatch
from anomaly_platform.ingest.layout.context import (
    Layout,
    LayoutContext,
    assign_columns,
    split_refused,
    texts_of,
    timed_rows,
)
from anomaly_platform.ingest.layout.conventions import Conventions
from anomaly_platform.ingest.layout.mapping import SCAN_FIELDS, MappingError, listed
from anomaly_platform.ingest.layout.row_reader import RowReader
from anomaly_platform.ingest.layout.settling import settle_times

SCAN_TEXTS: Final = tuple(name for name in SCAN_FIELDS if name != "event_time")
"""Fields of a scan besides its time; each is ``<field>_text`` in raw rows."""

SENT_WITH_SCAN: Final = ("scan_location", "operator_id", "device_id", "product_name")
"""Fields that are kept with a scan and are no part of its key."""

RAW_SCAN_ROWS: Final = pl.Schema(
    {
        "row_number": pl.Int64(),
        "column": pl.String(),
        **{f"{name}_text": pl.String() for name in SCAN_TEXTS},
        "event_time_text": pl.String(),
        "event_time": EVENT_TIME,
        "event_date": pl.Date(),
        "bucket": pl.UInt8(),
    }
)
"""Raw scans; ``event_time`` and ``event_date`` (UTC) are never null, ``column`` is always ''.

The bucket is that of the EPC code, so that all scans of a code are in one bucket.
"""


def resolve_scan_layout(columns: Sequence[str], context: LayoutContext) -> Layout:
    """Decide how a file of scans with these columns is understood.

    Parameters
    ----------
    columns
        The file's columns, in order.
    context
        Name, mapping and stream, with `mapping.SCAN_FIELDS` as its fields.

    Raises
    ------
    MappingError
        When there is no column for the EPC code or for the time; the text lists the columns.
    """
    by_field, constants, _, time_columns = assign_columns(columns, context)
    for target, what in (("event_time", "the time"), ("epc_code", "the EPC code")):
        if target in constants:
            raise MappingError(f"{target!r} cannot be the same in every row; map a column to it")
        if target not in by_field:
            raise MappingError(
                f"the file has no column for {what}; name one with --map column={target}; its "
                f"columns are {listed(columns)}"
            )
    conventions = Conventions(time_columns=time_columns)
    used = {*by_field.values(), *conventions.columns}
    unused = tuple(name for name in columns if name not in used)
    return Layout(False, by_field, constants, unused, None, conventions)


def to_raw_scans(
    batch: RawBatch, layout: Layout, context: LayoutContext
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Turn a batch into raw scans.

    Parameters
    ----------
    batch
        From `readers.read_raw`.
    layout
        Of the file, from its first batch (`resolve_scan_layout`).
    context
        The same as the layout was made with.

    Returns
    -------
    tuple of pl.DataFrame
        Raw scans (`RAW_SCAN_ROWS`) and rejects (`rejects.REJECTS`): rows that the reader refused,
        and rows without a time, or with one that is outside the range of the stream.
    """
    texts = texts_of(batch, layout)
    rows = batch.frame.select(
        batch.row_numbers.alias("row_number"),
        pl.lit("").alias("column"),
        *(texts(name).alias(f"{name}_text") for name in SCAN_TEXTS),
    ).hstack(timed_rows(batch, layout, context))
    missing_time = pl.col("event_time_text").str.strip_chars().fill_null("") == ""
    said = pl.when(missing_time).then(pl.lit("the time is missing")).otherwise("reason")
    rows = rows.with_columns(
        said.alias("reason"),
        bucket_of(rows["epc_code_text"].str.strip_chars().str.normalize("NFC")),
    )
    shown = ("event_time_text", *(f"{name}_text" for name in SCAN_TEXTS))
    return split_refused(rows, batch, RAW_SCAN_ROWS, shown)


SCAN_READER: Final = RowReader(RAW_SCAN_ROWS, resolve_scan_layout, settle_times, to_raw_scans)
"""How files of scans are read."""
