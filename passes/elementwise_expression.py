"""The elementwise DAG inside a `neuron.fused` op or a dot's epilogue, as small Python objects.

Built once per op; the tile stage covers it with instructions for every tile (tile_elementwise.py).
Leaves are the region's arguments (with the broadcast that is applied to them), constants are
numbers. Ops the engines do not have are rewritten here into ops they have, one table entry each.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from torch_mlir import ir

from axonc.backends.numerics.dtypes import DTYPES, F32, DType
from axonc.diagnostics import UnsupportedOpError
from axonc.dialects.attributes import integers, splat_number

MLIR_DTYPES: dict[str, DType] = {
    "f32": DTYPES["f32"],
    "tf32": DTYPES["tf32"],
    "bf16": DTYPES["bf16"],
    "f16": DTYPES["f16"],
    "f8E5M2": DTYPES["f8e5m2"],
    "f8E4M3": DTYPES["f8e4m3"],
    "f8E3M4": DTYPES["f8e3m4"],
    "i32": DTYPES["i32"],
    "ui32": DTYPES["u32"],
    "i16": DTYPES["i16"],
    "ui16": DTYPES["u16"],
    "i8": DTYPES["i8"],
    "ui8": DTYPES["u8"],
    "i1": DTYPES["u8"],
}
"""Storage type on the machine of every MLIR element type that reaches the tile stage."""


def machine_dtype(mlir_type: ir.Type) -> DType:
    """Storage dtype of a tensor type (or element type)."""
    element = getattr(mlir_type, "element_type", mlir_type)
    if str(element) not in MLIR_DTYPES:
        raise UnsupportedOpError(
            f"element type {element} has no place on the machine",
            hint=f"the machine stores {', '.join(MLIR_DTYPES)}",
        )
    return MLIR_DTYPES[str(element)]


@dataclass(eq=False)
class Expression:
    """op: a neuron op name without dialect, `leaf` or `constant`.

    argument, broadcast: for a leaf, the region argument's number and the dims map of the broadcast
    applied to it (None: it has the full shape). is_bool: the MLIR type is i1. uses: how many nodes
    read it."""

    op: str
    args: tuple[Expression, ...]
    dtype: DType
    value: float = 0.0
    direction: str = ""
    argument: int = -1
    broadcast: tuple[int, ...] | None = None
    is_bool: bool = False
    uses: int = field(default=0)

    @property
    def is_constant(self) -> bool:
        return self.op == "constant"


def constant(value: float, dtype: DType = F32) -> Expression:
    return Expression("constant", (), dtype, value=float(value))


def region_expression(block: ir.Block) -> Expression:
    """The expression a region yields."""
    nodes: dict[ir.Value, Expression] = {}
    for number, argument in enumerate(block.arguments):
        nodes[argument] = _leaf(argument, number, None)
    for op in block.operations:
        if op.name == "neuron.yield":
            return _count_uses(nodes[op.operands[0]])
        nodes[op.results[0]] = _node(op, nodes)
    raise AssertionError("a region ends with neuron.yield")


def _leaf(value: ir.Value, number: int, broadcast: tuple[int, ...] | None) -> Expression:
    return Expression(
        "leaf",
        (),
        machine_dtype(value.type),
        argument=number,
        broadcast=broadcast,
        is_bool=str(ir.RankedTensorType(value.type).element_type) == "i1",
    )


def _node(op: ir.Operation, nodes: dict[ir.Value, Expression]) -> Expression:
    name = op.name.removeprefix("neuron.")
    result = op.results[0]
    dtype = machine_dtype(result.type)
    if name == "constant":
        return constant(splat_value(op.attributes["value"]), dtype)
    args = tuple(nodes[value] for value in op.operands)
    if name == "broadcast":
        source = args[0]
        if source.is_constant:
            return source
        return _leaf(op.operands[0], source.argument, integers(op.attributes["dims"]))
    node = Expression(name, args, dtype)
    node.is_bool = str(ir.RankedTensorType(result.type).element_type) == "i1"
    if name == "compare":
        node.direction = ir.StringAttr(op.attributes["direction"]).value
    return rewrite(node)


def splat_value(attribute: ir.Attribute) -> float:
    """The number of a splat constant."""
    number = splat_number(attribute)
    assert number is not None, "constants in regions are splats"
    return float(number)


def _count_uses(root: Expression) -> Expression:
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


# ---- rewrites into what the engines have ---------------------------------------------------


def _negate(e: Expression) -> Expression:
    return Expression("multiply", (e.args[0], constant(-1.0, e.dtype)), e.dtype)


def _divide(e: Expression) -> Expression:
    """a / b = a * (1 / b): there is no divide on this core; at most 1.5 ulp in float32."""
    a, b = e.args
    if not e.dtype.is_float:
        raise UnsupportedOpError("integer division has no instruction", op="neuron.divide")
    if b.is_constant and b.value != 0.0:
        return Expression("multiply", (a, constant(1.0 / b.value, b.dtype)), e.dtype)
    inverse = Expression("reciprocal", (b,), b.dtype)
    if a.is_constant and a.value == 1.0:
        return inverse
    return Expression("multiply", (a, inverse), e.dtype)


def _power_of(exponent: float) -> Callable[[Expression], Expression]:
    def rewritten(e: Expression) -> Expression:
        return Expression("power", (e.args[0], constant(exponent)), e.dtype)

    return rewritten


def _power(e: Expression) -> Expression:
    base, exponent = e.args
    if exponent.is_constant and exponent.value == 2.0:
        return Expression("multiply", (base, base), e.dtype)
    return e


def _not(e: Expression) -> Expression:
    if not e.is_bool:
        return e
    return Expression("compare", (e.args[0], constant(0.0)), e.dtype, direction="EQ", is_bool=True)


def _convert(e: Expression) -> Expression:
    source = e.args[0]
    if source.is_constant:
        rounded = np.array(source.value).astype(e.dtype.numpy)
        return constant(float(rounded), e.dtype)
    if e.is_bool and not source.is_bool:
        return Expression("compare", (source, constant(0.0)), e.dtype, direction="NE", is_bool=True)
    if source.dtype.is_float and not e.dtype.is_float:
        raise UnsupportedOpError(
            f"{source.dtype} to {e.dtype} truncates towards zero; the engines round",
            op="neuron.convert",
        )
    if source.dtype == e.dtype:
        return source
    return e


REWRITES: dict[str, Callable[[Expression], Expression]] = {
    "negate": _negate,
    "divide": _divide,
    "sqrt": _power_of(0.5),  # the table of ScalarE is not valid at 0 (hardware.md 3.3)
    "rsqrt": _power_of(-0.5),
    "power": _power,
    "not": _not,
    "convert": _convert,
}


def rewrite(node: Expression) -> Expression:
    """`node`, or what replaces it; constant operands are folded."""
    if node.args and all(arg.is_constant for arg in node.args) and node.op in _FOLDS:
        value = _FOLDS[node.op](*(arg.value for arg in node.args))
        return constant(value, node.dtype)
    return REWRITES.get(node.op, lambda e: e)(node)


_FOLDS: dict[str, Callable[..., float]] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "negate": lambda a: -a,
    "sqrt": lambda a: math.sqrt(a),
}
