"""Many arrays as one: where each lies in memory, and its shape.

A compiled function that is called from Python takes each array apart, which for a single reading
costs more than what is computed of it. One table of addresses is taken apart once. What lies in
which row of it, of which type and with how many axes, is said once, in the annotations of named
tuples, which both those who make a table and the compiled functions that read one go by.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Final, NoReturn, get_args, get_origin, get_type_hints

import numpy as np
from numba.np.numpy_support import from_dtype

from anomaly_platform.ml.arrays import AnyArray, Ints
from anomaly_platform.ml.numba_parts import arrayobj, intrinsic, types

#: Of a row in a table: an address and a shape.
_MOST_AXES: Final = 4


class Table:
    """Addresses of arrays, which it keeps. It cannot be copied: copied arrays lie elsewhere.

    Attributes
    ----------
    rows
        (arrays, 5) address, and shape of up to four axes, of each.
    """

    __slots__ = ("_arrays", "rows")

    def __init__(self, arrays: Sequence[AnyArray]) -> None:
        self._arrays = tuple(arrays)
        self.rows: Ints = np.array(
            [
                (one.ctypes.data, *one.shape, *(0,) * (_MOST_AXES - one.ndim))
                for one in self._arrays
            ],
            dtype=np.int64,
        )

    def __reduce__(self) -> NoReturn:
        raise TypeError("addresses of arrays hold in one process, for these arrays: no copies")


class Layout:
    """Which arrays lie in a table: those of named tuples, one after the other.

    Parameters
    ----------
    held
        Classes of the named tuples, each field annotated as ``Annotated[array, axes]``.

    Raises
    ------
    TypeError
        When a field is annotated as anything else.
    """

    def __init__(self, *held: Any) -> None:
        self._held = [
            (
                one,
                {
                    name: _kind(name, hint)
                    for name, hint in get_type_hints(one, None, None, True).items()
                },
            )
            for one in held
        ]

    def check(self, *held: tuple[AnyArray, ...]) -> None:
        """Refuse named tuples whose arrays are not as annotated.

        Raises
        ------
        ValueError
            When one is not contiguous, or of another type or number of axes.
        """
        for (_, kinds), arrays in zip(self._held, held, strict=True):
            for (name, (dtype, axes)), array in zip(kinds.items(), arrays, strict=True):
                if array.dtype != dtype or array.ndim != axes:
                    raise ValueError(
                        f"{name} has {array.ndim} axes of {array.dtype}, not {axes} of {dtype}"
                    )
                if not array.flags.c_contiguous:
                    raise ValueError(f"{name} is not contiguous")

    def table(self, *held: tuple[AnyArray, ...]) -> Table:
        """Return the addresses of named tuples' arrays, after `check`."""
        self.check(*held)
        return Table([array for arrays in held for array in arrays])

    def reader(self) -> Any:
        """Return a function for compiled ones: the named tuples in the rows of a table."""
        tuples = [
            types.NamedTuple(
                [types.Array(from_dtype(dtype), axes, "C") for dtype, axes in kinds.values()], one
            )
            for one, kinds in self._held
        ]
        return intrinsic(lambda _context, rows: (types.Tuple(tuples)(rows), _read))


def _kind(name: str, hint: Any) -> tuple[np.dtype[Any], int]:
    if get_origin(hint) is not Annotated:
        raise TypeError(f"{name} does not say how many axes it has")
    array, axes = get_args(hint)
    return np.dtype(*get_args(get_args(array)[1])), axes


def _read(context: Any, builder: Any, signature: Any, given: Any) -> Any:
    rows, row, held = arrayobj.make_array(signature.args[0])(context, builder, given[0]).data, 0, []
    for one in signature.return_type:
        arrays = [_array(context, builder, rows, row + i, kind) for i, kind in enumerate(one)]
        held.append(context.make_tuple(builder, one, arrays))
        row += len(arrays)
    return context.make_tuple(builder, signature.return_type, held)


def _array(context: Any, builder: Any, rows: Any, row: int, kind: Any) -> Any:
    def intp(number: int) -> Any:
        return context.get_constant(types.intp, number)

    first = row * (1 + _MOST_AXES)
    address, *shape = (
        builder.load(builder.gep(rows, [intp(first + i)])) for i in range(1 + kind.ndim)
    )
    itemsize = intp(arrayobj.get_itemsize(context, kind))
    strides = [itemsize]
    for size in shape[:0:-1]:
        strides.insert(0, builder.mul(strides[0], size))
    array = arrayobj.make_array(kind)(context, builder)
    data = builder.inttoptr(address, array.data.type)
    arrayobj.populate_array(array, data, shape, strides, itemsize, meminfo=None)
    return array._getvalue()
