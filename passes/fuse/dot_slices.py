"""Slices of dots: the same dot, epilogue and all, for part of one dim of its result."""

from __future__ import annotations

from collections.abc import Sequence

from torch_mlir import ir

from axonc.dialects.attributes import splat, splat_number
from axonc.dialects.neuron import builder as build
from axonc.dialects.neuron.ops import BroadcastOp, ConstantOp, ConvertOp, FusedOp, YieldOp, isa


def is_conversion(op: ir.Operation) -> bool:
    """Whether the op only changes the element type."""
    if isa(op, ConvertOp):
        return True
    if not isa(op, FusedOp):
        return False
    inner = list(op.regions[0].blocks[0].operations)
    return len(inner) == 2 and isa(inner[0], ConvertOp)


def converted(value: ir.Value, element: ir.Type, loc: ir.Location) -> ir.Value:
    """`value` with another element type, as fusion leaves it."""
    kind = build.tensor(build.shape_of(value), element)
    return build.fused([value], kind, lambda a: build.convert(a[0], element, loc), loc)


def dot_like(
    op: ir.Operation,
    lhs: ir.Value,
    rhs: ir.Value,
    extras: Sequence[ir.Value],
    cut: int,
    size: int,
) -> ir.Value:
    """The dot `op`, epilogue and all, with other operands: result dim `cut` has `size`."""
    shape = list(build.shape_of(op.results[0]))
    shape[cut] = size
    kind = build.tensor(shape, op.results[0].type.element_type)
    dims = build.dot_dims(op)
    blocks = op.regions[0].blocks
    if not len(blocks):
        return build.dot_with_epilogue(lhs, rhs, (), dims, kind, None, op.location)

    def epilogue(arguments: Sequence[ir.Value]) -> ir.Value:
        return copied(blocks[0], arguments, shape)

    return build.dot_with_epilogue(lhs, rhs, extras, dims, kind, epilogue, op.location)


def sliced(value: ir.Value, dim: int, start: int, stop: int) -> ir.Value:
    """value[start:stop] in one dim."""
    shape = build.shape_of(value)
    low = [start if d == dim else 0 for d in range(len(shape))]
    high = [stop if d == dim else size for d, size in enumerate(shape)]
    return build.slice_(value, low, high)


def sliced_extra(
    value: ir.Value, block: ir.Block, number: int, cut: int, start: int, stop: int
) -> ir.Value:
    """Operand `number` of an epilogue for [start, stop) of result dim `cut`: sliced if it varies
    along that dim."""
    argument = block.arguments[number]
    shape = build.shape_of(value)
    users = [use.owner for use in argument.uses]
    if not users or not isa(users[0], BroadcastOp):
        return sliced(value, cut, start, stop)
    dims = users[0].dims
    varies = [i for i, d in enumerate(dims) if d == cut and shape[i] > 1]
    return sliced(value, varies[0], start, stop) if varies else value


def copied(block: ir.Block, arguments: Sequence[ir.Value], shape: Sequence[int]) -> ir.Value:
    """The body of `block` over other arguments, for a result of `shape`."""
    mapped = dict(zip(block.arguments, arguments, strict=True))
    for op in block.operations:
        if isa(op, YieldOp):
            return mapped[op.operands[0]]
        kind = build.tensor(shape, op.results[0].type.element_type)
        attributes = {name: op.attributes[name] for name in op.attributes}
        if isa(op, ConstantOp):
            number = splat_number(op.value)
            assert number is not None, "constants in regions are splats"
            attributes["value"] = splat(number, kind)
        operands = [mapped[value] for value in op.operands]
        made = ir.Operation.create(op.name, [kind], operands, attributes, loc=op.location)
        mapped[op.results[0]] = made.results[0]
    raise AssertionError("a region ends with neuron.yield")
