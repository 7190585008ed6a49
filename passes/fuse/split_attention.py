"""Split attention over its heads, and over queries, when the scores would crowd SBUF.

Why: between the two matmuls of attention lie batch x heads x queries x keys scores, all alive at
once when an op is tiled after the other. Done for a few heads at a time, only their scores are; of
a long sequence the scores of one head are too many, and some queries are done at a time.

Precondition: `neuron` ops, elementwise ops fused. Postcondition: dot -> softmax -> (conversion) ->
dot chains whose scores need more than `scores-bytes` per partition are chains over slices of the
last batch dim, and of the queries if one head alone needs as much, and concatenations; slices
begin on whole row tiles where the head dim shares the partition axis with the heads, so that they
cost nothing. Each query's softmax is over all keys, as before.

Before:
    %s = "neuron.dot"(%q, %k) ; %p = "neuron.softmax"(%s) ; %o = "neuron.dot"(%p, %v)   // 16 heads
After:
    %s0 = "neuron.dot"(%q[0:4], %k[0:4]) ; ... %o0
    ...
    %o = "neuron.concatenate"(%o0, %o1, %o2, %o3) {dimension = 1}

Leaves alone: chains with other consumers of the scores, and what is small enough.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch_mlir import ir

from axonc.backends.targets import TARGETS
from axonc.dialects.attributes import integers
from axonc.dialects.neuron import builder as build
from axonc.dialects.neuron.ops import DotOp, SoftmaxOp, isa, short_name
from axonc.passes.base import Pass
from axonc.passes.fuse.dot_slices import converted, dot_part, is_conversion
from axonc.passes.graph.dot_geometry import LHS, RHS, DotGeometry, dot_geometry
from axonc.passes.graph.rewrite import ops_of, redirect
from axonc.passes.graph.shapes import shape_of
from axonc.passes.graph.uses import only_user

SCORE_BYTES = 4
"""Scores are float32 until they are probabilities."""


@dataclass(frozen=True)
class _Chain:
    """scores -> softmax -> (convert) -> context."""

    scores: ir.Operation
    softmax: ir.Operation
    conversion: ir.Operation | None
    context: ir.Operation
    side: int
    """Which operand of the context the probabilities are."""

    @property
    def heads(self) -> int | None:
        """The dim of the scores that heads are cut along: the last batch dim of several."""
        shape = shape_of(self.scores.results[0])
        batch = dot_geometry(self.scores).batch
        return max(batch, key=lambda d: (shape[d] > 1, d)) if batch else None

    @property
    def queries(self) -> int:
        """The dim of the scores that queries are cut along: the largest of theirs."""
        shape = shape_of(self.scores.results[0])
        return max(dot_geometry(self.scores).sides[LHS].result_free, key=lambda d: shape[d])


@dataclass(frozen=True)
class SplitAttentionPass(Pass, name="split-attention", anchor="func.func"):
    """Split attention over its heads, and over queries, when the scores would crowd SBUF."""

    scores_bytes: int = 32 * 1024
    target: str = "inf2"

    def apply(self, op: ir.Operation) -> bool:
        changed = self._split_all(op, lambda chain: (chain.heads, self._heads(chain)))
        return self._split_all(op, lambda chain: (chain.queries, self._queries(chain))) or changed

    def _split_all(
        self, op: ir.Operation, choose: Callable[[_Chain], tuple[int | None, int]]
    ) -> bool:
        """choose: the dim to cut, and how much of it goes together; 0 to leave the chain alone."""
        chains = [c for c in map(_chain, _softmaxes(op)) if c is not None]
        chosen = [(chain, *choose(chain)) for chain in chains]
        for chain, cut, size in chosen:
            if cut is not None and size:
                _split(chain, cut, size)
        return any(size for *_, size in chosen)

    def _heads(self, chain: _Chain) -> int:
        """Heads per group."""
        geometry = dot_geometry(chain.scores)
        per_head, cut = self._bytes_per_head(geometry), chain.heads
        if cut is None or per_head * geometry.batch_count <= self.scores_bytes:
            return 0
        shape, partitions = geometry.result_shape, TARGETS[self.target].partitions
        outer = geometry.batch_count // shape[cut]
        granule = _granule(geometry, dot_geometry(chain.context), 1 - chain.side, partitions)
        fit = self.scores_bytes // (per_head * outer) // granule * granule
        group = max(granule, fit)
        return group if group < shape[cut] else 0

    def _queries(self, chain: _Chain) -> int:
        """Queries per block: whole row tiles."""
        geometry = dot_geometry(chain.scores)
        if self._bytes_per_head(geometry) <= self.scores_bytes:
            return 0
        partitions, keys = TARGETS[self.target].partitions, geometry.result_shape[-1]
        others = geometry.sides[LHS].count(geometry.sides[LHS].free)
        others //= geometry.result_shape[chain.queries]
        row_tile = keys * SCORE_BYTES * others * geometry.batch_count
        block = max(1, self.scores_bytes // row_tile) * partitions
        return block if block < geometry.result_shape[chain.queries] else 0

    def _bytes_per_head(self, geometry: DotGeometry) -> int:
        """Per partition, queries on partitions."""
        queries, keys = (side.count(side.free) for side in geometry.sides)
        return -(-queries // TARGETS[self.target].partitions) * keys * SCORE_BYTES


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
    """The chain if its batch dims run through unchanged, softmax is over keys, and the context has
    no epilogue."""
    geometry = dot_geometry(scores)
    last = conversion if conversion is not None else softmax
    if softmax.axis != len(geometry.result_shape) - 1 or len(context.operands) != 2:
        return None
    side = LHS if context.operands[LHS] == last.results[0] else RHS
    if integers(context.attributes[("lhs_batch", "rhs_batch")[side]]) != geometry.batch:
        return None
    keys = len(geometry.result_shape) - 1
    if dot_geometry(context).sides[side].contract != (keys,) or not geometry.sides[LHS].free:
        return None
    return _Chain(scores, softmax, conversion, context, side)


# ---- rewriting ----------------------------------------------------------------------------------


def _split(chain: _Chain, cut: int, group: int) -> None:
    total = shape_of(chain.scores.results[0])[cut]
    into = dot_geometry(chain.context).sides[chain.side].result_dim(cut)
    with ir.InsertionPoint(chain.context):
        parts = [
            _part(chain, cut, into, (start, min(start + group, total)))
            for start in range(0, total, group)
        ]
        result = build.concatenate(parts, into, chain.context.location)
    redirect(chain.context.results, [result])
    for op in (chain.context, chain.conversion, chain.softmax, chain.scores):
        if op is not None:
            op.erase()


def _part(chain: _Chain, cut: int, into: int, part: tuple[int, int]) -> ir.Value:
    """The context for [start, stop) of dim `cut` of the scores, `into` of the context."""
    scores = dot_part(chain.scores, cut, *part)
    softmax = chain.softmax
    attributes = {"axis": softmax.attributes["axis"]}
    probabilities = build.create(
        short_name(softmax), (scores,), scores.type, attributes, softmax.location
    )
    if chain.conversion is not None:
        element = chain.conversion.results[0].type.element_type
        probabilities = converted(probabilities, element, chain.conversion.location)
    given = (probabilities, None) if chain.side == LHS else (None, probabilities)
    return dot_part(chain.context, into, *part, given)
