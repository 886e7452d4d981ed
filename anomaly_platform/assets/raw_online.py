"""Readings taken one by one, on their way into the lake: claimed in batches, each exactly once.

What belongs here: the transaction in which a batch is claimed, written and entered into the ledger,
and how raw rows lie in the lake. A process that is killed on the way leaves the readings unclaimed
and, at worst, a file that nobody refers to.
"""

import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date, datetime

import numpy as np
import polars as pl

from anomaly_platform.platform import Platform
from anomaly_platform.storage.tables.online import claim
from anomaly_platform.streams import Stream

STAGE = "raw_events"
RAW_BUCKET = "entity_bucket"
SOURCE = "online"
BATCH_ROWS = 250_000


def for_lake(rows: pl.DataFrame) -> pl.DataFrame:
    """Order rows by day and bucket; over a large file buckets start anew with each run of rows."""
    rows = rows.rechunk()
    days = rows["event_date"].to_physical().to_numpy()
    # Stable, and a third of the time of sorting the frame: few buckets are counted, not compared.
    order = np.lexsort((rows["bucket"].to_numpy(), days)).astype(np.uint32)
    return rows[pl.Series(order)].rename({"bucket": RAW_BUCKET})


def claim_batches(
    platform: Platform, stream: Stream, now: datetime, *, batch_rows: int = BATCH_ROWS
) -> Iterator[tuple[int, Counter[date]]]:
    """Take waiting readings into the lake, batch by batch, until none is left.

    A stream whose events come in files only has none.

    Yields
    ------
    tuple of int and Counter of date
        Readings of a batch that has been committed, and how many are of which day.
    """
    form = platform.kind(stream).rows
    while form.from_online is not None:
        rows, days = _claim_batch(platform, stream, form.from_online, now, batch_rows)
        if not rows:
            return
        yield rows, days
        if rows < batch_rows:
            # What has arrived meanwhile is for the next run: there may be no end of it.
            return


def _claim_batch(
    platform: Platform,
    stream: Stream,
    raw_rows: Callable[[pl.DataFrame], pl.DataFrame],
    now: datetime,
    batch_rows: int,
) -> tuple[int, Counter[date]]:
    batch_id = uuid.uuid4().hex
    with platform.warehouse.transactions.begin() as connection:
        claimed = claim(connection, stream.name, batch_id, limit=batch_rows)
        if claimed.is_empty():
            return 0, Counter()
        raw = raw_rows(claimed)
        days = Counter(dict(raw["event_date"].value_counts().iter_rows()))
        written = platform.lake.write(
            STAGE,
            stream.name,
            now.date().isoformat(),
            [for_lake(raw)],
            schema=for_lake(raw.clear()).schema,
        )
        # In the claim's own transaction: a batch is in the ledger or its readings are unclaimed.
        platform.warehouse.ledger.record_ingest(
            stream.name,
            batch_id,
            source=SOURCE,
            raw_path=written.path,
            rows_in=claimed.height,
            days=days,
            connection=connection,
        )
    return claimed.height, days
