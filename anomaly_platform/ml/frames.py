"""The one door through which frames of other libraries enter the library.

Public functions of `ml` that take a frame call `to_polars` first; inside, everything is Polars
and NumPy. Nothing but conversion belongs here.
"""

from __future__ import annotations

import narwhals as nw
import polars as pl
from narwhals.typing import IntoDataFrame

__all__ = ["IntoDataFrame", "to_polars"]


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
