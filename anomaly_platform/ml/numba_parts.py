"""Parts of numba that intrinsics are written with; they have no annotations of their own."""

from typing import Any

from numba import types as numba_types
from numba.core import cgutils as numba_cgutils
from numba.extending import intrinsic as numba_intrinsic
from numba.np import arrayobj as numba_arrays

types: Any = numba_types
arrayobj: Any = numba_arrays
cgutils: Any = numba_cgutils
intrinsic: Any = numba_intrinsic
