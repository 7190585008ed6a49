"""Split attention over its heads when the scores of all heads together would crowd SBUF.

Why: between the two matmuls of attention lie batch x heads x queries x keys scores, all alive at
once when an op is tiled after the other. Done for a few heads at a time, only their scores are.

Precondition: `neuron` ops, elementwise ops fused. Postcondition: dot -> softmax -> (conversion) ->
dot chains whose scores need more than `scores-bytes` per partition are chains over slices of the
last batch dim, and a concatenation; slices begin on whole row tiles where the head dim shares the
partition axis with the heads, so that they cost nothing.

Before:
    %s = "neuron.dot"(%q, %k) ; %p = "neuron.softmax"(%s) ; %o = "neuron.dot"(%p, %v)   // 16 heads
After:
    %s0 = "neuron.dot"(%q[0:4], %k[0:4]) ; ... %o0
    ...
    %o = "neuron.concatenate"(%o0, %o1, %o2, %o3) {dimension = 1}

Leaves alone: chains with other consumers of the scores, without batch dims, or small enough.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch_mlir import ir

from axonc.backends.targets import TARGETS
from axonc.dialects.attributes import integers
from axonc.dialects.neuron import builder as build
from axonc.dialects.neuron.ops import DotOp, SoftmaxOp, isa, short_name
from axonc.passes.base import Pass
from axonc.passes.fuse.dot_slices import converted, dot_like, is_conversion, sliced
from axonc.passes.graph.dot_geometry import LHS, RHS, DotGeometry, dot_geometry
from axonc.passes.graph.rewrite import ops_of, redirect
from axonc.passes.graph.uses import only_user

SCORE_BYTES = 4
"""Scores are float32 until they are probabilities."""


@dataclass(frozen=True)
class _Chain:
    """scores -> softmax -> (convert) -> context. cut: the batch dim to split. side: which operand
    of the context the probabilities are."""

    scores: ir.Operation
    softmax: ir.Operation
    conversion: ir.Operation | None
    context: ir.Operation
    cut: int
    side: int


@dataclass(frozen=True)
class SplitAttentionPass(Pass, name="split-attention", anchor="func.func"):
    """Split attention over its heads when their scores would crowd SBUF."""

    scores_bytes: int = 32 * 1024
    target: str = "inf2"

    def apply(self, op: ir.Operation) -> bool:
        chains = [c for c in map(_chain, _softmaxes(op)) if c is not None]
        groups = [(chain, self._group(chain)) for chain in chains]
        for chain, size in groups:
            if size:
                _split(chain, size)
        return any(size for _, size in groups)

    def _group(self, chain: _Chain) -> int:
        """Heads per group; 0 to leave the chain alone."""
        geometry = dot_geometry(chain.scores)
        partitions = TARGETS[self.target].partitions
        shape = geometry.result_shape
        queries = geometry.sides[LHS].count(geometry.sides[LHS].free)
        keys = geometry.sides[RHS].count(geometry.sides[RHS].free)
        per_head = -(-queries // partitions) * keys * SCORE_BYTES
        outer = geometry.batch_count // shape[chain.cut]
        if per_head * geometry.batch_count <= self.scores_bytes:
            return 0
        granule = _granule(geometry, dot_geometry(chain.context), 1 - chain.side, partitions)
        fit = self.scores_bytes // (per_head * outer) // granule * granule
        group = max(granule, fit)
        return group if group < shape[chain.cut] else 0


def _granule(scores: DotGeometry, context: DotGeometry, values: int, partitions: int) -> int:
    """Heads that fill whole row tiles, as operands of the scores and as rows of the context."""
    side = context.sides[values]
    widths = (scores.depth, side.count(side.free))
    return math.lcm(*(partitions // math.gcd(width, partitions) for width in widths))


def _softmaxes(function: ir.Operation) -> list[ir.Operation]:
    block = function.regions[0].blocks[0]
    return ops_of(block, SoftmaxOp)


def _chain(softmax: ir.Operation) -> _Chain | None:
    scores = softmax.operands[0].owner
    scores = getattr(scores, "operation", scores)
    if not isinstance(scores, ir.Operation) or not isa(scores, DotOp):
        return None
    if only_user(scores.results[0]) is None:
        return None
    context, conversion = only_user(softmax.results[0]), None
    if context is not None and is_conversion(context):
        conversion, context = context, only_user(context.results[0])
    if context is None or not isa(context, DotOp):
        return None
    return _checked(scores, softmax, conversion, context)


def _checked(
    scores: ir.Operation,
    softmax: ir.Operation,
    conversion: ir.Operation | None,
    context: ir.Operation,
) -> _Chain | None:
    """The chain if its batch dims run through unchanged, softmax is over keys, and the
    probabilities are the context's lhs, without epilogue."""
    geometry = dot_geometry(scores)
    batch = geometry.batch
    axis = softmax.axis
    last = conversion if conversion is not None else softmax
    if not batch or axis != len(geometry.result_shape) - 1:
        return None
    if len(context.operands) != 2:
        return None
    side = LHS if context.operands[LHS] == last.results[0] else RHS
    if integers(context.attributes[("lhs_batch", "rhs_batch")[side]]) != batch:
        return None
    cut = max(batch, key=lambda d: (geometry.result_shape[d] > 1, d))
    return _Chain(scores, softmax, conversion, context, cut, side)


# ---- rewriting ----------------------------------------------------------------------------------


def _split(chain: _Chain, group: int) -> None:
    total = dot_geometry(chain.scores).result_shape[chain.cut]
    parts = []
    with ir.InsertionPoint(chain.context):
        for start in range(0, total, group):
            parts.append(_part(chain, start, min(start + group, total)))
        result = build.concatenate(parts, chain.cut, chain.context.location)
    redirect(chain.context.results, [result])
    dead = (chain.context, chain.conversion, chain.softmax, chain.scores)
    for op in dead:
        if op is not None:
            op.erase()


def _part(chain: _Chain, start: int, stop: int) -> ir.Value:
    """The context of heads [start, stop)."""
    scores = _scores(chain, start, stop)
    softmax = chain.softmax
    attributes = {"axis": softmax.attributes["axis"]}
    probabilities = build.create(
        short_name(softmax), (scores,), scores.type, attributes, softmax.location
    )
    if chain.conversion is not None:
        element = chain.conversion.results[0].type.element_type
        probabilities = converted(probabilities, element, chain.conversion.location)
    context = chain.context
    other = 1 - chain.side
    cut = integers(context.attributes[("lhs_batch", "rhs_batch")[other]])[chain.cut]
    values = sliced(context.operands[other], cut, start, stop)
    operands = (probabilities, values) if chain.side == LHS else (values, probabilities)
    return dot_like(context, *operands, chain.cut, start, stop)


def _scores(chain: _Chain, start: int, stop: int) -> ir.Value:
    op = chain.scores
    lhs_batch, rhs_batch, *_ = build.dot_dims(op)
    lhs = sliced(op.operands[0], lhs_batch[chain.cut], start, stop)
    rhs = sliced(op.operands[1], rhs_batch[chain.cut], start, stop)
    return dot_like(op, lhs, rhs, chain.cut, start, stop)
