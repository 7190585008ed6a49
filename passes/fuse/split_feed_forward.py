"""Split two dots in a row over their tokens when what lies between them would crowd SBUF.

Why: the feed-forward part of a transformer widens every token several times and narrows it again.
Ten sequences of 128 tokens at width 4096 are 80 KiB per partition in bf16. Done for a block of
tokens at a time, only its part is alive. The weights are read once per block, so a block has at
least the tokens whose products take the tensor engine as long as reading the weights takes.

Precondition: `neuron` ops, elementwise ops fused. Postcondition: dot -> (conversion) -> dot chains,
the second contracting what the first widened, that need more than `hidden-bytes` per partition in
between, are chains over slices of one free dim of the first's lhs, and a concatenation. Slices hold
whole row tiles. An intermediate of several row dims is cut along the outermost, and again along the
next if that is not enough.

Before:
    %h = "neuron.dot"(%x, %w1) ; %y = "neuron.dot"(%h, %w2)               // 10 x 128 tokens
After:
    %h0 = "neuron.dot"(%x[0:5], %w1) ; %y0 = "neuron.dot"(%h0, %w2) ; ... %y1
    %y = "neuron.concatenate"(%y0, %y1) {dimension = 0}

Leaves alone: intermediates with other readers, dots with batch dims, tokens that cannot be cut into
whole row tiles, and what is small enough.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch_mlir import ir

from axonc.backends.targets import TARGETS
from axonc.backends.targets.target import Engine, Target
from axonc.dialects.neuron import builder as build
from axonc.dialects.neuron.ops import DotOp, isa
from axonc.passes.base import Pass
from axonc.passes.fuse.dot_slices import converted, dot_like, is_conversion, sliced
from axonc.passes.graph.dot_geometry import LHS, RHS, dot_geometry
from axonc.passes.graph.machine_dtype import machine_dtype
from axonc.passes.graph.rewrite import redirect
from axonc.passes.graph.uses import only_user


@dataclass(frozen=True)
class _Chain:
    """widening -> (conversion) -> narrowing."""

    widening: ir.Operation
    conversion: ir.Operation | None
    narrowing: ir.Operation
    cut: int
    """The result dim of both dots to split."""
    size: int
    """The size of that dim."""
    rows: int
    """How many rows one index of it stands for (tokens of dims further in)."""


@dataclass(frozen=True)
class SplitFeedForwardPass(Pass, name="split-feed-forward", anchor="func.func"):
    """Split two dots in a row over their tokens when what is between them would crowd SBUF."""

    hidden_bytes: int = 48 * 1024
    target: str = "inf2"

    def apply(self, op: ir.Operation) -> bool:
        target = TARGETS[self.target]
        pending = list(op.regions[0].blocks[0].operations)
        changed = False
        while pending:
            chain = _chain(pending.pop())
            block = _block(chain, self.hidden_bytes, target) if chain is not None else 0
            if chain is not None and block:
                pending += _split(chain, block)
                changed = True
        return changed


# ---- how much ------------------------------------------------------------------------------------


def _block(chain: _Chain, limit_bytes: int, target: Target) -> int:
    """Indices of the cut dim per block; 0 to leave the chain alone."""
    shape = build.shape_of(chain.widening.results[0])
    total = math.prod(shape)
    tokens = chain.size * chain.rows
    tile_bytes = total // tokens * machine_dtype(_hidden(chain).type).size_bytes
    if tokens * tile_bytes // target.partitions <= limit_bytes:
        return 0
    granule = target.partitions // math.gcd(chain.rows, target.partitions)
    wanted = max(limit_bytes * target.partitions // tile_bytes, _hiding_tokens(chain, target))
    count = -(-tokens // max(wanted, target.partitions))
    block = max(granule, -(-chain.size // count // granule) * granule)
    return block if block < chain.size else 0


def _hidden(chain: _Chain) -> ir.Value:
    return (chain.conversion or chain.widening).results[0]


def _hiding_tokens(chain: _Chain, target: Target) -> int:
    """Tokens for which the tensor engine takes as long as DMA takes to read the weights: both
    grow with the weight, so its size does not matter. Half of SBUF's limit is not exceeded by it
    for widths up to about 16,000."""
    dtype = machine_dtype(chain.widening.operands[RHS].type)
    passes = target.fp32_matmul_passes if dtype.size_bytes == 4 else 1
    longest, time = target.dma.descriptor_time_ns[-1]
    weights_per_ns = target.dma.engines * longest / time / dtype.size_bytes
    products_per_ns = (
        target.pe_rows * target.pe_columns * target.engines[Engine.TENSOR].clock_ghz / passes
    )
    return math.ceil(products_per_ns / weights_per_ns)


# ---- finding chains ------------------------------------------------------------------------------


def _chain(widening: ir.Operation) -> _Chain | None:
    if not isa(widening, DotOp) or dot_geometry(widening).batch:
        return None
    narrowing, conversion = only_user(widening.results[0]), None
    if narrowing is not None and is_conversion(narrowing):
        conversion, narrowing = narrowing, only_user(narrowing.results[0])
    if narrowing is None or not isa(narrowing, DotOp):
        return None
    hidden = (conversion or widening).results[0]
    geometry = dot_geometry(narrowing)
    if geometry.batch or narrowing.operands[LHS] != hidden:
        return None
    return _cut(widening, conversion, narrowing)


def _cut(
    widening: ir.Operation, conversion: ir.Operation | None, narrowing: ir.Operation
) -> _Chain | None:
    """Along the outermost dim larger than 1 that is free in both dots' lhs, at the same place of
    both results."""
    first, second = dot_geometry(widening).sides[LHS], dot_geometry(narrowing).sides[LHS]
    free = [d for d in first.result_free if d in second.free]
    if free != list(first.result_free) or tuple(free) != second.free:
        return None
    shape = build.shape_of(widening.results[0])
    large = [d for d in free if shape[d] > 1]
    if not large:
        return None
    rows = math.prod(shape[d] for d in large[1:])
    return _Chain(widening, conversion, narrowing, large[0], shape[large[0]], rows)


# ---- rewriting -----------------------------------------------------------------------------------


def _split(chain: _Chain, block: int) -> list[ir.Operation]:
    """Replaces the chain by one per block; returns their widening dots."""
    made, parts = [], []
    with ir.InsertionPoint(chain.narrowing):
        for start in range(0, chain.size, block):
            widening, part = _part(chain, start, min(start + block, chain.size))
            made.append(widening)
            parts.append(part)
        result = build.concatenate(parts, chain.cut, chain.narrowing.location)
    redirect(chain.narrowing.results, [result])
    for op in (chain.narrowing, chain.conversion, chain.widening):
        if op is not None:
            op.erase()
    return made


def _part(chain: _Chain, start: int, stop: int) -> tuple[ir.Operation, ir.Value]:
    hidden = _sliced_dot(chain.widening, chain.widening.operands[LHS], chain.cut, start, stop)
    widening = hidden.owner
    if chain.conversion is not None:
        element = chain.conversion.results[0].type.element_type
        hidden = converted(hidden, element, chain.conversion.location)
    return widening, _dot_on(chain.narrowing, hidden, chain.cut, start, stop)


def _sliced_dot(op: ir.Operation, lhs: ir.Value, cut: int, start: int, stop: int) -> ir.Value:
    dim = dot_geometry(op).sides[LHS].free[cut]
    return _dot_on(op, sliced(lhs, dim, start, stop), cut, start, stop)


def _dot_on(op: ir.Operation, lhs: ir.Value, cut: int, start: int, stop: int) -> ir.Value:
    """The dot `op` on a part of its lhs: [start, stop) of result dim `cut`."""
    return dot_like(op, lhs, op.operands[RHS], cut, start, stop)
