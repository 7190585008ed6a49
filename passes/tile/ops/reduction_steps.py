"""Instructions that reduce the innermost loop of a tile: by which operator, on which engine and in
which type.

VectorE reduces in float32, or on bits; it is exact for booleans and narrow extremes, and for narrow
sums that stay below 2^24. 32-bit integers are folded in halves by GpSimdE, which is exact
(machine.md#arithmetic).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from axonc.backends.numerics.dtypes import F32, I32, U32, DType
from axonc.backends.targets.target import Engine
from axonc.dialects.ntile.builder import KernelBuilder
from axonc.passes.graph.shapes import Shape
from axonc.passes.layout.storage import Lane
from axonc.passes.tile.loop_nests import MAX_DIMS, nest_tiles

OPERATORS = {
    "sum": "add",
    "max": "max",
    "min": "min",
    "product": "multiply",
    "and": "bitwise_and",
    "or": "bitwise_or",
}

BOOLEAN_OPERATORS = {**OPERATORS, "and": "min", "or": "max", "max": "max", "min": "min"}
"""Booleans are 0 or 1."""

FLOAT_EXACT = 2**24
"""float32 holds every integer up to here."""

MAX_REDUCED_ELEMENTS = 8192
"""Elements per partition of one reducing instruction."""

Axis = tuple[int, int]
"""(stride, size) of a loop."""


@dataclass(frozen=True)
class Reduction:
    """How a kind of reduction is done by instructions."""

    operator: str
    """Of the ALU."""
    partial: DType
    """Dtype of sums on the way to the result; when it is i32 for a narrower result, the low bits
    are kept at the end."""
    folds: bool
    """In halves, on GpSimdE."""


def reduction_of(kind: str, dtype: DType, boolean: bool, count: int) -> Reduction:
    """How to reduce `count` elements of `dtype`."""
    if boolean:
        return Reduction(BOOLEAN_OPERATORS[kind], dtype, False)
    operator = OPERATORS[kind]
    if dtype.is_float:
        return Reduction(operator, dtype, False)
    if operator.startswith("bitwise"):
        return Reduction(operator, dtype, False)
    if dtype in (I32, U32):
        return Reduction(operator, dtype, True)
    if operator in ("max", "min"):
        return Reduction(operator, dtype, False)
    exact = operator == "add" and count * float(np.iinfo(dtype.numpy).max) < FLOAT_EXACT
    return Reduction(operator, I32, not exact)


def identity_of(kind: str, dtype: DType, boolean: bool) -> float:
    """The reduction of nothing."""
    if dtype.is_float:
        low, high = -math.inf, math.inf
    else:
        limits = np.iinfo(dtype.numpy)
        low, high = (0.0, 1.0) if boolean else (float(limits.min), float(limits.max))
    ones = high if low == 0.0 else -1.0
    return {"sum": 0.0, "product": 1.0, "max": low, "min": high, "and": ones, "or": 0.0}[kind]


def reduce_axis(
    builder: KernelBuilder,
    how: Reduction,
    dst: Lane,
    src: Lane,
    sizes: Shape,
    axis: Axis,
) -> None:
    """dst[sizes] = the reduction of src over one more innermost loop; axis: its (stride, size)."""
    stride, size = axis
    if size > MAX_REDUCED_ELEMENTS:
        _reduce_wide_axis(builder, how, dst, src, sizes, axis)
        return
    limit = max(1, MAX_REDUCED_ELEMENTS // size)
    dims = MAX_DIMS - 1 if how.folds else MAX_DIMS
    for piece, (out, into) in nest_tiles(sizes, [dst, src], limit, dims):
        wide = replace(into, strides=(*into.strides, stride))
        if how.folds:
            _fold(builder, how, out, wide, piece, size)
        else:
            _tensor_reduce(builder, how, out, wide, piece, size)


def reduce_axes(
    builder: KernelBuilder,
    how: Reduction,
    dst: Lane,
    src: Lane,
    sizes: Shape,
    axes: tuple[Axis, Axis],
) -> None:
    """dst[sizes] = the reduction of src over two more loops, the inner one first."""
    (stride, size), inner = axes
    partial = replace(how, partial=F32) if how.partial.is_float else how
    columns = _new_lane(builder, partial.partial, src.num_partitions, (*sizes, size))
    rows = replace(src, strides=(*src.strides, stride))
    reduce_axis(builder, partial, columns, rows, (*sizes, size), inner)
    columns = replace(columns, strides=columns.strides[:-1])
    reduce_axis(builder, partial, dst, columns, sizes, (1, size))


def _reduce_wide_axis(
    builder: KernelBuilder,
    how: Reduction,
    dst: Lane,
    src: Lane,
    sizes: Shape,
    axis: Axis,
) -> None:
    """In pieces, so that the axis need not be in SBUF all at once; then their reductions."""
    stride, size = axis
    partial = replace(how, partial=F32) if how.partial.is_float else how
    starts = range(0, size, MAX_REDUCED_ELEMENTS)
    lanes = _new_lane(builder, partial.partial, src.num_partitions, (*sizes, len(starts)))
    columns = replace(lanes, strides=lanes.strides[:-1])
    for number, start in enumerate(starts):
        into = replace(columns, byte_offset=number * columns.dtype.size_bytes)
        skipped = start * stride * src.dtype.size_bytes
        piece = replace(src, byte_offset=src.byte_offset + skipped)
        count = min(MAX_REDUCED_ELEMENTS, size - start)
        reduce_axis(builder, partial, into, piece, sizes, (stride, count))
    reduce_axis(builder, partial, dst, columns, sizes, (1, len(starts)))


def _tensor_reduce(
    builder: KernelBuilder, how: Reduction, dst: Lane, src: Lane, sizes: Shape, size: int
) -> None:
    builder.emit(
        "tensor_reduce",
        Engine.VECTOR,
        dst=dst.view(sizes),
        src=src.view((*sizes, size)),
        op=how.operator,
        num_axes=1,
    )


def _fold(
    builder: KernelBuilder, how: Reduction, dst: Lane, src: Lane, sizes: Shape, size: int
) -> None:
    """Adds (or compares) the second half of the loop to the first until one element is left; an odd
    last element goes to the first one."""
    axis = len(sizes)
    src = _as_words(builder, how, src, (*sizes, size))
    while size > 1:
        half = size // 2
        halves = _new_lane(builder, how.partial, src.num_partitions, (*sizes, half))
        _combine(builder, how, halves, src, src.advanced(axis, half), (*sizes, half))
        if size % 2:
            last = src.advanced(axis, size - 1)
            _combine(builder, how, halves, halves, last, (*sizes, 1))
        src, size = halves, half
    builder.copy(dst.view(sizes), src.view((*sizes, 1)))


def _combine(
    builder: KernelBuilder, how: Reduction, dst: Lane, a: Lane, b: Lane, sizes: Shape
) -> None:
    views = [lane.view(sizes) for lane in (dst, a, b)]
    builder.emit(
        "tensor_tensor",
        Engine.GPSIMD,
        dst=views[0],
        src0=views[1],
        src1=views[2],
        op=how.operator,
    )


def _as_words(builder: KernelBuilder, how: Reduction, src: Lane, sizes: Shape) -> Lane:
    if src.dtype == how.partial:
        return src
    wide = _new_lane(builder, how.partial, src.num_partitions, sizes)
    builder.copy(wide.view(sizes), src.view(sizes))
    return wide


def _new_lane(builder: KernelBuilder, dtype: DType, partitions: int, sizes: Shape) -> Lane:
    tile = builder.sbuf((partitions, *sizes), dtype, "partial")
    strides = tuple(stride for stride, _ in tile.dims)
    return Lane(tile.buffer, dtype, 0, partitions, 0, strides)


def reduce_nest(builder: KernelBuilder, how: Reduction, sizes: Shape, src: Lane) -> Lane:
    """One value per partition: the reduction of a whole nest of loops. A lane without strides."""
    partial = replace(how, partial=F32) if how.partial.is_float else how
    dtype = partial.partial
    pieces = list(nest_tiles(sizes, [src], MAX_REDUCED_ELEMENTS, MAX_DIMS))
    columns = _new_lane(builder, dtype, src.num_partitions, (len(pieces),))
    for number, (piece, (lane,)) in enumerate(pieces):
        out = replace(columns.advanced(0, number), strides=())
        _reduce_piece(builder, partial, out, lane, piece)
    if len(pieces) == 1:
        return replace(columns, strides=())
    result = replace(_new_lane(builder, dtype, src.num_partitions, (1,)), strides=())
    reduce_axis(builder, partial, result, replace(columns, strides=()), (), (1, len(pieces)))
    return result


def _reduce_piece(
    builder: KernelBuilder, how: Reduction, dst: Lane, src: Lane, sizes: Shape
) -> None:
    """All loops of one piece: at once on VectorE; GpSimdE folds a compact copy."""
    count = math.prod(sizes)
    if not how.folds:
        views = dst.view(()), src.view(sizes)
        axes = max(1, len(sizes))
        builder.emit(
            "tensor_reduce",
            Engine.VECTOR,
            dst=views[0],
            src=views[1],
            op=how.operator,
            num_axes=axes,
        )
        return
    if len(sizes) > 1:
        flat = _new_lane(builder, how.partial, src.num_partitions, sizes)
        builder.copy(flat.view(sizes), src.view(sizes))
        src = replace(flat, strides=(1,))
    stride = src.strides[0] if src.strides else 1
    reduce_axis(builder, how, dst, replace(src, strides=()), (), (stride, count))
