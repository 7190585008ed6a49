"""Add what all cores hold before an all_reduce, a core's share each, instead of after it.

Why: behind a product that is summed over the cores come a bias and a residual. Added afterwards
they are passes over the tensor that nothing can hide, as everything waits for the sum. Added
before, they ride in the eviction of the product, and are ready long before it.

Precondition: neuron operations before fusion; arguments of `@main` say in `neuron.parts` which
cores hold the same. Postcondition: an all_reduce that sums a product, and to whose result alone
values are added which all cores of a group hold alike, sums the product plus a share of them. With
a residual among them the share is a fused operation of its own, in front of the next product.

Before (two cores, %b and %x the same on both):
    %0 = "neuron.dot"(%h, %w)
    %1 = "neuron.all_reduce"(%0) {groups = [[0, 1]], kind = "sum"}
    %2 = "neuron.add"(%1, %b)
    %3 = "neuron.add"(%2, %x)
After:
    %4 = "neuron.fused"(%b, %x) ({ add; multiply by 0.5 })
    %0 = "neuron.dot"(%h, %w)
    %6 = "neuron.add"(%0, %4)
    %3 = "neuron.all_reduce"(%6) {groups = [[0, 1]], kind = "sum"}

The sum is the same up to rounding: shares are exact for 2^k cores, and sums are made in another
order. Leaves alone: addends that may differ between cores, sums read by more than one operation,
and what is no product of floats.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

from torch_mlir import ir

from axonc.backends.isa.collective_groups import Groups
from axonc.dialects.attributes import element_name
from axonc.dialects.neuron import builder as build
from axonc.dialects.neuron.ops import (
    AddOp,
    AllReduceOp,
    BroadcastOp,
    ConvertOp,
    DotOp,
    MultiplyOp,
    ReshapeOp,
    isa,
    kind_of,
)
from axonc.dialects.neuron.repeat import called_functions
from axonc.dialects.neuron.table import FLOAT
from axonc.passes.base import Pass
from axonc.passes.fuse.fuse_elementwise import Group, fuse_group
from axonc.passes.fuse.region_body import copy_op
from axonc.passes.fuse.replication import Replication
from axonc.passes.graph.module import cores_of, main_function
from axonc.passes.graph.rewrite import in_place_of, redirect
from axonc.passes.graph.uses import defining_op, erase_dead, only_user, use_count

_SCALINGS = frozenset({MultiplyOp, ConvertOp})
_VIEWS = frozenset({BroadcastOp, ReshapeOp})


@dataclass(frozen=True)
class AddBeforeReducePass(Pass, name="add-before-reduce"):
    """Add biases and residuals before an all_reduce, a core's share each, instead of after it."""

    def apply(self, op: ir.Operation) -> bool:
        cores = cores_of(op)
        if cores == 1:
            return False
        main = main_function(op)
        replication = Replication(main, cores)
        changed = False
        for function in called_functions(main):
            block = function.regions[0].blocks[0]
            operations = list(block.operations)
            dots = [op for op in operations if isa(op, DotOp)]
            for each in operations:
                if isa(each, AllReduceOp) and _sums_product(each):
                    changed |= _rewrite(each, replication, dots)
            erase_dead(block)
        return changed


@dataclass(frozen=True)
class _Addends:
    """What is added to the result of an all_reduce."""

    values: tuple[ir.Value, ...] = ()
    """What is added to a sum, one after the other."""
    chain: tuple[ir.Operation, ...] = ()
    """The operations that do so, the last of which gives the final result."""


def _sums_product(op: ir.Operation) -> bool:
    is_sum = op.kind == "sum"
    is_float = element_name(op.results[0].type) in FLOAT
    return is_sum and is_float and _is_product(op.operands[0])


def _is_product(value: ir.Value) -> bool:
    """A dot, perhaps scaled or converted, that nothing else reads: the addition will join it."""
    op = defining_op(value)
    if op is None or use_count(value) != 1:
        return False
    return isa(op, DotOp) or (kind_of(op) in _SCALINGS and any(map(_is_product, op.operands)))


def _rewrite(reduction: ir.Operation, replication: Replication, dots: list[ir.Operation]) -> bool:
    groups = reduction.groups
    found = _addends(reduction, groups, replication)
    if not found.values:
        return False
    product, last = reduction.operands[0], found.chain[-1]
    share = _share(found.values, len(groups[0]), build.shape_of(product), last, dots)
    with in_place_of(last):
        summand = build.create("add", (product, share), product.type)
    with ir.InsertionPoint(last), reduction.location:
        result = build.all_reduce(summand, "sum", groups)
        final = build.reshape(result, build.shape_of(last.results[0]))
    redirect(last.results, [final])
    for op in (*reversed(found.chain), reduction):
        op.erase()
    return True


def _addends(reduction: ir.Operation, groups: Groups, replication: Replication) -> _Addends:
    """Follows the sum through additions and reshapes, as long as one operation reads it."""
    value = reduction.results[0]
    values: tuple[ir.Value, ...] = ()
    chain: tuple[ir.Operation, ...] = ()
    found = _Addends()
    while (user := only_user(value)) is not None:
        chain += (user,)
        if isa(user, AddOp):
            other = user.operands[1 if user.operands[0] == value else 0]
            if not replication.is_equal(other, groups):
                break
            values += (other,)
            found = _Addends(values, chain)
        elif not isa(user, ReshapeOp):
            break
        value = user.results[0]
    return found


def _share(
    values: tuple[ir.Value, ...],
    cores: int,
    shape: tuple[int, ...],
    last: ir.Operation,
    dots: list[ir.Operation],
) -> ir.Value:
    """The sum of the values, divided by the number of cores: for itself and early if there is a
    whole tensor among them, else before `last`, where it becomes part of an epilogue."""
    residuals = [root for v in values if build.shape_of(root := _root(v)) == build.shape_of(v)]
    place = _after_all(residuals, last, dots) if residuals else ir.InsertionPoint(last)
    with place, last.location:
        total, *others = (build.reshape(_copied(value), shape) for value in values)
        members = []
        for other in others:
            total = build.create("add", (total, other), total.type)
            members.append(total.owner)
        factor = build.splat_constant(1 / cores, total.type)
        total = build.create("multiply", (total, factor), total.type)
        members.append(total.owner)
    return fuse_group(Group(members)) if residuals else total


def _root(value: ir.Value) -> ir.Value:
    """What a broadcast or reshape shows."""
    op = defining_op(value)
    return _root(op.operands[0]) if op is not None and kind_of(op) in _VIEWS else value


def _copied(value: ir.Value) -> ir.Value:
    """The broadcasts and reshapes that make the value of its root, at the insertion point."""
    op = defining_op(value)
    if op is None or kind_of(op) not in _VIEWS:
        return value
    return copy_op(op, {op.operands[0]: _copied(op.operands[0])})


def _after_all(
    values: list[ir.Value], last: ir.Operation, dots: list[ir.Operation]
) -> ir.InsertionPoint:
    """Where all the values have been made, and behind the next product with its epilogue unless it
    is the last before `last`: what that product waits for is more urgent."""
    latest: ir.Operation | None = None
    for op in map(defining_op, values):
        if op is not None and (latest is None or latest.is_before_in_block(op)):
            latest = op
    number = 0
    if latest is not None:
        number = bisect_left(dots, True, key=latest.is_before_in_block)
    if number + 1 < len(dots) and dots[number + 1].is_before_in_block(last):
        return ir.InsertionPoint(dots[number + 1])
    if latest is None:
        return ir.InsertionPoint.at_block_begin(last.operation.block)
    return ir.InsertionPoint.after(latest)
