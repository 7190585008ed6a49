"""Which slice updates may write into the memory of their operand: an analysis.

A `dynamic_update_slice` makes a new tensor. Where the old one is read by nothing that comes later,
its memory can become the new one's, and only the updated box is written: this is what makes a
key-value cache cheap. Relabellings and conversions read nothing themselves; their readers count.

The memory of an argument may be written only if the caller gave it away (`neuron.alias`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch_mlir import ir

from axonc.passes.view_ops import VIEW_OPS

ALIAS = "neuron.alias"
"""Attribute of an argument: the number of the result that may take its memory."""

UPDATE = "neuron.dynamic_update_slice"
RETURNS = ("func.return", "return")
CONVERSIONS = ("neuron.convert", "neuron.fused")
"""What may be delayed to its readers; a fused graph that is not is read early, which is allowed
for, too."""


@dataclass
class UpdatePlan:
    """in_place: results of updates that are written into their operand's memory. ends: for results
    of updates that start in fresh memory, the number of the program's result that memory becomes.
    """

    in_place: set[ir.Value] = field(default_factory=set)
    ends: dict[ir.Value, int] = field(default_factory=dict)


def plan_updates(block: ir.Block, given_away: set[ir.Value]) -> UpdatePlan:
    """The plan of a function's only block. given_away: arguments whose memory may be written."""
    order = {op.operation: number for number, op in enumerate(block.operations)}
    plan = UpdatePlan()
    updates = [op.operation for op in block.operations if op.operation.name == UPDATE]
    for op in updates:
        operand = op.operands[0]
        is_update = (
            not isinstance(operand.owner, ir.Block) and operand.owner.operation.name == UPDATE
        )
        is_ours = is_update or operand in given_away
        if is_ours and _last_read(operand, order, except_for=op) <= order[op]:
            plan.in_place.add(op.results[0])
    _find_ends(block, updates, plan)
    return plan


def _last_read(value: ir.Value, order: dict[ir.Operation, int], except_for: ir.Operation) -> int:
    """The position of the last operation that reads `value`, itself or relabelled. An update reads
    its operand, too: it is a reader here unless it is `except_for` and the operand its own."""
    last = -1
    for use in value.uses:
        user = use.owner.operation
        if user == except_for and use.operand_number == 0:
            continue
        if user.name in VIEW_OPS or user.name in CONVERSIONS:
            last = max(last, order[user], _last_read(user.results[0], order, except_for))
        else:
            last = max(last, order[user])
    return last


def _find_ends(block: ir.Block, updates: list[ir.Operation], plan: UpdatePlan) -> None:
    """Follows each chain of updates back from the results to the one in fresh memory."""
    final = list(block.operations)[-1].operation
    if final.name not in RETURNS:
        return
    made = {op.results[0]: op for op in updates}
    for number, value in enumerate(final.operands):
        while value in made and value in plan.in_place:
            value = made[value].operands[0]
        if value in made:
            plan.ends.setdefault(value, number)
