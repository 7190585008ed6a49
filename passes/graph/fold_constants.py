"""Constant folding of neuron operations while they are made: splats, small tensors, identities.

Not a pass: `legalize-to-neuron` calls `fold` on each value it makes, so that constants reach the
places that need to know them (gather indices, epsilons, scales) whatever the frontend wrote in
between.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from torch_mlir import ir

from axonc.dialects.attributes import dense_to_numpy, numpy_to_dense, splat_number
from axonc.dialects.neuron import builder as build
from axonc.dialects.neuron.evaluate import evaluate_op
from axonc.dialects.neuron.ops import (
    COLLECTIVES,
    ELEMENTWISE_OPS,
    PRODUCTS,
    VIEWS,
    AndOp,
    ConstantOp,
    DivideOp,
    FusedOp,
    IotaOp,
    MaximumOp,
    MinimumOp,
    MultiplyOp,
    OpClass,
    OrOp,
    PartitionIdOp,
    ReduceWindowOp,
    SelectOp,
    SortOp,
    SubtractOp,
    is_neuron,
    isa,
    kind_of,
)

SMALL_ELEMENTS = 4096
"""Largest result that is computed at compile time when it is not a splat."""

_NEVER = (
    PRODUCTS | COLLECTIVES | {FusedOp, ConstantOp, IotaOp, ReduceWindowOp, PartitionIdOp, SortOp}
)
"""What is not computed at compile time."""


def constant_attribute(value: ir.Value) -> ir.Attribute | None:
    """The dense attribute of a value made by `neuron.constant`, else None."""
    owner = value.owner
    if isinstance(owner, ir.Block) or not isa(owner, ConstantOp):
        return None
    return owner.value


def splat_of(value: ir.Value) -> float | int | None:
    """The number of a splat constant, else None."""
    attribute = constant_attribute(value)
    return None if attribute is None else splat_number(attribute)


def constant_array(value: ir.Value) -> np.ndarray | None:
    """The elements of a constant, else None."""
    attribute = constant_attribute(value)
    return None if attribute is None else dense_to_numpy(attribute)


def fold(value: ir.Value) -> ir.Value:
    """`value`, or a simpler value equal to it. A new constant is made at the insertion point."""
    if isinstance(value.owner, ir.Block):
        return value
    op = value.owner
    if kind_of(op) in _NEVER or not is_neuron(op):
        return value
    known = [constant_attribute(v) for v in op.operands]
    if any(attribute is not None for attribute in known):
        same = _identity(op)
        if same is not None:
            return same
    if not known or any(attribute is None for attribute in known):
        return value
    attribute = _folded(op, known)
    return value if attribute is None else build.constant(attribute)


def _folded(op: ir.Operation, known: Sequence[ir.Attribute]) -> ir.Attribute | None:
    kind = op.results[0].type
    splats = all(ir.DenseElementsAttr(a).is_splat for a in known)
    if splats and kind_of(op) in VIEWS:
        return ir.DenseElementsAttr.get_splat(kind, known[0].get_splat_value())
    if splats and kind_of(op) in ELEMENTWISE_OPS:
        scalars = [dense_to_numpy(a).reshape(-1)[:1] for a in known]
        if all(s.size for s in scalars):
            return _splat_result(evaluate_op(op, scalars), kind)
    if all(_small(v.type) for v in (*op.operands, op.results[0])):
        result = evaluate_op(op, [dense_to_numpy(a) for a in known])
        return numpy_to_dense(result, kind.element_type)
    return None


def _splat_result(scalar: np.ndarray, kind: ir.RankedTensorType) -> ir.Attribute:
    single = numpy_to_dense(scalar, kind.element_type)
    return ir.DenseElementsAttr.get_splat(kind, single.get_splat_value())


def _small(kind: ir.RankedTensorType) -> bool:
    return math.prod(kind.shape) <= SMALL_ELEMENTS


# ---- identities ----------------------------------------------------------------------------------

_Test = Callable[[float | int], bool]
_EITHER: dict[OpClass, _Test] = {
    MultiplyOp: lambda c: c == 1,
    MaximumOp: lambda c: c == -math.inf,
    MinimumOp: lambda c: c == math.inf,
}
"""Commutative operations whose result is the other operand when the test holds."""

_RIGHT: dict[OpClass, _Test] = {
    DivideOp: lambda c: c == 1,
    SubtractOp: lambda c: c == 0 and math.copysign(1, c) > 0,
}
"""The same for the right operand alone. x - 0 is x for all x, but -0 - (-0) is 0."""


def _identity(op: ir.Operation) -> ir.Value | None:
    """An operand (or branch) the result is equal to."""
    operands = list(op.operands)
    if isa(op, SelectOp):
        return _chosen(operands)
    if isa(op, AndOp, OrOp):
        return _boolean_identity(1 if isa(op, AndOp) else 0, operands)
    either, right = _EITHER.get(kind_of(op)), _RIGHT.get(kind_of(op))
    for position, value in enumerate(operands[:2]):
        number = splat_of(value)
        test = either or (right if position == 1 else None)
        if number is not None and test and test(number):
            return operands[1 - position]
    return None


def _chosen(operands: Sequence[ir.Value]) -> ir.Value | None:
    pred = splat_of(operands[0])
    return None if pred is None else operands[1 if pred else 2]


def _boolean_identity(neutral: int, operands: Sequence[ir.Value]) -> ir.Value | None:
    if str(operands[0].type.element_type) != "i1":
        return None
    for position, value in enumerate(operands):
        if splat_of(value) == neutral:
            return operands[1 - position]
    return None
