"""A day's raw rows, read and validated in parts side by side, in order.

Here belongs how a day is divided among threads. What becomes of its rows does not depend on it:
all events of a natural key share a bucket, and a part has whole buckets.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Final, NamedTuple

import polars as pl

from anomaly_platform.ingest.bucketing import BUCKETS
from anomaly_platform.ingest.validation.day import DAY_REJECTS, ValidatedDay
from anomaly_platform.ml.threads import in_order

#: As many threads validate. More would hold more rows in memory, and one thread writes them all.
_THREADS: Final = 2
#: Rows whose rejects are told together, in order of ingestion.
_SPAN_ROWS: Final = 500_000
_PARTS_OF_SPAN: Final = 2
#: From so many rows on, a day is divided.
_SHARED_ROWS: Final = 100_000


class Part(NamedTuple):
    """The rows that are validated together.

    Parameters
    ----------
    span
        Number of the span that the part belongs to.
    first, last
        Its buckets.
    """

    span: int
    first: int
    last: int


def day_parts(rows: int) -> list[Part]:
    """Return the parts of a day of so many rows: at most about a quarter of a million."""
    spans = min(BUCKETS, max(1, -(-rows // _SPAN_ROWS)))
    parts = _PARTS_OF_SPAN * spans if rows > _SHARED_ROWS else 1
    edges = [round(n * BUCKETS / parts) for n in range(parts + 1)]
    return [
        Part(n * spans // parts, first, after - 1)
        for n, (first, after) in enumerate(pairwise(edges))
        if first < after
    ]


class DayInParts:
    """Validates a day, and accounts for the rows that are not among its events.

    Parameters
    ----------
    read
        Returns the raw rows of a range of buckets, given its first and its last.
    validate
        From raw rows of whole buckets to their events, sorted by bucket.

    Attributes
    ----------
    duplicates : int
        How many rows repeat an earlier one exactly, of the frames that were taken.
    """

    def __init__(
        self,
        read: Callable[[int, int], pl.DataFrame],
        validate: Callable[[pl.DataFrame], ValidatedDay],
    ) -> None:
        self.duplicates = 0
        self._read = read
        self._validate = validate
        self._rejects = [pl.DataFrame(schema={**DAY_REJECTS, "span": pl.Int32})]

    def frames(self, rows: int) -> Iterator[pl.DataFrame]:
        """Yield the events of a day of so many raw rows, by bucket."""
        for span, done in in_order(self._settled, day_parts(rows), most=_THREADS):
            self._rejects.append(done.rejects.with_columns(span=pl.lit(span, pl.Int32)))
            self.duplicates += done.duplicates
            yield done.frame

    def rejects(self) -> pl.DataFrame:
        """Return the refused rows (`DAY_REJECTS`), span by span in order of ingestion."""
        order = ("span", "batch_seq", "row_number", "column")
        return pl.concat(self._rejects).sort(order).drop("span")

    def _settled(self, part: Part) -> tuple[int, ValidatedDay]:
        return part.span, self._validate(self._read(part.first, part.last))
