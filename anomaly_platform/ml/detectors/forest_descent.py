"""How rows descend complete trees, written in LLVM's own terms for the compiled loops.

Belongs here: what the loops of ``forest_kernels`` cannot say. All sixteen rows of a group are
compared with a node of the upper levels at once: one instruction on a processor with AVX-512, two
with AVX, four with SSE, where each row's own node takes seven for every row. Below, rows or trees
go side by side as one block of instructions without a loop, so that their loads overlap.

A node's position counts from the root, 0, to the leaves, 255 to 510, as in ``forest_kernels``.
"""

from typing import Any, Final

from llvmlite import ir

from anomaly_platform.ml.numba_parts import arrayobj, cgutils, intrinsic, types

DEPTH: Final = 8
NODES: Final = 2**DEPTH - 1
LEAVES: Final = 2**DEPTH
TOGETHER: Final = 16

#: Levels in which all rows are compared with all nodes. With a fifth, 31 comparisons, less is won.
_UPPER: Final = 4
_UPPER_NODES: Final = 2**_UPPER - 1

_BOOL, _INT, _LONG = ir.IntType(1), ir.IntType(32), ir.IntType(64)
_SINGLE, _DOUBLE = ir.FloatType(), ir.DoubleType()
_INTS, _SINGLES, _DOUBLES = (ir.VectorType(one, TOGETHER) for one in (_INT, _SINGLE, _DOUBLE))


@intrinsic
def descend_upper(
    _typing: Any, x: Any, d: Any, split: Any, cut: Any, groups: Any, reached: Any
) -> Any:
    """Write the node that each row reaches in the fifth level of a tree to ``reached``.

    Parameters
    ----------
    x, groups
        (`groups` d 16,) values in scaled units: of each group of sixteen rows, feature by feature.
    split, cut
        (255,) of the tree.
    reached
        (`groups` 16,).
    """
    return types.void(x, d, split, cut, groups, reached), _descend_upper


def _descend_upper(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    x, split, cut, reached = _data(context, builder, signature, args, (0, 2, 3, 5))
    # Whatever is written, these stay as they are: they are read before the loop.
    columns = [_column(builder, _at(builder, split, node)) for node in range(_UPPER_NODES)]
    cuts = [_all_lanes(builder, _at(builder, cut, node)) for node in range(_UPPER_NODES)]
    with cgutils.for_range(builder, args[4]) as loop:
        group = builder.mul(loop.index, _LONG(TOGETHER))
        rows = builder.gep(x, [builder.mul(group, args[1])])
        left = _constant([2 ** (_UPPER_NODES + 1) - 1] * TOGETHER)
        for node, (column, cuts_of_node) in enumerate(zip(columns, cuts, strict=True)):
            values = _load(builder, builder.gep(rows, [column]), _SINGLES, 4)
            right = builder.fcmp_ordered(">", values, cuts_of_node)
            kept = builder.and_(left, _constant([_right_of(node)] * TOGETHER))
            left = builder.select(right, kept, left)
        zeros = builder.call(_leading_zeros(builder.module), [left, _BOOL(1)])
        ahead = 32 - (_UPPER_NODES + 1) - _UPPER_NODES
        found = builder.sub(zeros, _constant([ahead] * TOGETHER))
        _store(builder, found, builder.gep(reached, [group]), 4)
    return context.get_dummy_value()


def _right_of(node: int) -> int:
    """Return the subtrees below the upper levels, a bit each, that a step to the right leaves.

    The first from the left is the highest bit, so that of those that all nodes leave together the
    highest is where a row comes out (QuickScorer, Lucchese et al. 2015).
    """
    subtrees, level = _UPPER_NODES + 1, (node + 1).bit_length() - 1
    width = subtrees >> (level + 1)
    first = (node + 1 - (1 << level)) * 2 * width
    passed: int = sum(1 << (subtrees - 1 - one) for one in range(first, first + width))
    return int(2**subtrees - 1) & ~passed


@intrinsic
def add_lengths(
    _typing: Any, x: Any, split: Any, cut: Any, length: Any, reached: Any, depth: Any
) -> Any:
    """Add the path lengths of sixteen rows in a tree to ``depth``, after `descend_upper`.

    Parameters
    ----------
    x, split, cut, reached
        As in `descend_upper`, of this group.
    length
        (256,) of the tree.
    depth
        (16,).
    """
    return types.void(x, split, cut, length, reached, depth), _add_lengths


def _add_lengths(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    x, split, cut, length, reached, depth = _data(context, builder, signature, args, range(6))
    nodes = [builder.zext(_at(builder, reached, lane), _LONG) for lane in range(TOGETHER)]
    for _ in range(_UPPER, DEPTH):
        for lane, node in enumerate(nodes):
            column = _column(builder, _load(builder, builder.gep(split, [node])))
            value = _load(builder, builder.gep(x, [builder.add(column, _LONG(lane))]))
            nodes[lane] = _child(builder, node, value, _load(builder, builder.gep(cut, [node])))
    lengths = ir.Constant(_SINGLES, ir.Undefined)
    for lane, node in enumerate(nodes):
        leaf = builder.sub(node, _LONG(NODES))
        one = _load(builder, builder.gep(length, [leaf]))
        lengths = builder.insert_element(lengths, one, _INT(lane))
    sums = _load(builder, depth, _DOUBLES, 8)
    _store(builder, builder.fadd(sums, builder.fpext(lengths, _DOUBLES)), depth, 8)
    return context.get_dummy_value()


def _sum_of_lengths(trees: int) -> Any:
    @intrinsic
    def sum_of_lengths(
        _typing: Any, x: Any, splits: Any, cuts: Any, lengths: Any, tree: Any, total: Any
    ) -> Any:
        return types.float64(x, splits, cuts, lengths, tree, total), lower

    def lower(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x, splits, cuts, lengths = _data(context, builder, signature, args, range(4))
        tree, total = args[4:]
        root, leaf = (builder.mul(tree, _LONG(size)) for size in (NODES, LEAVES))
        split, cut = builder.gep(splits, [root]), builder.gep(cuts, [root])
        nodes = [_LONG(0)] * trees
        for _ in range(DEPTH):
            for one, node in enumerate(nodes):
                place = builder.add(node, _LONG(one * NODES))
                column = builder.zext(_load(builder, builder.gep(split, [place])), _LONG)
                value = _load(builder, builder.gep(x, [column]))
                limit = _load(builder, builder.gep(cut, [place]))
                nodes[one] = _child(builder, node, value, limit)
        length = builder.gep(lengths, [leaf])
        for one, node in enumerate(nodes):
            place = builder.add(node, _LONG(one * LEAVES - NODES))
            depth = _load(builder, builder.gep(length, [place]))
            total = builder.fadd(total, builder.fpext(depth, _DOUBLE))
        return total

    return sum_of_lengths


#: Return ``total`` plus the path lengths of a row (d,) in so many trees from ``tree`` on, in order.
#: Of the numbers tried, from 4 to 50, 20 trees side by side were fastest.
sum_of_twenty = _sum_of_lengths(20)
sum_of_five = _sum_of_lengths(5)
sum_of_one = _sum_of_lengths(1)


def _data(context: Any, builder: Any, signature: Any, args: Any, places: Any) -> list[Any]:
    """Return the addresses of arrays' first elements."""
    return [arrayobj.make_array(signature.args[i])(context, builder, args[i]).data for i in places]


def _load(builder: Any, address: Any, vector: Any = None, align: int | None = None) -> Any:
    if vector is None:
        return builder.load(address)
    loaded = builder.load(builder.bitcast(address, vector.as_pointer()))
    loaded.align = align
    return loaded


def _store(builder: Any, vector: Any, address: Any, align: int) -> None:
    builder.store(vector, builder.bitcast(address, vector.type.as_pointer())).align = align


def _at(builder: Any, address: Any, place: int) -> Any:
    return builder.load(builder.gep(address, [_LONG(place)]))


def _column(builder: Any, feature: Any) -> Any:
    """Return where the values of a group's feature begin."""
    return builder.mul(builder.zext(feature, _LONG), _LONG(TOGETHER))


def _child(builder: Any, node: Any, value: Any, cut: Any) -> Any:
    right = builder.zext(builder.fcmp_ordered(">", value, cut), _LONG)
    return builder.add(builder.add(builder.add(node, node), _LONG(1)), right)


def _constant(values: list[int]) -> Any:
    return ir.Constant(_INTS, values)


def _all_lanes(builder: Any, value: Any) -> Any:
    empty = ir.Constant(_SINGLES, ir.Undefined)
    return builder.shuffle_vector(
        builder.insert_element(empty, value, _INT(0)), empty, _constant([0] * TOGETHER)
    )


def _leading_zeros(module: Any) -> Any:
    name = f"llvm.ctlz.v{TOGETHER}i32"
    kind = ir.FunctionType(_INTS, [_INTS, _BOOL])
    return module.globals.get(name) or ir.Function(module, kind, name)
