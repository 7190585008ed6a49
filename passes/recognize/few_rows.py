"""A large cone for a few rows: the same function of a row, cheap to probe.

The operations of a cone do the same for every index of a dim that none of them reduces. So a copy
of the cone in which such dims are `ROWS` long computes, of every row, what the cone computes.
"""

from __future__ import annotations

import math

from torch_mlir import ir

from axonc.dialects.attributes import splat, splat_number
from axonc.dialects.neuron import builder as build
from axonc.dialects.neuron.ops import BroadcastOp, ReduceOp, ReshapeOp, isa
from axonc.passes.graph.fold_constants import constant_attribute
from axonc.passes.graph.shapes import Shape, shape_of
from axonc.passes.recognize.cone import Cone

FEW_ELEMENTS = 1 << 20
"""Cones of no more are probed as they are."""

ROWS = 3
"""Indices of a dim that nothing reduces: several, so that rows are seen to be independent."""


def with_few_rows(cone: Cone, axis: int) -> Cone | None:
    """The cone, or a copy whose root has few indices of the dims other than `axis`; None if some
    operation mixes dims in another way than by reducing them."""
    root = cone.ops[-1].results[0]
    shape = shape_of(root)
    if math.prod(shape) <= FEW_ELEMENTS:
        return cone
    few = tuple(n if d == axis else min(n, ROWS) for d, n in enumerate(shape))
    shapes = _shapes(cone, few)
    return None if shapes is None else _copied(cone, shapes)


def _shapes(cone: Cone, few: Shape) -> dict[ir.Value, Shape] | None:
    """Of every value, if those of the root are `few`; None if two readers want different ones."""
    found: dict[ir.Value, Shape] = {cone.ops[-1].results[0]: few}
    for op in reversed(cone.ops):
        for value in op.operands:
            shape = _operand_shape(op, shape_of(value), found[op.results[0]])
            is_number = _number(value) is not None
            if shape is None or not is_number and found.setdefault(value, shape) != shape:
                return None
            if constant_attribute(value) is not None and not is_number:
                return None
    return found if all(source in found for source in cone.sources) else None


def _operand_shape(op: ir.Operation, shape: Shape, result: Shape) -> Shape | None:
    """What an operand of `shape` becomes if the result becomes `result`."""
    if isa(op, BroadcastOp):
        return tuple(n if n == 1 else result[d] for n, d in zip(shape, op.dims, strict=True))
    if isa(op, ReduceOp):
        kept = iter(result)
        return tuple(n if d in op.dims else next(kept) for d, n in enumerate(shape))
    if isa(op, ReshapeOp):
        return _reshaped(shape, shape_of(op.results[0]), result)
    return result


def _reshaped(shape: Shape, whole: Shape, result: Shape) -> Shape | None:
    """Dims of one element may come and go; others stay in order."""
    if [n for n in shape if n > 1] != [n for n in whole if n > 1]:
        return None
    sizes = iter([few for few, n in zip(result, whole, strict=True) if n > 1])
    return tuple(1 if n == 1 else next(sizes) for n in shape)


def _number(value: ir.Value) -> float | int | bool | None:
    """That of a constant which is the same everywhere."""
    attribute = constant_attribute(value)
    return None if attribute is None else splat_number(attribute)


def _copied(cone: Cone, shapes: dict[ir.Value, Shape]) -> Cone:
    """The cone on values of other shapes, in a module of its own."""
    unknown = ir.Location.unknown(cone.ops[-1].context)
    holder = ir.Operation.create("builtin.module", regions=1, loc=unknown)
    block = ir.Block.create_at_start(holder.regions[0], [])
    mapped: dict[ir.Value, ir.Value] = {}
    for source in cone.sources:
        mapped[source] = block.add_argument(_type(source, shapes[source]), unknown)
    with ir.InsertionPoint(block), unknown:
        made = [_copy(op, shapes, mapped) for op in cone.ops]
    return Cone(tuple(made), tuple(mapped[source] for source in cone.sources))


def _copy(
    op: ir.Operation, shapes: dict[ir.Value, Shape], mapped: dict[ir.Value, ir.Value]
) -> ir.OpView:
    result = op.results[0]
    operands = []
    for value in op.operands:
        number = _number(value)
        if number is None:
            operands.append(mapped[value])
        else:
            shape = _operand_shape(op, shape_of(value), shapes[result])
            assert shape is not None, "shapes were found for every operand"
            operands.append(build.constant(splat(number, _type(value, shape))))
    attributes = {name: op.attributes[name] for name in op.attributes}
    made = ir.Operation.create(op.name, [_type(result, shapes[result])], operands, attributes)
    mapped[result] = made.results[0]
    return made.opview


def _type(value: ir.Value, shape: Shape) -> ir.RankedTensorType:
    return build.tensor(shape, value.type.element_type)
