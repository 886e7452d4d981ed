"""Four numbers at once in compiled functions: what the compiler does not find by itself.

numba leaves to LLVM's loops alone what is done side by side, and a loop of four is unrolled before
that is looked for. Each number is computed as it would be by itself, to the bit.
"""

from collections.abc import Callable
from typing import Any, Final

from numba.extending import models as numba_models
from numba.extending import register_model

from anomaly_platform.ml.numba_parts import arrayobj, cgutils, intrinsic, types

#: Without annotations of its own.
models: Any = numba_models
ir: Any = cgutils.ir

#: How many.
WIDTH: Final = 4
_VECTOR: Final = ir.VectorType(ir.DoubleType(), WIDTH)


class _Four(types.Type):  # type: ignore[misc]
    """Four doubles."""


_FOUR: Final = _Four(name="Four")
register_model(_Four)(lambda manager, kind: models.PrimitiveModel(manager, kind, _VECTOR))


def _place(context: Any, builder: Any, kind: Any, array: Any, at: Any) -> Any:
    data = arrayobj.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [at]), _VECTOR.as_pointer())


def _load(context: Any, builder: Any, signature: Any, given: Any) -> Any:
    return builder.load(_place(context, builder, signature.args[0], *given), align=8)


def _store(context: Any, builder: Any, signature: Any, given: Any) -> Any:
    array, at, four = given
    builder.store(four, _place(context, builder, signature.args[0], array, at), align=8)
    return context.get_dummy_value()


def _spread(_context: Any, builder: Any, _signature: Any, given: Any) -> Any:
    found = ir.Constant(_VECTOR, ir.Undefined)
    for k in range(WIDTH):
        found = builder.insert_element(found, given[0], ir.Constant(ir.IntType(32), k))
    return found


def _of_two(operation: str) -> Callable[..., Any]:
    def typed(_context: Any, _one: Any, _other: Any) -> Any:
        def code(_target: Any, builder: Any, _signature: Any, given: Any) -> Any:
            return getattr(builder, operation)(*given)

        return _FOUR(_FOUR, _FOUR), code

    found: Callable[..., Any] = intrinsic(typed)
    return found


#: Four from a contiguous array of doubles, from a place on that is not looked at.
load: Any = intrinsic(lambda _context, array, _at: (_FOUR(array, types.uint64), _load))
#: Write four into an array, from such a place on.
store: Any = intrinsic(
    lambda _context, array, _at, _four: (types.void(array, types.uint64, _FOUR), _store)
)
#: Four times the same number.
spread: Any = intrinsic(lambda _context, _number: (_FOUR(types.float64), _spread))
add, subtract, multiply, divide = (_of_two(name) for name in ("fadd", "fsub", "fmul", "fdiv"))
