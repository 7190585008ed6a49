"""Split a dot that is a result of the program over its columns when it would crowd SBUF.

Why: the logits of a language model are tokens x vocabulary, larger than SBUF and not read on the
machine. Made a block of columns at a time, each block leaves while the next one is computed.

Precondition: `neuron` ops, elementwise ops fused. Postcondition: a dot that only the program's
result reads, reshaped or converted at most, and that needs more than `result-bytes` per partition,
is a concatenation of dots over slices of its largest free dim. Blocks have a multiple of the
columns of a PSUM bank, and `block-bytes` per partition, so that their rows in device memory are
long. The tiling stores each of them as it is made.

Before (result-bytes=2048 block-bytes=1024):
    %y = "neuron.dot"(%x, %w) ({})
         {lhs_batch = [], lhs_contract = [1], rhs_batch = [], rhs_contract = [0]}
         : (tensor<128x64xf32>, tensor<64x1024xf32>) -> tensor<128x1024xf32>
After:
    %0 = "neuron.slice"(%w) {limit = [64, 512], start = [0, 0], strides = [1, 1]}
         : (tensor<64x1024xf32>) -> tensor<64x512xf32>
    %1 = "neuron.dot"(%x, %0) ({})
         {lhs_batch = [], lhs_contract = [1], rhs_batch = [], rhs_contract = [0]}
         : (tensor<128x64xf32>, tensor<64x512xf32>) -> tensor<128x512xf32>
    %2 = "neuron.slice"(%w) {limit = [64, 1024], start = [0, 512], strides = [1, 1]}
         : (tensor<64x1024xf32>) -> tensor<64x512xf32>
    %3 = "neuron.dot"(%x, %2) ({})
         {lhs_batch = [], lhs_contract = [1], rhs_batch = [], rhs_contract = [0]}
         : (tensor<128x64xf32>, tensor<64x512xf32>) -> tensor<128x512xf32>
    %4 = "neuron.concatenate"(%1, %3) {dimension = 1 : i64}
         : (tensor<128x512xf32>, tensor<128x512xf32>) -> tensor<128x1024xf32>

Leaves alone: dots that something else reads, too, and what is small enough.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch_mlir import ir

from axonc.backends.numerics.dtypes import F32
from axonc.backends.targets import TARGETS
from axonc.backends.targets.target import Target
from axonc.dialects.neuron import builder as build
from axonc.dialects.neuron.ops import DotOp, ReshapeOp, isa
from axonc.passes.base import Pass
from axonc.passes.fuse.dot_slices import converted, dot_part, is_conversion
from axonc.passes.graph.dot_geometry import dot_geometry
from axonc.passes.graph.machine_dtype import machine_dtype
from axonc.passes.graph.rewrite import redirect
from axonc.passes.graph.uses import only_user


@dataclass(frozen=True)
class SplitWideResultsPass(Pass, name="split-wide-results", anchor="func.func"):
    """Split a dot that is a result of the program over its columns when it would crowd SBUF."""

    result_bytes: int = 48 * 1024
    block_bytes: int = 16 * 1024
    target: str = "inf2"

    def apply(self, op: ir.Operation) -> bool:
        target = TARGETS[self.target]
        dots = list(op.regions[0].blocks[0].operations)
        changed = False
        for dot in [d for d in dots if isa(d, DotOp) and is_returned(d.results[0])]:
            if _bytes_per_partition(dot, target) > self.result_bytes:
                changed |= _split(dot, self.block_bytes, target)
        return changed


def is_returned(value: ir.Value) -> bool:
    """Whether the program's result is all that reads `value`, under other shapes or types."""
    user = only_user(value)
    while user is not None and (isa(user, ReshapeOp) or is_conversion(user)):
        user = only_user(user.results[0])
    return user is not None and user.name == "func.return"


def _bytes_per_partition(dot: ir.Operation, target: Target) -> int:
    result = dot.results[0]
    size = machine_dtype(result.type).size_bytes
    return math.prod(build.shape_of(result)) * size // target.partitions


def _split(dot: ir.Operation, block_bytes: int, target: Target) -> bool:
    geometry = dot_geometry(dot)
    shape = geometry.result_shape
    free = [d for side in geometry.sides for d in side.result_free]
    cut = max(free, key=lambda d: shape[d])
    block = _block(shape[cut], _bytes_per_partition(dot, target), block_bytes, target)
    if block >= shape[cut]:
        return False
    last = only_user(dot.results[0])
    conversion = last if last is not None and is_conversion(last) else None
    end = conversion or dot
    with ir.InsertionPoint(end):
        parts = [
            _part(dot, conversion, cut, start, min(start + block, shape[cut]))
            for start in range(0, shape[cut], block)
        ]
        whole = build.concatenate(parts, cut, dot.location)
    redirect(end.results, [whole])
    for op in (conversion, dot):
        if op is not None:
            op.erase()
    return True


def _block(size: int, size_bytes: int, block_bytes: int, target: Target) -> int:
    """Indices of the cut dim per block."""
    bank = target.psum_bank_bytes // F32.size_bytes
    return max(bank, size * block_bytes // size_bytes // bank * bank)


def _part(
    dot: ir.Operation, conversion: ir.Operation | None, cut: int, start: int, stop: int
) -> ir.Value:
    part = dot_part(dot, cut, start, stop)
    if conversion is None:
        return part
    return converted(part, conversion.results[0].type.element_type, conversion.location)
