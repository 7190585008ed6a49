"""Tiles reductions, softmax and the norms. The reduced dims lie on the free axis (choose-layouts
sees to it), so every instruction works on all rows of a row tile at once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from torch_mlir import ir

from axonc.backends.numerics.dtypes import F32, DType
from axonc.backends.targets.target import Engine
from axonc.dialects.attributes import integers
from axonc.dialects.neuron.ops import MaskedSoftmaxOp, isa
from axonc.dialects.ntile.builder import KernelBuilder
from axonc.dialects.ntile.program import View
from axonc.passes.graph.machine_dtype import machine_dtype
from axonc.passes.graph.shapes import Shape, shape_of
from axonc.passes.layout.layout_dims import kept_dims, reduced_dims, reduces_everything
from axonc.passes.layout.storage import Lane, Loop, Storage, merge_loops
from axonc.passes.tile.elementwise.emit import emit_expression
from axonc.passes.tile.elementwise.expression_nodes import Expression, is_bool
from axonc.passes.tile.elementwise.integer_rewrites import wrapped
from axonc.passes.tile.loop_nests import WIDE_BUFFER_BYTES, nest_tiles
from axonc.passes.tile.move import compact, free_loops, mergeable, new_storage, row_blocks
from axonc.passes.tile.ops.reduce_all import reduce_all
from axonc.passes.tile.ops.reduction_steps import (
    Axis,
    Reduction,
    identity_of,
    reduce_axes,
    reduce_axis,
    reduction_of,
)
from axonc.passes.tile.ops.wide_rows import (
    WIDE_ROW,
    along,
    bound_above,
    scale_rows,
    softmax_wide_row,
    sum_of_squares,
)
from axonc.passes.tile.values import Values

MAX_SOFTMAX_ELEMENTS = 1024
"""Elements per partition of one softmax piece: exp of one piece overlaps the maximum of the
next."""


def vectors(
    builder: KernelBuilder, axis: int, storages: list[Storage]
) -> Iterator[tuple[int, list[Lane]]]:
    """(rows, lanes without loops) of every vector along `axis`; lanes start at its first
    element."""
    partitions = builder.target.partitions
    first = storages[0]
    for row, rows, tiles in row_blocks(first, partitions):
        others = tuple(lp for lp in free_loops(first) if lp.dim != axis)
        loops = (*tiles, *others)
        lanes = [s.lane(row, rows, loops, partitions) for s in storages]
        sizes = [lp.size for lp in loops]
        for _, piece in nest_tiles(sizes, lanes, 1):
            yield rows, piece


# ---- reduce --------------------------------------------------------------------------------


def tile_reduce(values: Values, op: ir.Operation, dtype: DType) -> Storage:
    """neuron.reduce: the reduced dims are innermost in the pattern, every instruction works on all
    rows of a row tile."""
    operand, dims = op.operands[0], op.dims
    shape = shape_of(operand)
    kind = op.kind
    count = math.prod(shape[d] for d in dims)
    if not count:
        boolean = is_bool(operand.type)
        values.splats[op.results[0]] = identity_of(kind, machine_dtype(operand.type), boolean)
        return values.get(op.results[0], integers(op.attributes["layout.rows"]), dtype)
    how = reduction_of(kind, machine_dtype(operand.type), is_bool(operand.type), count)
    stored = dtype if how.partial == machine_dtype(operand.type) else how.partial
    if reduces_everything(op) and count > 1:
        result = reduce_all(values, op, how, stored)
    else:
        result = _reduce_free_dims(values, op, how, stored)
    return result if stored == dtype else low_bits(values.builder, result, dtype)


def _reduce_free_dims(values: Values, op: ir.Operation, how: Reduction, dtype: DType) -> Storage:
    builder = values.builder
    operand, dims = op.operands[0], op.dims
    kept = list(kept_dims(op))
    rows = integers(op.attributes["layout.rows"])
    source = values.get(operand, tuple(kept[d] for d in rows))
    if not mergeable(source, dims):
        source = compact(builder, source, dims)
    shape: Shape = tuple(source.shape[d] for d in kept)
    result = new_storage(builder, shape, dtype, rows, "reduced")
    expanded = _with_dims(result, kept, len(source.shape))
    partitions = builder.target.partitions
    outer, inner = _axes(source, dims)
    for row, count, tiles in row_blocks(result, partitions):
        loops = (*tiles, *(lp for lp in free_loops(source) if lp.dim not in dims))
        src, dst = (s.lane(row, count, loops, partitions) for s in (source, expanded))
        sizes = tuple(lp.size for lp in loops)
        if outer is None:
            reduce_axis(builder, how, dst, src, sizes, inner)
        else:
            reduce_axes(builder, how, dst, src, sizes, (outer, inner))
    return result


def _axes(source: Storage, dims: tuple[int, ...]) -> tuple[Axis | None, Axis]:
    """The reduced dims as one loop; what is likely to be needed in parts as two, of which the outer
    one is cut like the loads and the elementwise operations on the same buffer."""
    several = [d for d in dims if source.shape[d] > 1]
    if len(several) < 2 or source.buffer.partition_bytes <= WIDE_BUFFER_BYTES:
        return None, _merged_axis(source, dims)
    return _merged_axis(source, tuple(several[:1])), _merged_axis(source, tuple(several[1:]))


def low_bits(builder: KernelBuilder, source: Storage, dtype: DType) -> Storage:
    """The i32 storage as a narrower integer, wrapping around."""
    result = new_storage(builder, source.shape, dtype, source.partition_dims, "reduced")
    leaf = Expression("leaf", (), source.dtype, argument=0, uses=1)
    root = wrapped(leaf, dtype)
    partitions = builder.target.partitions
    for row, count, tiles in row_blocks(result, partitions):
        loops = (*tiles, *free_loops(result))
        src, out = (s.lane(row, count, loops, partitions) for s in (source, result))
        sizes = [lp.size for lp in loops]
        emit_expression(builder, root, sizes, [src], [(0, None)], out)
    return result


def _merged_axis(source: Storage, dims: tuple[int, ...]) -> Axis:
    """The dims as one loop."""
    merged = merge_loops([source.shape[d] for d in dims], [[source.strides[d] for d in dims]])
    return (merged[0][1][0], merged[0][0]) if merged else (1, 1)


def _with_dims(result: Storage, kept: list[int], rank: int) -> Storage:
    """The result's storage in the operand's dims: the reduced ones have size 1."""
    shape, strides = [1] * rank, [0] * rank
    for new, old in enumerate(kept):
        shape[old], strides[old] = result.shape[new], result.strides[new]
    rows = tuple(kept[d] for d in result.partition_dims)
    return replace(result, shape=tuple(shape), strides=tuple(strides), partition_dims=rows)


# ---- softmax -------------------------------------------------------------------------------


def tile_softmax(values: Values, op: ir.Operation, dtype: DType) -> Storage:
    """exp(x - max(x)) / sum: VectorE takes the maximum, ScalarE the exponential and, in the same
    instruction, its sum. A masked softmax bounds the maximum and the inverse of the sum: for a row
    of nothing but -inf that is exp(-inf + largest) = 0 times the largest number, 0."""
    builder, is_masked = values.builder, isa(op, MaskedSoftmaxOp)
    rows = integers(op.attributes["layout.rows"])
    axis = reduced_dims(op)[0]
    source = values.get(op.operands[0], rows)
    result = new_storage(builder, source.shape, dtype, rows, "softmax")
    partitions = builder.target.partitions
    size = source.shape[axis]
    for row, count, tiles in row_blocks(result, partitions):
        loops = (*tiles, *(lp for lp in free_loops(result) if lp.dim != axis))
        lanes = [s.lane(row, count, loops, partitions) for s in (source, result)]
        strides = source.strides[axis], result.strides[axis]
        if size > WIDE_ROW:
            for _, (src, dst) in nest_tiles([lp.size for lp in loops], lanes, 1):
                softmax_wide_row(builder, size, src, dst, strides, is_masked)
            continue
        limit = max(1, MAX_SOFTMAX_ELEMENTS // size)
        for sizes, (src, dst) in nest_tiles([lp.size for lp in loops], lanes, limit, 2):
            _softmax_piece(builder, sizes, size, src, dst, strides, is_masked)
    return result


def _softmax_piece(
    builder: KernelBuilder,
    sizes: Shape,
    size: int,
    src: Lane,
    dst: Lane,
    strides: tuple[int, int],
    is_masked: bool,
) -> None:
    count = math.prod(sizes)
    height = src.num_partitions
    negative_max = builder.sbuf((height, count), F32, "negative_max")
    total = builder.sbuf((height, count), F32, "sum")
    inverse = builder.sbuf((height, count), F32, "inverse_sum")
    raised = builder.sbuf((height, count, size), F32, "exp")
    builder.emit(
        "tensor_reduce",
        Engine.VECTOR,
        dst=negative_max,
        src=replace(src, strides=(*src.strides, strides[0])).view((*sizes, size)),
        op="max",
        num_axes=1,
        negate=True,
    )
    if is_masked:
        bound_above(builder, negative_max)
    pieces = list(nest_tiles(sizes, [src, dst], 1))
    for number, (_, (one, _)) in enumerate(pieces):
        builder.emit(
            "activation",
            dst=raised[0:height, number],
            src=along(one, strides[0], size),
            bias=negative_max[0:height, number],
            accumulate=total[0:height, number],
            func="exp",
            scale=1.0,
        )
    builder.emit("reciprocal", Engine.VECTOR, dst=inverse, src=total)
    if is_masked:
        bound_above(builder, inverse)
    for number, (_, (_, one)) in enumerate(pieces):
        out = along(one, strides[1], size)
        scale_rows(builder, out, raised[0:height, number], inverse[0:height, number])


# ---- norms ---------------------------------------------------------------------------------

LONG_ROW = 1024
"""From this length on a norm is applied to half a row at a time (assumed: an instruction of 512
elements takes ten times its overhead)."""


def tile_layer_norm(values: Values, op: ir.Operation, dtype: DType) -> Storage:
    """((x - mean) * gamma) * rstd + beta, by bn_stats / bn_aggr and two scalar_tensor_tensor."""
    builder = values.builder
    axis = reduced_dims(op)[0]
    source = values.get(op.operands[0], integers(op.attributes["layout.rows"]))
    gamma, beta = (_last_axis(values, op.operands[i]) for i in (1, 2))
    result = new_storage(builder, source.shape, dtype, source.partition_dims, "norm")
    size = source.shape[axis]
    epsilon = op.epsilon
    for count, (src, dst) in vectors(builder, axis, [source, result]):
        x = along(src, source.strides[axis], size)
        moments = _moments(builder, x, count, size)
        rstd = builder.sbuf((count, 1), F32, "rstd")
        _inverse_root(builder, rstd, moments[0:count, 1:2], 1.0, epsilon)
        out = along(dst, result.strides[axis], size)
        for part in _halves(size):
            gain, shift = gamma[0:count, part], beta[0:count, part]
            mean, columns = moments[0:count, 0:1], x[0:count, part]
            centred = builder.sbuf((count, part.stop - part.start), F32, "centred")
            _multiply_add(builder, centred, columns, "subtract", mean, "multiply", gain)
            _multiply_add(builder, out[0:count, part], centred, "multiply", rstd, "add", shift)
    return result


def _halves(size: int) -> list[slice]:
    """Of a long row: what reads the first half need not wait for the second."""
    middle = size // 2 if LONG_ROW <= size <= WIDE_ROW else size
    return [slice(0, size)] if middle == size else [slice(0, middle), slice(middle, size)]


def tile_rms_norm(values: Values, op: ir.Operation, dtype: DType) -> Storage:
    """(x * rstd) * gamma; ScalarE squares and sums in one instruction."""
    builder = values.builder
    axis = reduced_dims(op)[0]
    source = values.get(op.operands[0], integers(op.attributes["layout.rows"]))
    gamma = _last_axis(values, op.operands[1])
    result = new_storage(builder, source.shape, dtype, source.partition_dims, "norm")
    size = source.shape[axis]
    epsilon = op.epsilon
    for count, (src, dst) in vectors(builder, axis, [source, result]):
        x = along(src, source.strides[axis], size)
        total = sum_of_squares(builder, x)
        rstd = builder.sbuf((count, 1), F32, "rstd")
        _inverse_root(builder, rstd, total, 1.0 / size, epsilon)
        out = along(dst, result.strides[axis], size)
        _multiply_add(builder, out, x, "multiply", rstd, "multiply", gamma)
    return result


def _last_axis(values: Values, value: ir.Value) -> View:
    """gamma or beta on every partition: [128, size]."""
    storage = values.get(value, ())
    lane = storage.lane(0, values.builder.target.partitions, (Loop(0, 1),), 1)
    return along(lane, storage.strides[0], storage.shape[0])


def _moments(builder: KernelBuilder, x: View, rows: int, size: int) -> View:
    """[rows, 2]: mean and variance of each row."""
    limit = builder.target.bn_stats_max_elements
    pieces = -(-size // limit)
    width = -(-size // pieces) if size <= WIDE_ROW else limit
    stats = builder.sbuf((rows, pieces, 6), F32, "stats")
    for number in range(pieces):
        stop = min(size, (number + 1) * width)
        builder.emit("bn_stats", dst=stats[0:rows, number], src=x[0:rows, number * width : stop])
    moments = builder.sbuf((rows, 2), F32, "moments")
    flat = replace(stats, dims=((1, pieces * 6),))
    builder.emit("bn_aggr", dst=moments, src=flat)
    return moments


def _inverse_root(
    builder: KernelBuilder, dst: View, src: View, scale: float, epsilon: float
) -> None:
    """dst = (src * scale + epsilon) ** -0.5. On GpSimdE, which has the power
    (machine.md#operators): on ScalarE it would switch the activation table twice."""
    if scale != 1.0:
        builder.emit(
            "tensor_scalar",
            Engine.GPSIMD,
            dst=dst,
            src=src,
            op0="multiply",
            imm0=scale,
            op1="bypass",
        )
        src = dst
    builder.emit(
        "tensor_scalar",
        Engine.GPSIMD,
        dst=dst,
        src=src,
        op0="add",
        imm0=epsilon,
        op1="pow",
        imm1=-0.5,
    )


def _multiply_add(
    builder: KernelBuilder,
    dst: View,
    src: View,
    op0: str,
    column: View,
    op1: str,
    other: View,
) -> None:
    """dst = (src op0 column) op1 other."""
    builder.emit(
        "scalar_tensor_tensor",
        Engine.VECTOR,
        dst=dst,
        src0=src,
        scalar=column,
        src1=other[0 : dst.num_partitions],
        op0=op0,
        op1=op1,
    )
