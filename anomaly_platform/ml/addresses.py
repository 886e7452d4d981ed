"""Many arrays as one: where each lies in memory, and its shape.

A compiled function that is called from Python takes each array apart, which for a single reading
costs more than what is computed of it. One table of addresses is taken apart once. Whoever makes
one keeps its arrays, and makes another when he puts others in their place.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.numpy_support import carray

from anomaly_platform.ml.arrays import AnyArray, Ints
from anomaly_platform.ml.compiled import compiled


def addresses(arrays: Sequence[AnyArray]) -> Ints:
    """Return (arrays, 5) addresses, and shapes of up to four axes, of contiguous arrays.

    Raises
    ------
    ValueError
        When one is not contiguous.
    """
    if not all(array.flags.c_contiguous for array in arrays):
        raise ValueError("an array is not contiguous")
    rows = [(one.ctypes.data, *one.shape, *(0,) * (4 - one.ndim)) for one in arrays]
    return np.array(rows, dtype=np.int64)


def _convert(_context: Any, number: Any) -> Any:
    def convert(_context: Any, builder: Any, _signature: Any, given: Any) -> Any:
        return builder.inttoptr(given[0], cgutils.voidptr_t)

    return types.voidptr(number), convert


_pointer: Any = intrinsic(_convert)


@compiled()
def vector(table: Any, i: int, dtype: Any) -> Any:  # pragma: no cover
    """Return the array in a row of a table, which has one axis."""
    return carray(_pointer(table[i, 0]), (table[i, 1],), dtype)


@compiled()
def matrix(table: Any, i: int, dtype: Any) -> Any:  # pragma: no cover
    """Return the array in a row of a table, which has two axes."""
    return carray(_pointer(table[i, 0]), (table[i, 1], table[i, 2]), dtype)


@compiled()
def cube(table: Any, i: int, dtype: Any) -> Any:  # pragma: no cover
    """Return the array in a row of a table, which has three axes."""
    return carray(_pointer(table[i, 0]), (table[i, 1], table[i, 2], table[i, 3]), dtype)


@compiled()
def block(table: Any, i: int, dtype: Any) -> Any:  # pragma: no cover
    """Return the array in a row of a table, which has four axes."""
    shape = (table[i, 1], table[i, 2], table[i, 3], table[i, 4])
    return carray(_pointer(table[i, 0]), shape, dtype)
