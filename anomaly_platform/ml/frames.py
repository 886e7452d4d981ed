"""The one door through which frames of other libraries enter the library, and leave it.

Public functions of `ml` that take a frame call `to_polars` first; inside, everything is Polars
and NumPy. Nothing but conversion belongs here.
"""

from typing import Any

import narwhals as nw
import polars as pl
from narwhals.typing import IntoDataFrame

from anomaly_platform.ml.arrays import AnyArray

__all__ = ["IntoDataFrame", "column_like", "frame_like", "in_utc", "is_frame", "to_polars"]


def to_polars(frame: IntoDataFrame) -> pl.DataFrame:
    """Return `frame` as a Polars frame.

    Parameters
    ----------
    frame
        An eager frame that narwhals knows (Polars, pandas, PyArrow, …). A Polars frame is
        returned as it is, without a copy; of a pandas frame the index is dropped.

    Raises
    ------
    TypeError
        When it is a lazy frame or no frame at all.
    """
    if isinstance(frame, pl.DataFrame):
        return frame
    return nw.from_native(frame, eager_only=True).to_polars()


def is_frame(data: object) -> bool:
    """Return whether `data` is a frame that narwhals knows, eager or lazy."""
    return bool(nw.dependencies.is_into_dataframe(data)) or isinstance(data, pl.LazyFrame)


def column_like(data: object, values: AnyArray, name: str) -> Any:
    """Return values, one per row of `data`, as a column of the library that `data` is from.

    Parameters
    ----------
    data
        A frame or column that narwhals knows; anything else gets the array itself.
    values
        (rows,) in the order of the rows.
    name
        Of the column. In pandas it has the index of `data`.

    Examples
    --------
    >>> import numpy as np
    >>> column_like(pl.DataFrame({"a": [1, 2]}), np.array([0.5, 0.7]), "score").to_list()
    [0.5, 0.7]
    """
    if not is_frame(data) and not nw.dependencies.is_into_series(data):
        return values
    known = nw.from_native(data, eager_only=True, allow_series=True)  # type: ignore[call-overload]
    frame = known.to_frame() if isinstance(known, nw.Series) else known
    column = nw.new_series(name, values, backend=frame.implementation)
    return frame.with_columns(column)[name].to_native()


def frame_like(data: object, frame: pl.DataFrame) -> Any:
    """Return a frame, one row per row of `data`, in the library that `data` is from.

    Pandas, with the index of `data`, and PyArrow are known; a list of records gets such a list.

    Examples
    --------
    >>> frame_like([{"a": 1}], pl.DataFrame({"b": [2]}))
    [{'b': 2}]
    """
    if not is_frame(data):
        return frame.to_dicts()
    known = nw.from_native(data, eager_only=True)  # type: ignore[call-overload]
    if known.implementation.is_pandas():
        return frame.to_pandas().set_axis(nw.maybe_get_index(known), axis=0)
    return frame.to_arrow() if known.implementation.is_pyarrow() else frame


def in_utc(times: pl.Series) -> pl.Series:
    """Return a datetime column in UTC, to the microsecond; without a zone it is taken for UTC.

    Examples
    --------
    >>> in_utc(pl.Series(["2026-03-02 12:00"]).str.to_datetime()).dtype
    Datetime(time_unit='us', time_zone='UTC')
    """
    zone = times.dtype.time_zone if isinstance(times.dtype, pl.Datetime) else None
    moments = times if zone is None else times.dt.convert_time_zone("UTC")
    return moments.cast(pl.Datetime("us", zone and "UTC")).dt.replace_time_zone("UTC")
