"""The elementwise DAG inside a `neuron.fused` op or a dot's epilogue, as an expression.

Built once per op; the tile stage covers it with instructions for every tile (emit.py).
Leaves are the region's arguments (with the broadcast that is applied to them), constants are
numbers. Every other op is rewritten here into what the engines have: by float_rewrites.py and
integer_rewrites.py, and below for the three ops whose types differ.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from torch_mlir import ir

from axonc.backends.numerics.dtypes import DType
from axonc.dialects.attributes import splat_number
from axonc.dialects.neuron.ops import YieldOp, isa, short_name
from axonc.dialects.neuron.table import COMPARISONS, ELEMENTWISE
from axonc.passes.graph.machine_dtype import machine_dtype
from axonc.passes.tile.elementwise.expression_nodes import (
    Expression,
    cast,
    compare,
    constant,
    is_bool,
)
from axonc.passes.tile.elementwise.float_rewrites import FLOAT_OPS, rewrite_float, truncated
from axonc.passes.tile.elementwise.integer_rewrites import (
    INTEGER_REWRITES,
    convert_integer,
    rewrite_integer,
)

__all__ = [
    "Expression",
    "count_uses",
    "expression_of",
    "machine_dtype",
    "region_expression",
    "supported_elementwise",
]


def supported_elementwise() -> tuple[str, ...]:
    """Neuron ops that have a rewrite."""
    return tuple(sorted({*FLOAT_OPS, *INTEGER_REWRITES, *_MIXED}))


def region_expression(block: ir.Block) -> Expression:
    """The expression a region yields."""
    leaves = [_leaf(a, number, None) for number, a in enumerate(block.arguments)]
    return count_uses(expression_of(block, leaves))


def expression_of(block: ir.Block, leaves: Sequence[Expression]) -> Expression:
    """The expression a region yields when its arguments are `leaves`; uses are not counted."""
    nodes = dict(zip(block.arguments, leaves, strict=True))
    for op in block.operations:
        if isa(op, YieldOp):
            return nodes[op.operands[0]]
        nodes[op.results[0]] = _node(op, nodes)
    raise AssertionError("a region ends with neuron.yield")


def _leaf(value: ir.Value, number: int, broadcast: tuple[int, ...] | None) -> Expression:
    return Expression(
        "leaf",
        (),
        machine_dtype(value.type),
        argument=number,
        broadcast=broadcast,
        is_bool=is_bool(value.type),
    )


def _node(op: ir.Operation, nodes: dict[ir.Value, Expression]) -> Expression:
    name = short_name(op)
    result = op.results[0]
    dtype = machine_dtype(result.type)
    if name == "constant":
        return _constant(splat_number(op.value), dtype, is_bool(result.type))
    args = tuple(nodes[value] for value in op.operands)
    if name == "broadcast":
        source = args[0]
        if source.is_constant:
            return source
        return _leaf(op.operands[0], source.argument, op.dims)
    node = Expression(name, args, dtype, is_bool=is_bool(result.type))
    if name == "compare":
        node.direction = op.direction
    return rewrite(node)


def _constant(value: float | int | None, dtype: DType, boolean: bool) -> Expression:
    assert value is not None, "constants in regions are splats"
    made = constant(value, dtype)
    made.is_bool = boolean
    return made


def count_uses(root: Expression) -> Expression:
    """The root, after all nodes were told how many others read them."""
    seen: set[int] = set()
    stack = [root]
    root.uses = 1
    while stack:
        node = stack.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        for arg in node.args:
            arg.uses += 1
            stack.append(arg)
    return root


# ---- rewrites ------------------------------------------------------------------------------


def rewrite(e: Expression) -> Expression:
    """`e`, a neuron op, in the vocabulary of expression_nodes.py. Constants are folded."""
    if e.args and all(arg.is_constant for arg in e.args):
        folded = _folded(e)
        if not math.isnan(folded.value) or e.op != "bitcast":  # a NaN has more bits than that
            return folded
    if e.op in _MIXED:
        return _MIXED[e.op](e)
    if e.dtype.is_float:
        return rewrite_float(e)
    return rewrite_integer(e)


def _folded(e: Expression) -> Expression:
    """The number that `e` is, computed in float32 or in its integer type."""
    first = e.args[0].dtype
    kind = np.dtype(np.float32) if first.is_float else first.numpy
    if e.is_bool and e.op not in ("compare", "convert"):
        kind = np.dtype(np.bool_)
    with np.errstate(all="ignore"):
        arrays = [np.array([arg.value]).astype(kind) for arg in e.args]
        result = _FOLDS.get(e.op, _fold_elementwise)(e, arrays)
        return _constant(result.astype(e.dtype.numpy)[0], e.dtype, e.is_bool)


def _fold_elementwise(e: Expression, arrays: list[np.ndarray]) -> np.ndarray:
    return ELEMENTWISE[e.op].function(*arrays)


def _fold_convert(e: Expression, arrays: list[np.ndarray]) -> np.ndarray:
    return arrays[0] != 0 if e.is_bool else arrays[0]


def _fold_bitcast(e: Expression, arrays: list[np.ndarray]) -> np.ndarray:
    return arrays[0].astype(e.args[0].dtype.numpy).view(e.dtype.numpy)


_FOLDS = {
    "bitcast": _fold_bitcast,
    "compare": lambda e, arrays: COMPARISONS[e.direction](*arrays),
    "select": lambda e, arrays: np.array([e.args[1 if e.args[0].value else 2].value]),
    "convert": _fold_convert,
}


def _select(e: Expression) -> Expression:
    """Of a constant predicate: one side. Of an inverted one: the sides exchanged."""
    predicate, on_true, on_false = e.args
    if predicate.is_constant:
        return on_true if predicate.value else on_false
    inner = _inverted(predicate)
    if inner is not None:
        return Expression("select", (inner, on_false, on_true), e.dtype, is_bool=e.is_bool)
    return e


def _inverted(predicate: Expression) -> Expression | None:
    """p, if `predicate` is `p == 0` for a boolean p."""
    if predicate.op != "compare" or predicate.direction != "EQ":
        return None
    first, second = predicate.args
    is_zero = second.is_constant and second.value == 0.0
    return first if first.is_bool and is_zero else None


def _compare(e: Expression) -> Expression:
    return compare(e.args[0], e.direction, e.args[1])


def _convert(e: Expression) -> Expression:
    source = e.args[0]
    if e.is_bool:
        return source if source.is_bool else compare(source, "NE", 0.0)
    if source.dtype == e.dtype and not source.is_bool:
        return source
    if source.is_bool or e.dtype.is_float:
        return cast(source, e.dtype)
    if source.dtype.is_float:
        return truncated(source, e.dtype)
    return convert_integer(source, e.dtype)


def _bitcast(e: Expression) -> Expression:
    """`bits` reads what was stored, so the operand is rounded to its type before."""
    source = e.args[0]
    return source if source.dtype == e.dtype else Expression("bits", (source,), e.dtype)


_MIXED = {"select": _select, "compare": _compare, "convert": _convert, "bitcast": _bitcast}
