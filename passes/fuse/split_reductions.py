"""Reduce several dims of a large tensor in two steps.

Why: with the dims that stay on partitions and all others behind them, a row of a large tensor is
longer than SBUF, and few rows leave partitions idle (32 groups of an image of 512 x 512). The first
of two steps leaves a large dim too, which may lie on partitions then; what the second one reads is
small.

Precondition: `neuron` ops, before fusion. Postcondition: a reduction over several dims with more
than `row-bytes` for each element of its result is two, of which the second one reduces one dim. A
second run may split the first one again.

Before (row-bytes=4096):
    %y = "neuron.reduce"(%x) {dims = [1, 2], kind = "sum"}
         : (tensor<8x64x32xf32>) -> tensor<8xf32>
After:
    %0 = "neuron.reduce"(%x) {dims = [2], kind = "sum"} : (tensor<8x64x32xf32>) -> tensor<8x64xf32>
    %y = "neuron.reduce"(%0) {dims = [1], kind = "sum"} : (tensor<8x64xf32>) -> tensor<8xf32>

StableHLO leaves the order of a reduction open, and extremes and sums of integers (modulo 2^n) are
the same in any. Floats of less than 32 bits are summed in float32 and rounded once, as within one
operation.

Leaves alone: reductions of everything, which spread over the partitions by themselves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch_mlir import ir

from axonc.dialects.neuron import builder as build
from axonc.dialects.neuron.ops import ReduceOp
from axonc.passes.base import Pass
from axonc.passes.graph.machine_dtype import machine_dtype
from axonc.passes.graph.rewrite import body_of, in_place_of, ops_of, replace
from axonc.passes.graph.shapes import shape_of

_ROUNDING = frozenset({"sum", "product"})
"""Kinds whose result is not one of the numbers that are reduced."""


@dataclass(frozen=True)
class SplitReductionsPass(Pass, name="split-reductions", anchor="func.func"):
    """Reduce several dims of a large tensor in two steps."""

    row_bytes: int = 64 * 1024
    """Bytes of the operand that become one element of the result: a third of a partition."""

    def apply(self, op: ir.Operation) -> bool:
        large = [r for r in ops_of(body_of(op), ReduceOp) if _row_bytes(r) > self.row_bytes]
        found = [r for r in large if len(_counting(r)) > 1]
        for each in found:
            _split(each)
        return bool(found)


def _row_bytes(op: ir.OpView) -> int:
    """0 for what reduces everything."""
    if math.prod(shape_of(op.results[0])) == 1:
        return 0
    operand = op.operands[0]
    shape = shape_of(operand)
    return machine_dtype(operand.type).size_bytes * math.prod(shape[d] for d in op.dims)


def _counting(op: ir.OpView) -> list[int]:
    """The reduced dims of more than one element."""
    shape = shape_of(op.operands[0])
    return [d for d in op.dims if shape[d] > 1]


def _split(op: ir.OpView) -> None:
    value, kind = op.operands[0], op.kind
    shape, element = shape_of(value), op.results[0].type.element_type
    # Not the innermost one: neighbours in device memory stay neighbours in a row.
    last = max(sorted(_counting(op))[:-1], key=lambda d: shape[d])
    first = [d for d in op.dims if d != last]
    with in_place_of(op):
        rounds = kind in _ROUNDING and machine_dtype(value.type).is_float
        if rounds:
            value = build.convert(value, ir.F32Type.get())
        partly = build.reduce(value, kind, first)
        made = build.reduce(partly, kind, [_place(last, first)])
        replace(op, build.convert(made, element) if rounds else made)


def _place(dim: int, gone: Sequence[int]) -> int:
    """Of a dim, among those that are left."""
    return dim - sum(d < dim for d in gone)
