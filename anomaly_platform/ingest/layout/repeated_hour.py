"""Rows in the hour that comes twice when clocks go back: which of the two they are in.

Here belongs what the order of a file's rows says of it. Where it says nothing, a row is in neither,
and refused.
"""

from collections.abc import Sequence
from typing import Final

import polars as pl

from anomaly_platform.ingest.files.batches import RawBatch
from anomaly_platform.ingest.layout.conventions import NO_ROWS
from anomaly_platform.ingest.notation.times import Times
from anomaly_platform.ingest.notation.zones import places_twice, repeated_hours

_ROW: Final = "__row"
_TIME: Final = "__time"
_KEY: Final = "__key"


class RepeatedHour:
    """Gathers the rows of a file whose local time comes twice.

    Parameters
    ----------
    zone
        Where the times are at home.
    series
        Columns of what a row is of.
    """

    def __init__(self, zone: str, series: Sequence[str]) -> None:
        self._zone = zone
        self._series = list(series)
        self._parts: list[pl.DataFrame] = []
        self._rising = self._falling = 0
        self._last = pl.Series([], dtype=pl.Int64)

    def see(self, batch: RawBatch, said: Times) -> None:
        """Take in the next rows of the file."""
        places = places_twice(said.texts, said.times, self._zone)
        frame = pl.DataFrame(
            {
                _ROW: batch.row_numbers,
                _TIME: said.times.cast(pl.Int64),
                **{
                    f"{_KEY}{place}": batch.frame[name]
                    for place, name in enumerate(self._series)
                    if name in batch.frame.columns
                },
            }
        )
        if len(places):
            self._parts.append(frame[places])
        outside = frame[_TIME].scatter(places, None).drop_nulls()
        steps = pl.concat([self._last, outside]).diff().drop_nulls()
        self._rising += int((steps > 0).sum())
        self._falling += int((steps < 0).sum())
        self._last = outside.tail(1)

    def rows(self) -> tuple[pl.Series, pl.Series]:
        """Return the numbers of rows at the first coming of their time, and at the second."""
        if not self._parts:
            return NO_ROWS, NO_ROWS
        frame = pl.concat(self._parts, how="diagonal")
        if self._falling > self._rising:
            frame = frame.reverse()
        mixed = bool(self._rising and self._falling)
        in_order = bool(self._rising + self._falling) and not mixed
        first, later = [], []
        for one in repeated_hours(self._zone):
            start, end = (int(edge.timestamp()) * 1_000_000 for edge in (one.start, one.end))
            inside = frame.filter((pl.col(_TIME) >= start) & (pl.col(_TIME) < end))
            shift = int(one.shift.total_seconds()) * 1_000_000
            second = _second_coming(inside, [], shift, strict=True) if in_order else None
            keys = [name for name in inside.columns if name.startswith(_KEY)]
            if (second is None or second.null_count()) and (keys or not mixed):
                second = _second_coming(inside, keys, shift, strict=False)
            elif second is None:  # rows without series, in no order
                continue
            first.append(inside.filter(~second)[_ROW])
            later.append(inside.filter(second)[_ROW])
        return pl.concat([NO_ROWS, *first]), pl.concat([NO_ROWS, *later])


def _second_coming(
    rows: pl.DataFrame, keys: Sequence[str], shift: int, *, strict: bool
) -> pl.Series:
    """Tell which rows of an hour come after its clocks went back; null where nothing tells.

    Parameters
    ----------
    rows
        In the order of time, as the file has it.
    keys
        Rows of equal keys are a series, each with an order of its own.
    shift
        How far clocks go back, in microseconds. A step back of less than half of it is none of
        clocks: rows that change places make such steps.
    strict
        Whether only a time before that of the row before it is a sign of clocks going back, and not
        one that is equal to it, as in a series with one row an hour.
    """
    step = pl.col(_TIME).diff()
    back = step < 0
    if not strict:
        back |= (step == 0) & (pl.len() == 2)
    back = back.fill_null(value=False)
    clocks = (-step.filter(step < 0)).min().fill_null(shift) * 2 >= shift
    told = pl.when((back.sum() == 1) & clocks).then(back.cum_sum() == 1)
    return rows.select((told.over(keys) if keys else told).alias("second")).to_series()
