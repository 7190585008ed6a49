"""Let dots read repeated batch elements where they lie: grouped-query attention without copies.

Why: where several query heads share one key head, models repeat the keys, a broadcast and a reshape
that merges the repeated dim into the heads. The merged dim has no stride, so the keys would be
copied through device memory. Unmerged, the repeat is a dim of stride 0 and costs nothing.

Precondition: neuron operations, `merge-views` has run; before `sink-reshape`, which moves the
reshape of the result on. Postcondition: no dot reads a merged repeat of one of its batch dims: the
dim is split in both operands and the result. If the other operand is lhs and a row vector for each
head (one token is decoded), the repeat is one of its free dims instead, so that one product serves
all heads that share a key.

Before:
    %0 = "neuron.broadcast"(%k) {dims = [0, 2, 3]} : (tensor<4x9x64xf32>) -> tensor<4x8x9x64xf32>
    %1 = "neuron.reshape"(%0) : (tensor<4x8x9x64xf32>) -> tensor<32x9x64xf32>
    %2 = "neuron.dot"(%q, %1) ({})
         {lhs_batch = [0], lhs_contract = [2], rhs_batch = [0], rhs_contract = [2]}
         : (tensor<32x7x64xf32>, tensor<32x9x64xf32>) -> tensor<32x7x9xf32>
After:
    %0 = "neuron.broadcast"(%k) {dims = [0, 2, 3]} : (tensor<4x9x64xf32>) -> tensor<4x8x9x64xf32>
    %3 = "neuron.reshape"(%q) : (tensor<32x7x64xf32>) -> tensor<4x8x7x64xf32>
    %4 = "neuron.dot"(%3, %0) ({})
         {lhs_batch = [0, 1], lhs_contract = [3], rhs_batch = [0, 1], rhs_contract = [3]}
         : (tensor<4x8x7x64xf32>, tensor<4x8x9x64xf32>) -> tensor<4x8x7x9xf32>
    %2 = "neuron.reshape"(%4) : (tensor<4x8x7x9xf32>) -> tensor<32x7x9xf32>

Leaves alone: repeats of contracted or free dims.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch_mlir import ir

from axonc.dialects.neuron import builder as build
from axonc.dialects.neuron.ops import BroadcastOp, DotOp, ReshapeOp
from axonc.passes.base import Pass
from axonc.passes.graph.rewrite import in_place_of, ops_of, redirect
from axonc.passes.graph.shapes import reshape_groups
from axonc.passes.graph.uses import defining_op, erase_dead

LHS, RHS = 0, 1


@dataclass(frozen=True)
class GroupRepeatedHeadsPass(Pass, name="group-repeated-heads", anchor="func.func"):
    """Let dots read repeated batch elements where they lie, without merging the repeat."""

    def apply(self, op: ir.Operation) -> bool:
        block = op.regions[0].blocks[0]
        changed = False
        for each in ops_of(block, DotOp):
            changed |= _group(each)
        return erase_dead(block) or changed


@dataclass(frozen=True)
class _Repeat:
    """An operand's dim that merges `heads` elements with `times` copies of each."""

    dim: int
    heads: int
    times: int
    unmerged: ir.Value
    """The broadcast, in which dim `dim` + 1 is the copies."""
    source: ir.Value
    """What it repeats, without that dim."""


def _group(dot: ir.Operation) -> bool:
    if len(dot.regions[0].blocks) or len(dot.operands) != 2:
        return False
    dims = build.dot_dims(dot)
    for side in (LHS, RHS):
        repeat = _repeat(dot.operands[side])
        if repeat is not None and repeat.dim in dims[side]:
            with in_place_of(dot):
                result = _regrouped(dot, side, repeat)
                redirect(dot.results, [build.reshape(result, _shape(dot.results[0]))])
            return True
    return False


def _shape(value: ir.Value) -> tuple[int, ...]:
    return build.shape_of(value)


def _repeat(value: ir.Value) -> _Repeat | None:
    """The repeat that `value` merges; None if it is anything else."""
    merge = defining_op(value, ReshapeOp)
    spread = defining_op(merge.operands[0], BroadcastOp) if merge else None
    if merge is None or spread is None:
        return None
    unmerged = spread.results[0]
    groups = [g for g in reshape_groups(_shape(unmerged), _shape(value)) if len(g[0]) != 1]
    if len(groups) != 1 or len(groups[0][0]) != 2 or len(groups[0][1]) != 1:
        return None
    (heads, times), (dim,) = groups[0]
    source = _without(spread, times)
    if source is None or heads != dim:
        return None
    shape = _shape(unmerged)
    return _Repeat(dim, shape[heads], shape[times], unmerged, source)


def _without(spread: ir.Operation, repeated: int) -> ir.Value | None:
    """What the broadcast repeats, in the shape of its result without dim `repeated`; None if it
    repeats along other dims, too, or moves dims."""
    operand, shape = spread.operands[0], _shape(spread.results[0])
    dims = spread.dims
    rest = [size for d, size in enumerate(shape) if d != repeated]
    kept = [d for d, size in zip(dims, _shape(operand), strict=True) if size > 1]
    if kept != sorted(kept) or repeated in kept or math.prod(_shape(operand)) != math.prod(rest):
        return None
    with in_place_of(spread):
        return build.reshape(operand, rest)


def _regrouped(dot: ir.Operation, side: int, repeat: _Repeat) -> ir.Value:
    dims = [list(d) for d in build.dot_dims(dot)]
    batch = dims[side].index(repeat.dim)
    split = dims[1 - side][batch]
    other = _split(dot.operands[1 - side], split, repeat)
    _shift(dims, 1 - side, split)
    if side == RHS and _is_row(dot, split):
        operands = (other, repeat.source)
    else:
        _shift(dims, side, repeat.dim)
        for which, dim in ((side, repeat.dim), (1 - side, split)):
            dims[which].insert(batch + 1, dim + 1)
        operands = (repeat.unmerged, other) if side == LHS else (other, repeat.unmerged)
    return build.dot(*operands, dims, dot.results[0].type.element_type, dot.location)


def _is_row(dot: ir.Operation, split: int) -> bool:
    """Whether lhs has one row per batch element: its free dims, and batch dims after `split`, have
    size 1, so that the repeat as the first free dim leaves the order of the result."""
    lhs_batch, _, lhs_contract, _ = build.dot_dims(dot)
    shape = _shape(dot.operands[LHS])
    later = lhs_batch[lhs_batch.index(split) + 1 :]
    free = [d for d in range(len(shape)) if d not in lhs_batch + lhs_contract]
    return all(shape[d] == 1 for d in (*later, *free))


def _split(value: ir.Value, dim: int, repeat: _Repeat) -> ir.Value:
    shape = _shape(value)
    return build.reshape(value, [*shape[:dim], repeat.heads, repeat.times, *shape[dim + 1 :]])


def _shift(dims: Sequence[list[int]], side: int, split: int) -> None:
    """Renumber the dims of one side for a new one after `split`."""
    for which in (side, side + 2):
        dims[which][:] = [d + 1 if d > split else d for d in dims[which]]
