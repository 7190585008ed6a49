"""Move a reshape of a dot's result below the elementwise operations that follow it.

Why: `x @ w` is often reshaped (flattened batch, split heads) before the bias is added; only an
elementwise graph that reads the dot in its own shape can become the dot's epilogue.

Precondition: neuron operations, `merge-views` has run, before fusion.
Postcondition: no elementwise operation, and no softmax along a dim that stays, reads a reshape of a
dot result (or of such an operation's result) when its other operands can be had in the dot's shape.

Before:
    %dot = "neuron.dot"(%x, %w) ({})
         {lhs_batch = [], lhs_contract = [1], rhs_batch = [], rhs_contract = [0]}
         : (tensor<128x32xf32>, tensor<32x64xf32>) -> tensor<128x64xf32>
    %0 = "neuron.reshape"(%dot) : (tensor<128x64xf32>) -> tensor<1x128x64xf32>
    %1 = "neuron.broadcast"(%b) {dims = [2]} : (tensor<64xf32>) -> tensor<1x128x64xf32>
    %2 = "neuron.add"(%0, %1) : (tensor<1x128x64xf32>, tensor<1x128x64xf32>) -> tensor<1x128x64xf32>
After:
    %dot = "neuron.dot"(%x, %w) ({})
         {lhs_batch = [], lhs_contract = [1], rhs_batch = [], rhs_contract = [0]}
         : (tensor<128x32xf32>, tensor<32x64xf32>) -> tensor<128x64xf32>
    %1 = "neuron.broadcast"(%b) {dims = [1]} : (tensor<64xf32>) -> tensor<128x64xf32>
    %2 = "neuron.add"(%dot, %1) : (tensor<128x64xf32>, tensor<128x64xf32>) -> tensor<128x64xf32>
    %3 = "neuron.reshape"(%2) : (tensor<128x64xf32>) -> tensor<1x128x64xf32>

Other operands: splats are made anew, broadcasts re-aimed where their dims allow, anything else is
reshaped. Leaves alone: reshapes read by more than one operation, operations over two dots of
different shapes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch_mlir import ir

from axonc.dialects.attributes import integer, splat
from axonc.dialects.neuron import builder as build
from axonc.dialects.neuron.ops import (
    ELEMENTWISE_OPS,
    BroadcastOp,
    DotOp,
    ReshapeOp,
    SoftmaxOp,
    isa,
    kind_of,
    short_name,
)
from axonc.passes.base import Pass
from axonc.passes.graph.fold_constants import splat_of
from axonc.passes.graph.rewrite import in_place_of, redirect
from axonc.passes.graph.uses import defining_op, erase_dead, use_count


@dataclass(frozen=True)
class SinkReshapePass(Pass, name="sink-reshape", anchor="func.func"):
    """Move a reshape of a dot's result below the elementwise operations that follow it."""

    def apply(self, op: ir.Operation) -> bool:
        block = op.regions[0].blocks[0]
        followers: set[ir.Value] = set()
        changed = False
        for each in list(block.operations):
            if isa(each, DotOp):
                followers.add(each.results[0])
            elif kind_of(each) in ELEMENTWISE_OPS:
                changed |= _sink(each, followers)
            elif isa(each, SoftmaxOp):
                changed |= _sink_softmax(each, followers)
        return erase_dead(block) or changed


def _sink(op: ir.Operation, followers: set[ir.Value]) -> bool:
    """Compute `op` in the shape of the dot it follows; record it as a follower."""
    followed = [v for v in op.operands if _reshaped(v, followers) is not None]
    if not followed:
        if any(v in followers and use_count(v) == 1 for v in op.operands):
            followers.add(op.results[0])
        return False
    before = _reshaped(followed[0], followers)
    assert before is not None
    after = build.shape_of(op.results[0])
    groups = dim_groups(build.shape_of(before), after)
    with in_place_of(op):
        operands = [_in_shape(v, build.shape_of(before), after, groups) for v in op.operands]
        kind = build.tensor(build.shape_of(before), op.results[0].type.element_type)
        name = short_name(op)
        result = build.create(name, operands, kind, dict(op.attributes.items()))
        redirect(op.results, [build.reshape(result, after)])
    followers.add(result)
    return True


def _sink_softmax(op: ir.Operation, followers: set[ir.Value]) -> bool:
    """As `_sink`, if the reshape leaves the softmax's dim alone."""
    operand, after = op.operands[0], build.shape_of(op.results[0])
    before = _reshaped(operand, followers)
    if before is None:
        if operand in followers and use_count(operand) == 1:
            followers.add(op.results[0])
        return False
    axis = op.axis
    groups = dim_groups(build.shape_of(before), after)
    found = [left for left, right in groups if axis in right and len(left) == len(right) == 1]
    if not found:
        return False
    with in_place_of(op):
        result = build.create(
            short_name(op), (before,), before.type, {"axis": integer(found[0][0])}
        )
        redirect(op.results, [build.reshape(result, after)])
    followers.add(result)
    return True


def _reshaped(value: ir.Value, followers: set[ir.Value]) -> ir.Value | None:
    """The follower behind reshapes, when each is read by one operation only."""
    op = defining_op(value, ReshapeOp)
    while op is not None and use_count(value) == 1:
        value = op.operands[0]
        if value in followers and use_count(value) == 1:
            return value
        op = defining_op(value, ReshapeOp)
    return None


Groups = list[tuple[tuple[int, ...], tuple[int, ...]]]


def dim_groups(before: Sequence[int], after: Sequence[int]) -> Groups:
    """The finest split of both shapes into runs of dims with equal numbers of elements."""
    groups: Groups = []
    i = j = 0
    while i < len(before) or j < len(after):
        left, right = [], []
        if i < len(before):
            left, i = [i], i + 1
        if j < len(after) and (not left or before[left[0]] != 1 or after[j] == 1):
            right, j = [j], j + 1
        while math.prod(before[d] for d in left) != math.prod(after[d] for d in right):
            if math.prod(before[d] for d in left) < math.prod(after[d] for d in right):
                left, i = [*left, i], i + 1
            else:
                right, j = [*right, j], j + 1
        groups.append((tuple(left), tuple(right)))
    return groups


def _in_shape(
    value: ir.Value, before: tuple[int, ...], after: tuple[int, ...], groups: Groups
) -> ir.Value:
    """`value` of shape `after` in shape `before`."""
    kind = build.tensor(before, value.type.element_type)
    number = splat_of(value)
    if number is not None:
        return build.constant(splat(number, kind))
    inner = defining_op(value, ReshapeOp)
    if inner is not None and build.shape_of(inner.operands[0]) == before:
        return inner.operands[0]
    spread = defining_op(value, BroadcastOp)
    aimed = _aimed(spread, before, after, groups) if spread else None
    return build.reshape(value, before) if aimed is None else aimed


def _aimed(
    spread: ir.Operation, before: tuple[int, ...], after: tuple[int, ...], groups: Groups
) -> ir.Value | None:
    """The broadcast made to `before`; None when it repeats only part of a group of dims."""
    source = spread.operands[0]
    dims = spread.dims
    real = [d for d, size in zip(dims, build.shape_of(source), strict=True) if size != 1]
    if real != sorted(real):
        return None
    places: list[int] = []
    for left, right in groups:
        wide = [d for d in right if after[d] != 1]
        held = [d for d in wide if d in real]
        if held and held != wide:
            return None
        places += [d for d in left if before[d] != 1] if held else []
    return build.broadcast(build.reshape(source, [before[d] for d in places]), before, places)
