"""Which dims of its tensors an operation treats specially, and which may lie on partitions."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch_mlir import ir

from axonc.backends.targets.target import Target
from axonc.dialects.attributes import integers
from axonc.dialects.neuron.ops import (
    BroadcastOp,
    ConcatenateOp,
    ConvolutionOp,
    DotOp,
    IotaOp,
    OpClass,
    PadOp,
    ReduceOp,
    SoftmaxOp,
    isa,
    kind_of,
)
from axonc.dialects.neuron.window import WindowDim
from axonc.dialects.neuron.window_rules import convolution_dims, pool_windows
from axonc.passes.graph.dot_geometry import DotGeometry
from axonc.passes.graph.shapes import PartitionDims, Shape, shape_of

MAX_REPLICATED_ELEMENTS = 4096
"""Largest tensor kept whole on every partition: 16 KiB of float32 out of 192."""


MAX_PADDED_ELEMENTS = 16384
"""Elements per partition of a tensor padded on chip; larger ones are padded in device memory."""


PRODUCTS = frozenset({DotOp, ConvolutionOp})
"""Ops of the tensor engine: the first argument of their epilogue stands for two operands."""


def default_rows(shape: Shape, avoid: frozenset[int] = frozenset()) -> PartitionDims:
    """The leading dims but the last (all but the reduced ones), as one would lay out tokens."""
    large = [d for d, size in enumerate(shape) if size > 1]
    dims = [d for d in large if d not in avoid]
    return tuple(d for d in dims if d != large[-1]) or tuple(dims)


def reduced_dims(op: ir.Operation) -> tuple[int, ...]:
    rank = len(shape_of(op.operands[0]))
    if isa(op, ReduceOp):
        return op.dims
    if isa(op, SoftmaxOp):
        return (op.axis,)
    return (rank - 1,)


def reduces_everything(op: ir.Operation) -> bool:
    """Whether the result is one number: then the operand may lie anywhere (reduce_all.py)."""
    return isa(op, ReduceOp) and math.prod(shape_of(op.results[0])) == 1


def kept_dims(op: ir.Operation) -> tuple[int, ...]:
    """Operand dims that are dims of the result, in order."""
    rank = len(shape_of(op.operands[0]))
    if len(shape_of(op.results[0])) == rank:
        return tuple(range(rank))
    gone = set(reduced_dims(op))
    return tuple(d for d in range(rank) if d not in gone)


def region_broadcasts(op: ir.Operation, number: int) -> list[tuple[int, ...]]:
    """Dims maps of the broadcasts that a region applies to operand `number` of its op."""
    if not len(op.regions) or not len(op.regions[0].blocks):
        return []
    block = op.regions[0].blocks[0]
    argument = block.arguments[number - (1 if kind_of(op) in PRODUCTS else 0)]
    return [
        inner.dims
        for inner in block.operations
        if isa(inner, BroadcastOp) and inner.operands[0] == argument
    ]


def has_few_features(op: ir.Operation, target: Target) -> bool:
    """Whether the image of a convolution would leave most partitions empty."""
    dims = convolution_dims(op)
    return shape_of(op.operands[0])[dims.lhs[1]] < target.partition_quadrant


def is_windowed(window: WindowDim) -> bool:
    """Whether the window does anything along its dim."""
    return window != WindowDim(1)


def windowed_dims(op: ir.Operation) -> frozenset[int]:
    """Dims along which a `neuron.reduce_window` has a window."""
    return frozenset(d for d, w in enumerate(pool_windows(op)) if is_windowed(w))


def operand_candidates(geometry: DotGeometry, side: int, target: Target) -> list[PartitionDims]:
    """Rows an operand of a dot may have."""
    stackings = geometry.stackings(geometry.depth, target)
    return [geometry.sides[side].rows(stacked) for stacked in stackings]


def _dimension(op: ir.Operation) -> frozenset[int]:
    return frozenset((op.dimension,))


def stacks_whole_tiles(op: ir.Operation, rows: PartitionDims, target: Target) -> bool:
    """Whether operands concatenated along the leading row dim each fill whole row tiles, the last
    one perhaps in part; not with a single row, which would pass for one that all partitions
    hold."""
    (axis,) = _dimension(op)
    if not rows or rows[0] != axis:
        return False
    shape = shape_of(op.results[0])
    below = math.prod(shape[d] for d in rows[1:])
    *sizes, last = [shape_of(value)[axis] * below for value in op.operands]
    return last != 1 and all(size % target.partitions == 0 for size in sizes)


def _padded_dims(op: ir.Operation) -> frozenset[int]:
    edges = [integers(op.attributes[name]) for name in ("low", "high", "interior")]
    padded = frozenset(d for d in range(len(edges[0])) if any(edge[d] for edge in edges))
    shape = shape_of(op.results[0])
    per_partition = math.prod(shape[d] for d in padded)
    return padded if per_partition <= MAX_PADDED_ELEMENTS else frozenset()


UNROWABLE: dict[OpClass, Callable[[ir.Operation], frozenset[int]]] = {
    ConcatenateOp: _dimension,
    IotaOp: _dimension,
    PadOp: _padded_dims,
}
"""Result dims that may not lie on partitions, for ops that treat indices along them differently."""
