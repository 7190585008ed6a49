"""Removal of neuron operations nothing reads: all of the dialect are pure, but for collectives."""

from __future__ import annotations

from torch_mlir import ir

from axonc.dialects.neuron.ops import COLLECTIVES, OpClass, is_neuron, kind_of


def erase_dead(block: ir.Block) -> bool:
    """Erase unused neuron operations of a block, users first; whether there were any."""
    found = False
    for op in reversed(list(block.operations)):
        is_pure = is_neuron(op) and kind_of(op) not in COLLECTIVES
        if is_pure and op.results and not any(_used(r) for r in op.results):
            op.erase()
            found = True
    return found


def _used(value: ir.Value) -> bool:
    return next(iter(value.uses), None) is not None


def use_count(value: ir.Value) -> int:
    """How many operands read the value."""
    return sum(1 for _ in value.uses)


def defining_op(value: ir.Value, *kinds: OpClass) -> ir.OpView | None:
    """The operation that makes the value (if it is one of `kinds`, when any is given); None for
    arguments."""
    owner = value.owner
    if isinstance(owner, ir.Block):
        return None
    return owner if not kinds or isinstance(owner, kinds) else None


def only_user(value: ir.Value) -> ir.OpView | None:
    """The one operation that reads `value`, once; None if there are other reads."""
    uses = list(value.uses)
    return uses[0].owner if len(uses) == 1 else None
