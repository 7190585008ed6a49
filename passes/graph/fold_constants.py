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
from axonc.dialects.neuron.evaluate_cores import CORE_OPS
from axonc.dialects.neuron.ops import ELEMENTWISE_OPS

SMALL_ELEMENTS = 4096
"""Largest result that is computed at compile time when it is not a splat."""

_MOVES = frozenset(f"neuron.{n}" for n in ("broadcast", "reshape", "transpose", "slice", "reverse"))
"""Operations whose result is a splat of the same number as their operand."""

_NEVER = frozenset(
    f"neuron.{n}" for n in ("dot", "convolution", "fused", "constant", "iota", "reduce_window")
)


def constant_attribute(value: ir.Value) -> ir.Attribute | None:
    """The dense attribute of a value made by `neuron.constant`, else None."""
    owner = value.owner
    if isinstance(owner, ir.Block) or owner.operation.name != "neuron.constant":
        return None
    return owner.operation.attributes["value"]


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
    op = value.owner.operation
    if op.name in _NEVER or op.name in CORE_OPS or not op.name.startswith("neuron."):
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
    if splats and op.name in _MOVES:
        return ir.DenseElementsAttr.get_splat(kind, known[0].get_splat_value())
    if splats and op.name in ELEMENTWISE_OPS:
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
_EITHER: dict[str, _Test] = {
    "neuron.multiply": lambda c: c == 1,
    "neuron.maximum": lambda c: c == -math.inf,
    "neuron.minimum": lambda c: c == math.inf,
}
"""Commutative operations whose result is the other operand when the test holds."""

_RIGHT: dict[str, _Test] = {
    "neuron.divide": lambda c: c == 1,
    "neuron.subtract": lambda c: c == 0,
}


def _identity(op: ir.Operation) -> ir.Value | None:
    """An operand (or branch) the result is equal to."""
    operands = list(op.operands)
    if op.name == "neuron.select":
        return _chosen(operands)
    if op.name in ("neuron.and", "neuron.or"):
        return _boolean_identity(op.name, operands)
    either, right = _EITHER.get(op.name), _RIGHT.get(op.name)
    for position, value in enumerate(operands[:2]):
        number = splat_of(value)
        test = either or (right if position == 1 else None)
        if number is not None and test and test(number):
            return operands[1 - position]
    return None


def _chosen(operands: Sequence[ir.Value]) -> ir.Value | None:
    pred = splat_of(operands[0])
    return None if pred is None else operands[1 if pred else 2]


def _boolean_identity(name: str, operands: Sequence[ir.Value]) -> ir.Value | None:
    if str(operands[0].type.element_type) != "i1":
        return None
    neutral = 1 if name == "neuron.and" else 0
    for position, value in enumerate(operands):
        if splat_of(value) == neutral:
            return operands[1 - position]
    return None
