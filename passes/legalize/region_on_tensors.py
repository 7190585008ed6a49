"""Regions that compute scalars, applied to whole tensors element by element."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch_mlir import ir

from axonc.dialects.attributes import dense_to_numpy
from axonc.dialects.neuron import builder as build
from axonc.passes.graph.fold_constants import fold, splat_of
from axonc.passes.legalize.elementwise import ELEMENTWISE_LEGALIZERS
from axonc.passes.unsupported import Unsupported

Legalizer = Callable[[ir.Operation], ir.Value]


def apply_region(
    region: ir.Region, arguments: Sequence[ir.Value], what: str, hint: str
) -> list[ir.Value]:
    """What the region returns for every element of the arguments, tensors of one shape.

    Raises:
        Unsupported: "`what` by <operation>", with the hint: it is not elementwise.
    """
    block = region.blocks[0]
    shape = build.shape_of(arguments[0])
    known = dict(zip(block.arguments, arguments, strict=True))
    for view in block.operations:
        op = view.operation
        if op.name == "stablehlo.return":
            return [_spread(v, known, shape) for v in op.operands]
        known[op.results[0]] = _wide(op, known, shape, what, hint)
    raise Unsupported(f"{what} without a result of its region")


def _spread(value: ir.Value, known: Mapping[ir.Value, ir.Value], shape: Sequence[int]) -> ir.Value:
    """A value of the region; one from outside of it is a scalar. A constant is made anew, as there
    may be no way out of where this goes."""
    if value in known:
        return known[value]
    number = splat_of(value)
    if number is not None:
        return build.splat_constant(number, build.tensor(shape, value.type.element_type))
    return fold(build.broadcast(value, shape, ()))


def _wide(
    op: ir.Operation,
    known: Mapping[ir.Value, ir.Value],
    shape: Sequence[int],
    what: str,
    hint: str,
) -> ir.Value:
    """One scalar operation, on tensors of `shape`."""
    kind = build.tensor(shape, op.results[0].type.element_type)
    if op.name == "stablehlo.constant":
        number = dense_to_numpy(op.attributes["value"]).reshape(-1)[0]
        return build.splat_constant(number, kind)
    legalizer = _ELEMENTWISE.get(op.name)
    if legalizer is None:
        raise Unsupported(f"{what} by {op.name}", hint)
    operands = [_spread(v, known, shape) for v in op.operands]
    attributes = dict(op.attributes.items())
    copy = ir.Operation.create(op.name, [kind], operands, attributes, loc=op.location)
    found = fold(legalizer(copy))
    copy.erase()
    return found


_ELEMENTWISE: dict[str, Legalizer] = {
    f"stablehlo.{name}": rule for name, rule in ELEMENTWISE_LEGALIZERS.items()
}
