"""Columns of a frame as arrays: codes of texts, numbers of runs, microseconds of times.

What belongs here: how a column becomes what NumPy and compiled loops read. A request of a handful
of rows is nothing but the overhead of queries, so few rows are looked at one by one; what comes out
is the same.
"""

import numpy as np
import polars as pl

from anomaly_platform.ml.arrays import Ints, SmallInts

FEW = 1_000
"""Rows of which each is looked at by itself sooner than a query is planned."""


def coded(texts: pl.Series) -> tuple[list[str], SmallInts]:
    """Distinct texts, sorted, and (n,) codes into them, −1 for null.

    An entry behind the last text is therefore what a null finds.
    """
    if len(texts) <= FEW:
        words = texts.to_list()
        distinct = sorted({word for word in words if word is not None})
        number = {None: -1, **{word: code for code, word in enumerate(distinct)}}
        return distinct, np.array([number[word] for word in words], dtype=np.int32)
    known = texts.drop_nulls().unique().sort()
    codes = texts.replace_strict(
        known, pl.int_range(len(known), dtype=pl.Int32, eager=True), return_dtype=pl.Int32
    )
    return known.to_list(), codes.fill_null(-1).to_numpy().astype(np.int32)


def runs(values: pl.Series) -> Ints:
    """(n,) number of the run of equal values that each row is in, from 0."""
    if 0 < len(values) <= FEW:
        few = values.to_list()
        begins = (one != before for one, before in zip(few[1:], few[:-1], strict=True))
        return np.cumsum([0, *begins], dtype=np.int64)
    return values.rle_id().to_numpy().astype(np.int64)


def microseconds(times: pl.Series) -> Ints:
    """(n,) microseconds since 1970, as an array of one's own; no time may be null."""
    if times.dtype != pl.Datetime("us", getattr(times.dtype, "time_zone", None)):
        times = times.dt.cast_time_unit("us")
    # A copy: Polars' own memory is read-only, and kernels would be compiled once more for it.
    return times.cast(pl.Int64).to_numpy().astype(np.int64)
