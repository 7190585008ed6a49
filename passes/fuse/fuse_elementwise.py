"""Group elementwise operations into `neuron.fused`, as large as possible.

Why: a fused graph is computed tile by tile without its intermediate tensors; the tile stage sees
one form only, so single operations are wrapped too.

Precondition: neuron operations, `merge-views` has run.
Postcondition: elementwise operations exist only inside regions.

Before:
    %0 = "neuron.broadcast"(%b) {dims = [1]} : (tensor<8xf32>) -> tensor<4x8xf32>
    %1 = "neuron.add"(%x, %0) : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
    %2 = "neuron.negate"(%1) : (tensor<4x8xf32>) -> tensor<4x8xf32>
After:
    %2 = "neuron.fused"(%x, %b) ({
    ^bb0(%a: tensor<4x8xf32>, %c: tensor<8xf32>):
      %0 = "neuron.broadcast"(%c) {dims = [1]} : (tensor<8xf32>) -> tensor<4x8xf32>
      %1 = "neuron.add"(%a, %0) : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
      %2 = "neuron.negate"(%1) : (tensor<4x8xf32>) -> tensor<4x8xf32>
      "neuron.yield"(%2) : (tensor<4x8xf32>) -> ()
    }) : (tensor<4x8xf32>, tensor<8xf32>) -> tensor<4x8xf32>

An operation joins the group of its users when all of them are in one group: nothing is computed
twice. Broadcasts of smaller tensors and splat constants are copied into every region that reads
them. Leaves alone: broadcasts that also permute dims, and constants that are no splats; both
become inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch_mlir import ir

from axonc.dialects.neuron import builder as build
from axonc.dialects.neuron.ops import ELEMENTWISE_OPS, BroadcastOp, ConstantOp, isa, kind_of
from axonc.passes.base import Pass
from axonc.passes.fuse.region_body import Mapping, copy_op, fits_runs, grouped_by_type
from axonc.passes.graph.fold_constants import splat_of
from axonc.passes.graph.rewrite import redirect
from axonc.passes.graph.uses import defining_op, erase_dead


@dataclass(frozen=True)
class FuseElementwisePass(Pass, name="fuse-elementwise", anchor="func.func"):
    """Group elementwise operations into neuron.fused, as large as possible."""

    def apply(self, op: ir.Operation) -> bool:
        block = op.regions[0].blocks[0]
        groups = find_groups(block)
        for group in groups:
            for part in _within_limits(group):
                fuse_group(part)
        return erase_dead(block) or bool(groups)


@dataclass
class Group:
    """Elementwise operations that become one."""

    members: list[ir.Operation] = field(default_factory=list)
    """Elementwise operations in program order; the last is the root, which alone is read
    outside."""

    @property
    def root(self) -> ir.Operation:
        return self.members[-1]


def find_groups(block: ir.Block) -> list[Group]:
    """Every elementwise operation of the block in the group of its users, or in one of its own."""
    group_of: dict[ir.Value, Group] = {}
    groups: list[Group] = []
    for op in reversed(list(block.operations)):
        if kind_of(op) not in ELEMENTWISE_OPS:
            continue
        group = _group_of_users(op, group_of)
        if group is None:
            group = Group()
            groups.append(group)
        group.members.append(op)
        group_of[op.results[0]] = group
    for group in groups:
        group.members.reverse()
    return groups[::-1]


def _group_of_users(op: ir.Operation, group_of: dict[ir.Value, Group]) -> Group | None:
    """The group all users are in; None when they differ or something else reads the result."""
    found: Group | None = None
    for use in op.results[0].uses:
        user = use.owner
        group = group_of.get(user.results[0]) if user.results else None
        if group is None or (found is not None and group is not found):
            return None
        found = group
    return found


def _within_limits(group: Group) -> list[Group]:
    """The group, or its operations one by one when its inputs have too many different types."""
    inputs = _inputs(group)
    if fits_runs([v.type for v in inputs]):
        return [group]
    return [Group([member]) for member in group.members]


def _inside(value: ir.Value) -> ir.Operation | None:
    """The broadcast or splat constant that is copied into a region instead of being an input."""
    op = defining_op(value)
    if op is None:
        return None
    if isa(op, BroadcastOp):
        dims = op.dims
        return op if list(dims) == sorted(dims) else None
    return op if isa(op, ConstantOp) and splat_of(value) is not None else None


def _inputs(group: Group) -> list[ir.Value]:
    """What the region reads from outside, values of one type together."""
    made = {member.results[0] for member in group.members}
    read: list[ir.Value] = []
    for member in group.members:
        for value in member.operands:
            if value in made:
                continue
            copied = _inside(value)
            read.extend(copied.operands if copied else [value])
    return grouped_by_type(read)


def fuse_group(group: Group) -> ir.Value:
    """Replace a group by a fused operation in the place of its root; its result."""
    root, inputs = group.root, _inputs(group)

    def body(arguments: Sequence[ir.Value]) -> ir.Value:
        values: Mapping = dict(zip(inputs, arguments, strict=True))
        for member in group.members:
            for value in member.operands:
                copied = None if value in values else _inside(value)
                if copied:
                    copy_op(copied, values)
            copy_op(member, values)
        return values[root.results[0]]

    with ir.InsertionPoint(root):
        result = build.fused(inputs, root.results[0].type, body, root.location)
    redirect(root.results, [result])
    for member in reversed(group.members):
        member.erase()
    return result
