"""A day's raw rows, validated in parts side by side, in order.

Here belongs how rows are divided among threads. What becomes of them does not depend on it: all
events of a natural key share a bucket, and a part has whole buckets.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import polars as pl

from anomaly_platform.ingest.validation.day import DAY_REJECTS, ValidatedDay
from anomaly_platform.ml.threads import ahead, in_order

#: As many threads validate. More would hold more rows in memory, and one thread writes them all.
_THREADS: Final = 2
#: Rows of a span from which on it is divided.
_SHARED_ROWS: Final = 100_000


class DayInParts:
    """Validates the raw rows of a day, and accounts for those that are not in its events.

    Parameters
    ----------
    validate
        From raw rows of whole buckets to their events, sorted by bucket.

    Attributes
    ----------
    duplicates : int
        How many rows repeat an earlier one exactly, of the frames that were taken.
    """

    def __init__(self, validate: Callable[[pl.DataFrame], ValidatedDay]) -> None:
        self.duplicates = 0
        self._validate = validate
        self._rejects = [pl.DataFrame(schema={**DAY_REJECTS, "span": pl.Int32})]

    def frames(self, spans: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        """Yield valid events of the day, by bucket.

        Parameters
        ----------
        spans
            The raw rows of one range of buckets after the other, of which the next one is read
            while those before are validated.
        """
        for span, done in in_order(self._settled, _parts(ahead(spans)), most=_THREADS):
            self._rejects.append(done.rejects.with_columns(span=pl.lit(span, pl.Int32)))
            self.duplicates += done.duplicates
            yield done.frame

    def rejects(self) -> pl.DataFrame:
        """Return the refused rows (`DAY_REJECTS`), span by span in order of ingestion."""
        order = ("span", "batch_seq", "row_number", "column")
        return pl.concat(self._rejects).sort(order).drop("span")

    def _settled(self, part: tuple[int, pl.DataFrame]) -> tuple[int, ValidatedDay]:
        span, rows = part
        return span, self._validate(rows)


def _parts(spans: Iterable[pl.DataFrame]) -> Iterator[tuple[int, pl.DataFrame]]:
    """Yield rows with the number of their span, those of a large one in two parts."""
    for number, rows in enumerate(spans):
        if rows.height < _SHARED_ROWS:
            yield number, rows
            continue
        low = rows["bucket"] <= rows["bucket"].quantile(0.5, "lower")
        yield number, rows.filter(low)
        yield number, rows.filter(~low)
