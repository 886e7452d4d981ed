"""Metric features over a frame: sorting, cutting into series, and the kernel's columns back.

`series_buffers` computes the same for rows that come one by one.
"""

from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np
import polars as pl

from anomaly_platform.ml.arrays import Ints
from anomaly_platform.ml.features.metrics.kernel_threads import run_kernel
from anomaly_platform.ml.features.metrics.layout import FeatureLayout
from anomaly_platform.ml.frames import IntoDataFrame, to_polars

_EARLIEST = np.iinfo(np.int64).min
_DTYPES = {"f64": pl.Float64, "f32": pl.Float32}


def microseconds(times: pl.Series) -> Ints:
    """Return a datetime column as microseconds since 1970 in UTC."""
    return times.dt.epoch("us").to_numpy().astype(np.int64, copy=False)


def series_offsets(frame: pl.DataFrame) -> Ints:
    """Return (series + 1,) first rows of each run of equal (entity, metric), then the row count."""
    if frame.is_empty():
        return np.zeros(1, dtype=np.int64)
    keys = frame.select(
        (
            (pl.col("entity") != pl.col("entity").shift())
            | (pl.col("metric") != pl.col("metric").shift())
        )
        .fill_null(value=True)
        .alias("start")
    )
    starts = keys["start"].arg_true().to_numpy().astype(np.int64)
    return np.append(starts, frame.height)


def series_spans(frame: pl.DataFrame) -> Iterator[tuple[tuple[str, str], int, int]]:
    """Yield (entity, metric), first row and end of each run of equal ones, in order."""
    if frame.is_empty():
        return
    offsets = series_offsets(frame).tolist()
    keys = frame[offsets[:-1]].select("entity", "metric").rows()
    yield from zip(keys, offsets[:-1], offsets[1:], strict=True)


def sort_series(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the rows by entity, metric, time (and event id); the same frame if they are so.

    Series only need to be contiguous: a lake file sorted by bucket first is left as it is.
    """
    order = ["event_time", "event_id"] if "event_id" in frame.columns else ["event_time"]
    offsets = series_offsets(frame)
    times = microseconds(frame["event_time"])
    rising = np.diff(times) > 0
    rising[offsets[1:-1] - 1] = True
    heads = frame[offsets[:-1]]
    contiguous = heads.select(pl.struct("entity", "metric").n_unique()).item() == heads.height
    if contiguous and bool(rising.all()):
        return frame
    return frame.sort("entity", "metric", *order, maintain_order=True)


def compute(
    feature_set: FeatureLayout, frame: IntoDataFrame, *, since: datetime | None = None
) -> pl.DataFrame:
    """Return the rows of a long frame with the columns of `feature_set.names`.

    Parameters
    ----------
    feature_set
        What to compute.
    frame
        Columns `entity`, `metric`, `event_time` (with a time zone) and `value` (null = missing
        reading); others are kept, but `value` is the feature of that name. Unsorted frames are
        sorted by series and time.
    since
        Return only rows at or after it; earlier ones are the look-back. To compute day D, give
        the rows from D − `lookback_days` and `since` = D.

    Returns
    -------
    polars.DataFrame
        The rows by series and time; a feature that does not exist is null (see `metrics`).

    Raises
    ------
    ValueError
        When a column is missing, a key or time is null, or a value is not finite.
    """
    rows = to_polars(frame)
    missing = [c for c in ("entity", "metric", "event_time", "value") if c not in rows.columns]
    if missing:
        raise ValueError(f"columns missing from the frame: {', '.join(missing)}")
    for name in ("entity", "metric", "event_time"):
        if rows[name].null_count():
            raise ValueError(f"column {name} has empty cells")
    reading = rows["value"].cast(pl.Float64)
    if not reading.drop_nulls().is_finite().all():
        raise ValueError("column value has NaN or infinity; a missing reading is null")
    rows = sort_series(rows.with_columns(reading))
    times = microseconds(rows["event_time"])
    first = _EARLIEST if since is None else to_microseconds(since)
    wanted = times >= first
    count = int(wanted.sum())
    values = rows["value"].fill_null(float("nan")).to_numpy()
    features = run_kernel(feature_set, times, values, series_offsets(rows), first, count)
    if count < rows.height:
        rows = rows.filter(pl.Series(wanted))
    absent = rows["value"].null_count() > 0
    columns = []
    for j, (name, feature) in enumerate(feature_set.schema().items()):
        column = pl.Series(name, features[j])
        if absent:
            column = column.fill_nan(None)
        columns.append(column.cast(_DTYPES[feature["dtype"]]))
    return rows.with_columns(columns)


def to_microseconds(moment: datetime) -> int:
    """Return a moment as microseconds since 1970; without a time zone it is refused."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone")
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds
