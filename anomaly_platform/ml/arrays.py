"""Types of the arrays that the library takes and gives."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
SmallInts = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]
AnyArray = npt.NDArray[Any]

Arrays = Mapping[str, AnyArray]
"""What a bundle stores of one model, by name."""

Columns = Mapping[str, Floats]
"""Features of the rows of one series, by name."""

Extremes = Mapping[str, tuple[float, float]]
"""Least and greatest value of arrays by name; NaN for both where there is one among the values."""


class StoredArrays(dict[str, AnyArray]):
    """Arrays of one model as they were read.

    Attributes
    ----------
    extremes
        Of those that have values; some may be left out.
    """

    def __init__(self, arrays: Arrays, extremes: Extremes) -> None:
        super().__init__(arrays)
        self.extremes = extremes
