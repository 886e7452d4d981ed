"""Computes scan features over a frame: the kernels' rows turned into columns.

`online` does the same for single events, by way of this.
"""

from datetime import datetime
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import polars as pl

from anomaly_platform.ml.features.scans.kernels import sequence_rows
from anomaly_platform.ml.features.scans.names import (
    DESCRIPTIONS,
    LOOKBACK_HOURS,
    SIX_PARTS,
    UNKNOWN_EVENT,
)
from anomaly_platform.ml.features.scans.sequences import HOUR_US, ScanSequences
from anomaly_platform.ml.frames import IntoDataFrame

_FEW = 1_000  # rows of which each is looked at by itself


def compute(
    time_zone: str,
    frame: IntoDataFrame,
    *,
    code_pattern: str = SIX_PARTS,
    since: datetime | None = None,
) -> pl.DataFrame:
    """Return the scans of a frame with their features.

    Parameters
    ----------
    time_zone
        In which hours and days are read off.
    frame
        The canonical scan frame; other columns are kept. Sorted by EPC, time and event id,
        unless EPCs are contiguous and in order by themselves already.
    code_pattern
        The scheme of the codes; see ``codes.parts_of``.
    since
        Return only scans at or after it; earlier ones are the look-back. To compute day D, give
        the scans of its EPCs from D − `lookback_days` on and `since` = D.

    Raises
    ------
    ValueError
        When a column is missing or of another type, or an entity, event id or time is null.
    """
    sequences = ScanSequences.of(frame)
    return features_of(time_zone, sequences, code_pattern=code_pattern, since=since)


def features_of(
    time_zone: str,
    sequences: ScanSequences,
    *,
    code_pattern: str = SIX_PARTS,
    since: datetime | None = None,
) -> pl.DataFrame:
    """Return the features of scans that are already in order; see `compute`."""
    rows = np.arange(len(sequences.times))
    if since is not None:
        rows = rows[(sequences.frame["event_time"] >= since).to_numpy()]
    own, before, offsets, visited = sequence_rows(
        sequences.starts, sequences.place, sequences.stage, sequences.direction
    )
    position = (rows - sequences.starts[rows] + 1).astype(np.int16)
    hours = np.full(len(rows), float(LOOKBACK_HOURS))
    later = position > 1
    at = rows[later]
    hours[later] = (sequences.times[at] - sequences.times[at - 1]) / HOUR_US
    place = sequences.place[own]
    place[own < 0] = -1
    previous = sequences.place[before]
    previous[before < 0] = -1
    table = sequences.frame
    if since is not None:
        table = table[rows]
    parts = sequences.epc_parts(code_pattern)[sequences.epc[rows]]
    clock = table[["event_time"]].hstack([parts["epc_manufacture_date"]])
    clock = clock.select(_clock(time_zone))
    event = sequences.frame["event_type"]
    if event.null_count():
        event = event.fill_null(UNKNOWN_EVENT)
    columns = [
        *clock,
        (clock["day_of_week"] >= 5).alias("is_weekend"),
        ((clock["hour"] >= 9) & (clock["hour"] <= 16)).alias("is_business_hours"),
        *parts,
        _named(sequences.places, place[rows]).alias("place"),
        pl.Series("location_interpolated", (own[rows] >= 0) & (own[rows] != rows)),
        event[rows].alias("event"),
        table["event_type"].is_null().alias("event_type_missing"),
        pl.Series("sequence_length", position),
        pl.Series("current_position", position),
        _named(sequences.places, previous[rows]).alias("previous_location"),
        event[np.maximum(rows - 1, 0)].set(pl.Series(~later), None).alias("previous_event_type"),
        pl.Series("time_since_last_scan", hours),
        pl.Series("partial_sequence", ~sequences.begins[sequences.starts[rows]]),
        _lists(sequences, offsets, visited, rows).alias("places_so_far"),
    ]
    named = {column.name: column for column in columns}
    kept = [name for name in table.columns if name not in named]
    return table[kept].hstack([named[name] for name in DESCRIPTIONS])


@lru_cache(maxsize=8)
def _clock(time_zone: str) -> tuple[pl.Expr, ...]:
    """Columns that a scan's time gives; put together once, since that takes its time."""
    local = pl.col("event_time").dt.convert_time_zone(time_zone)
    age = local.dt.date() - pl.col("epc_manufacture_date")
    return (
        local.dt.hour().alias("hour"),
        (local.dt.weekday() - 1).alias("day_of_week"),
        local.dt.month().alias("month"),
        age.dt.total_days().cast(pl.Float64).alias("manufacture_age_days"),
    )


def _named(names: pl.Series, codes: npt.NDArray[np.int32]) -> pl.Series:
    """Texts of codes, null for −1."""
    if len(codes) <= _FEW:
        words = [*names, None]
        return pl.Series(names.name, [words[code] for code in codes.tolist()], dtype=pl.String)
    return names.gather(pl.Series(codes, dtype=pl.Int64).replace(-1, None))


def _lists(
    sequences: ScanSequences,
    offsets: npt.NDArray[np.int64],
    visited: npt.NDArray[np.int64],
    rows: npt.NDArray[np.int64],
) -> pl.Series:
    """Build the lists of place names, one per row asked for."""
    import pyarrow as pa

    names = _named(sequences.places, sequences.place[visited])
    lists = pa.LargeListArray.from_arrays(pa.array(offsets), names.to_arrow())
    series = pl.Series(lists)
    return series if len(rows) == len(series) else series.gather(rows)
