"""Merge chains of broadcasts, reshapes and transposes into one operation on the first source.

Why: frontends spell "add the bias" as reshape, broadcast, broadcast. The recognisers and the
fusion want to see one broadcast of the smallest tensor, with the dims it really has.

Precondition: neuron operations.
Postcondition: no broadcast reads a broadcast or a reshape that only adds dims of size 1; no reshape
reads a reshape; no transpose reads a transpose; broadcasts that repeat nothing and transposes that
only move dims of size 1 are reshapes.

Before:
    %0 = "neuron.reshape"(%b) : (tensor<8xf32>) -> tensor<1x8xf32>
    %1 = "neuron.broadcast"(%0) {dims = [0, 1]} : (tensor<1x8xf32>) -> tensor<4x8xf32>
After:
    %1 = "neuron.broadcast"(%b) {dims = [1]} : (tensor<8xf32>) -> tensor<4x8xf32>

Leaves alone: a reshape between a transpose and another view, which may really move data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch_mlir import ir

from axonc.dialects.neuron import builder as build
from axonc.dialects.neuron.ops import BroadcastOp, OpClass, ReshapeOp, TransposeOp, kind_of
from axonc.passes.base import Pass
from axonc.passes.graph.rewrite import in_place_of, redirect
from axonc.passes.graph.uses import defining_op, erase_dead


@dataclass(frozen=True)
class MergeViewsPass(Pass, name="merge-views", anchor="func.func"):
    """Merge chains of broadcasts, reshapes and transposes."""

    def apply(self, op: ir.Operation) -> bool:
        block = op.regions[0].blocks[0]
        changed = False
        for each in list(block.operations):
            changed |= _merge(each)
        return erase_dead(block) or changed


def _merge(op: ir.Operation) -> bool:
    """Replace a view by a simpler one until nothing simplifies it; whether anything did."""
    current, changed = op, False
    while rule := _RULES.get(kind_of(current)):
        with in_place_of(op):
            simpler = rule(current)
        if simpler is None:
            break
        redirect(current.results, [simpler])
        changed = True
        if isinstance(simpler.owner, ir.Block):
            break
        current = simpler.owner
    return changed


def unit_mapping(before: Sequence[int], after: Sequence[int]) -> list[int | None] | None:
    """Where each dim goes in a reshape which only adds or drops dims of size 1 (None: dropped).

    None when the reshape does more than that.
    """
    mapping: list[int | None] = []
    place = 0
    for size in before:
        while place < len(after) and after[place] != size and after[place] == 1:
            place += 1
        if place < len(after) and after[place] == size:
            mapping.append(place)
            place += 1
        elif size == 1:
            mapping.append(None)
        else:
            return None
    return mapping if all(size == 1 for size in after[place:]) else None


def _merge_broadcast(op: ir.Operation) -> ir.Value | None:
    operand, shape = op.operands[0], build.shape_of(op.results[0])
    dims = op.dims
    repeats = math.prod(build.shape_of(operand)) != math.prod(shape)
    if not repeats and list(dims) == sorted(dims):
        return build.reshape(operand, shape)
    if inner := defining_op(operand, BroadcastOp):
        through = [dims[d] for d in inner.dims]
        return build.broadcast(inner.operands[0], shape, through)
    inner = defining_op(operand, ReshapeOp)
    if inner is None:
        return None
    source = inner.operands[0]
    mapping = unit_mapping(build.shape_of(source), build.shape_of(operand))
    if mapping is None or source.type.rank > operand.type.rank:
        return None
    places = [d for d in mapping if d is not None]
    if len(places) != len(mapping):
        return None
    return build.broadcast(source, shape, [dims[d] for d in places])


def _merge_reshape(op: ir.Operation) -> ir.Value | None:
    operand, shape = op.operands[0], build.shape_of(op.results[0])
    if build.shape_of(operand) == shape:
        return operand
    if inner := defining_op(operand, ReshapeOp):
        return build.reshape(inner.operands[0], shape)
    inner = defining_op(operand, BroadcastOp)
    mapping = unit_mapping(build.shape_of(operand), shape) if inner else None
    if inner is None or mapping is None:
        return None
    places = [mapping[d] for d in inner.dims]
    known = [p for p in places if p is not None]
    return build.broadcast(inner.operands[0], shape, known) if len(known) == len(places) else None


def _merge_transpose(op: ir.Operation) -> ir.Value | None:
    operand = op.operands[0]
    permutation = op.permutation
    if inner := defining_op(operand, TransposeOp):
        first = inner.permutation
        return build.transpose(inner.operands[0], [first[p] for p in permutation])
    moved = [p for p in permutation if operand.type.shape[p] != 1]
    return build.reshape(operand, op.results[0].type.shape) if moved == sorted(moved) else None


_RULES: dict[OpClass, Callable[[ir.Operation], ir.Value | None]] = {
    BroadcastOp: _merge_broadcast,
    ReshapeOp: _merge_reshape,
    TransposeOp: _merge_transpose,
}
