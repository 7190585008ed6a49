"""Which updates may write into the memory of their operand: an analysis.

A `dynamic_update_slice` or `scatter_rows` makes a new tensor. Where the old one is read by nothing
that comes later, its memory can become the new one's, and only what changes is written: this is
what makes a key-value cache cheap. Relabellings and conversions read nothing themselves; their
readers count.

The memory of an argument may be written only if the caller gave it away (`neuron.alias`), and only
by updates that lead to the result that takes its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch_mlir import ir

from axonc.dialects.neuron.ops import (
    ConvertOp,
    DynamicUpdateSliceOp,
    FusedOp,
    ScatterRowsOp,
    kind_of,
)
from axonc.passes.layout.view_ops import VIEW_OPS

CONVERSIONS = frozenset({ConvertOp, FusedOp})
"""What may be delayed to its readers; a fused graph that is not is read early, which is allowed
for, too."""


@dataclass
class UpdatePlan:
    """Which slice updates are done in place."""

    in_place: set[ir.Value] = field(default_factory=set)
    """Results of updates that are written into their operand's memory."""
    ends: dict[ir.Value, int] = field(default_factory=dict)
    """For results of updates that start in fresh memory, the number of the program's result that
    memory becomes."""

    def forget_end(self, number: int) -> None:
        """Result `number` has memory of its own already."""
        self.ends = {value: end for value, end in self.ends.items() if end != number}


def plan_updates(block: ir.Block, donated: Mapping[ir.Value, int]) -> UpdatePlan:
    """The plan of a function's only block. donated: arguments whose memory may be written, with
    the number of the result that may take it; it must be where the updates lead."""
    order = {op: number for number, op in enumerate(block.operations)}
    plan = UpdatePlan()
    updates = {op.results[0]: op for op in block.operations if _updates(op)}
    for result, op in updates.items():
        is_ours = op.operands[0] in updates or op.operands[0] in donated
        if is_ours and _last_read(op.operands[0], order, except_for=op) <= order[op]:
            plan.in_place.add(result)
    final = list(block.operations)[-1]
    ends = [_begin(v, updates, plan) for v in final.operands if final.name == "func.return"]
    for result in [r for r in plan.in_place if updates[r].operands[0] in donated]:
        if ends[donated[updates[result].operands[0]]] != updates[result].operands[0]:
            plan.in_place.remove(result)
    for number, value in enumerate(final.operands):
        begin = _begin(value, updates, plan)
        if begin in updates:
            plan.ends.setdefault(begin, number)
    return plan


def _updates(op: ir.OpView) -> bool:
    return bool(isinstance(op, DynamicUpdateSliceOp | ScatterRowsOp))


def _begin(value: ir.Value, updates: Mapping[ir.Value, ir.Operation], plan: UpdatePlan) -> ir.Value:
    """The value in whose memory `value` lies: itself, or what it was updated from in place."""
    while value in plan.in_place:
        value = updates[value].operands[0]
    return value


def _last_read(value: ir.Value, order: dict[ir.Operation, int], except_for: ir.Operation) -> int:
    """The position of the last operation that reads `value`, itself or relabelled. An update reads
    its operand, too: it is a reader here unless it is `except_for` and the operand its own."""
    last = -1
    for use in value.uses:
        user = use.owner
        if user == except_for and use.operand_number == 0:
            continue
        if kind_of(user) in VIEW_OPS or kind_of(user) in CONVERSIONS:
            last = max(last, order[user], _last_read(user.results[0], order, except_for))
        else:
            last = max(last, order[user])
    return last
