"""Slices of dots: the same dot, epilogue and all, for part of one dim of its result."""

from __future__ import annotations

from collections.abc import Sequence

from torch_mlir import ir

from axonc.dialects.attributes import splat, splat_number
from axonc.dialects.neuron import builder as build
from axonc.dialects.neuron.ops import BroadcastOp, ConstantOp, ConvertOp, FusedOp, YieldOp, isa
from axonc.passes.graph.dot_geometry import dot_geometry


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
    op: ir.Operation, lhs: ir.Value, rhs: ir.Value, cut: int, start: int, stop: int
) -> ir.Value:
    """The dot `op`, epilogue and all, with other operands, for [start, stop) of result dim `cut`.

    An element of an epilogue reads of each operand the element that the operand's broadcast names.
    Each such reading is cut or whole by itself: a vector may be read along rows and along columns.
    """
    shape = list(build.shape_of(op.results[0]))
    shape[cut] = stop - start
    kind = build.tensor(shape, op.results[0].type.element_type)
    dims = build.dot_dims(op)
    blocks = op.regions[0].blocks
    if not len(blocks):
        return build.dot_with_epilogue(lhs, rhs, (), dims, kind, None, op.location)
    readings = _readings(blocks[0], cut)
    extras = [
        value if dim is None else sliced(value, dim, start, stop)
        for number, dim in readings
        for value in [op.operands[number + 1]]
    ]

    def epilogue(arguments: Sequence[ir.Value]) -> ir.Value:
        of_reading = dict(zip(readings, arguments[1:], strict=True))
        return _copied(blocks[0], arguments[0], of_reading, cut, shape)

    return build.dot_with_epilogue(lhs, rhs, extras, dims, kind, epilogue, op.location)


def dot_part(
    op: ir.Operation,
    cut: int,
    start: int,
    stop: int,
    given: tuple[ir.Value | None, ir.Value | None] = (None, None),
) -> ir.Value:
    """[start, stop) of result dim `cut` of the dot `op`, from slices of its operands. given: an
    operand that has been cut already."""
    lhs, rhs = (
        given[number] or _along(op.operands[number], side.operand_dim(cut), start, stop)
        for number, side in enumerate(dot_geometry(op).sides)
    )
    return dot_like(op, lhs, rhs, cut, start, stop)


def _along(value: ir.Value, dim: int | None, start: int, stop: int) -> ir.Value:
    """What of `value` lies along a slice of a dim: all of it, if it does not vary there."""
    return value if dim is None else sliced(value, dim, start, stop)


def sliced(value: ir.Value, dim: int, start: int, stop: int) -> ir.Value:
    """value[start:stop] in one dim."""
    shape = build.shape_of(value)
    low = [start if d == dim else 0 for d in range(len(shape))]
    high = [stop if d == dim else size for d, size in enumerate(shape)]
    return build.slice_(value, low, high)


_Reading = tuple[int, int | None]
"""Number of an epilogue's argument, and the dim of it that lies along the cut dim, if any."""


def _readings(block: ir.Block, cut: int) -> list[_Reading]:
    """The ways in which the operations of an epilogue read its arguments after the accumulator."""
    found: dict[_Reading, None] = {}
    for op in block.operations:
        for value in op.operands:
            reading = _reading(op, value, cut)
            if reading is not None and reading[0] > 0:
                found[reading] = None
    return sorted(found, key=lambda reading: (reading[0], -1 if reading[1] is None else reading[1]))


def _reading(op: ir.Operation, value: ir.Value, cut: int) -> _Reading | None:
    """How `op`, in an epilogue, reads `value`; None if that is not an argument."""
    if not isinstance(value.owner, ir.Block):
        return None
    number = ir.BlockArgument(value).arg_number
    if not isa(op, BroadcastOp):
        return number, cut
    shape = build.shape_of(value)
    varies = [i for i, d in enumerate(op.dims) if d == cut and shape[i] > 1]
    return number, varies[0] if varies else None


def _copied(
    block: ir.Block,
    accumulator: ir.Value,
    of_reading: dict[_Reading, ir.Value],
    cut: int,
    shape: Sequence[int],
) -> ir.Value:
    """The body of the epilogue `block` for a result of `shape`."""
    mapped: dict[ir.Value, ir.Value] = {block.arguments[0]: accumulator}

    def operand(op: ir.Operation, value: ir.Value) -> ir.Value:
        reading = _reading(op, value, cut)
        return mapped[value] if reading is None or reading[0] == 0 else of_reading[reading]

    for op in block.operations:
        operands = [operand(op, value) for value in op.operands]
        if isa(op, YieldOp):
            return operands[0]
        kind = build.tensor(shape, op.results[0].type.element_type)
        attributes = {name: op.attributes[name] for name in op.attributes}
        if isa(op, ConstantOp):
            number = splat_number(op.value)
            assert number is not None, "constants in regions are splats"
            attributes["value"] = splat(number, kind)
        made = ir.Operation.create(op.name, [kind], operands, attributes, loc=op.location)
        mapped[op.results[0]] = made.results[0]
    raise AssertionError("a region ends with neuron.yield")
