"""Loops made ready to be cut: what they do not change is no longer carried, and their conditions
are computed where what they read is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch_mlir import ir

from axonc.dialects.neuron.argument_names import COUNT
from axonc.passes.graph.copies import Values, copy_operations
from axonc.passes.graph.loop_counts import CONTROL_FLOW
from axonc.passes.graph.rewrite import in_place_of


@dataclass(frozen=True)
class Conditions:
    """Numbers (i32) that are not 0 if the body is to be run (again): of the values a loop begins
    with, made before it; of those that its body returns, made at the end of it."""

    before: ir.Value
    after: ir.Value


def prepare_loops(block: ir.Block) -> dict[ir.Operation, Conditions]:
    """Of every loop in it, also of inner ones, whose number of iterations is not known. A condition
    may have loops in it itself: its copies are found when they have been made.

    Operations are looked up by what they read, so those of the result must not be changed."""
    found: dict[ir.Operation, Conditions] = {}
    ready: list[ir.Operation] = []
    while fresh := [op for op in _control_flow(block) if op not in ready]:
        for op in fresh:
            inner = list(op.regions)
            if op.name == "stablehlo.while":
                _share_invariants(op)
                inner = [op.regions[1]]
                if COUNT not in op.attributes:
                    found[op] = _conditions(op)
            for region in inner:
                found |= prepare_loops(region.blocks[0])
        ready += fresh
    return found


def _control_flow(block: ir.Block) -> list[ir.Operation]:
    return [o.operation for o in block.operations if o.operation.name in CONTROL_FLOW]


def _share_invariants(op: ir.Operation) -> None:
    """What every iteration hands on as it got it is read from where it was before the loop."""
    condition, body = (region.blocks[0] for region in op.regions)
    returned = list(body.operations)[-1].operands
    for number, value in enumerate(returned):
        if value == body.arguments[number]:
            for other in (condition.arguments[number], value, op.results[number]):
                other.replace_all_uses_with(op.operands[number])


def _conditions(op: ir.Operation) -> Conditions:
    condition, body = (region.blocks[0] for region in op.regions)
    final = list(body.operations)[-1].operation
    with in_place_of(op):
        before = _computed(condition, list(op.operands))
    with in_place_of(final):
        return Conditions(before, _computed(condition, list(final.operands)))


def _computed(condition: ir.Block, arguments: Sequence[ir.Value]) -> ir.Value:
    """The condition of these values, at the insertion point, as a number."""
    values: Values = dict(zip(condition.arguments, arguments, strict=True))
    *operations, final = condition.operations
    copy_operations(operations, values)
    (proceeds,) = final.operands
    return _converted(values.get(proceeds, proceeds))


def as_number(op: ir.Operation) -> ir.Value:
    """What an `if` or a `case` chooses by, made before it: 1 for the first branch of an `if`; the
    number of the branch of a `case`."""
    if op.name == "stablehlo.case":
        return op.operands[0]
    with in_place_of(op):
        return _converted(op.operands[0])


def _converted(value: ir.Value) -> ir.Value:
    number = ir.RankedTensorType.get([], ir.IntegerType.get_signless(32))
    return ir.Operation.create("stablehlo.convert", [number], [value]).results[0]
