"""Tiles `neuron.reduce_window`: one pass of VectorE per dim that has a window, over overlapping
views. Padding is never stored: outputs whose windows are cut by it are reduced apart, in runs of
equal windows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from torch_mlir import ir

from axonc.backends.numerics.dtypes import F32, DType
from axonc.backends.program import TensorKind
from axonc.dialects.attributes import integers
from axonc.dialects.neuron.window import WindowDim
from axonc.dialects.neuron.window_rules import pool_windows
from axonc.dialects.ntile.builder import KernelBuilder
from axonc.passes.graph.machine_dtype import machine_dtype
from axonc.passes.graph.shapes import PartitionDims, Shape, shape_of
from axonc.passes.layout.layout_dims import is_windowed
from axonc.passes.layout.storage import Loop, Storage
from axonc.passes.tile.elementwise.expression_nodes import is_bool
from axonc.passes.tile.move import free_loops, load, new_storage, row_blocks, store
from axonc.passes.tile.ops.reduce import low_bits
from axonc.passes.tile.ops.reduction_steps import Reduction, identity_of, reduce_axis, reduction_of
from axonc.passes.tile.ops.strips import RESIDENT_BYTES, cut, part_of, strip_ranges
from axonc.passes.tile.values import Values, hbm_storage


@dataclass(frozen=True)
class Run:
    """Outputs [first, first + count) whose windows hold `size` elements, the first of them from
    input `start` on."""

    first: int
    count: int
    start: int
    size: int


def runs(window: WindowDim, length: int) -> Iterator[Run]:
    """The outputs along a dim in runs of windows cut alike."""
    spans = [_span(window, length, o) for o in range(window.output_length(length))]
    first = 0
    for number in range(1, len(spans) + 1):
        if number < len(spans) and _continues(window, spans[number - 1], spans[number]):
            continue
        start, size = spans[first]
        yield Run(first, number - first, start, size)
        first = number


def _span(window: WindowDim, length: int, output: int) -> tuple[int, int]:
    """(first input element, number of elements) of a window without what lies in the padding."""
    begin = output * window.stride - window.low
    skipped = max(0, -(begin // window.dilation))
    stop = min(window.size, (length - 1 - begin) // window.dilation + 1)
    return begin + skipped * window.dilation, max(0, stop - skipped)


def _continues(window: WindowDim, before: tuple[int, int], after: tuple[int, int]) -> bool:
    return before[1] == after[1] and (after[0] - before[0] == window.stride or not after[1])


def tile_reduce_window(values: Values, op: ir.Operation, dtype: DType) -> Storage:
    """neuron.reduce_window: the dims with windows lie on the free axis (choose-layouts)."""
    operand = op.operands[0]
    kind = op.kind
    own, boolean = machine_dtype(operand.type), is_bool(operand.type)
    windows = pool_windows(op)
    count = math.prod(w.size for w in windows)
    how = reduction_of(kind, own, boolean, count)
    pool = _Pool(values.builder, kind, how, own, dtype, identity_of(kind, own, boolean))
    rows = integers(op.attributes["layout.rows"])
    free = [d for d in range(len(windows)) if d not in rows]
    tiles = -(-math.prod(shape_of(operand)[d] for d in rows) // values.builder.target.partitions)
    size = tiles * own.size_bytes * math.prod(shape_of(operand)[d] for d in free)
    if size <= RESIDENT_BYTES:
        return pool.of(values.get(operand, rows), windows)
    return _in_strips(values, op, pool, rows, free, size)


def _in_strips(
    values: Values,
    op: ir.Operation,
    pool: _Pool,
    rows: PartitionDims,
    free: Sequence[int],
    size_bytes: int,
) -> Storage:
    """The result, in device memory; of the operand each strip loads what its windows reach."""
    builder, windows = values.builder, pool_windows(op)
    source = values.in_device_memory(op.operands[0], "image")
    shape = shape_of(op.results[0])
    whole = hbm_storage(builder.hbm("pooled", shape, pool.result, TensorKind.SCRATCH), shape)
    for ranges in strip_ranges([shape[d] for d in free], size_bytes):
        outputs = dict(zip(free, ranges, strict=True))
        reached = {d: _reached(windows[d], source.shape[d], outputs[d]) for d in free}
        inputs = {d: (low, high) for d, (low, high, _) in reached.items()}
        local = [reached[d][2] if d in reached else w for d, w in enumerate(windows)]
        part, _ = part_of(builder, source.shape, rows, pool.own, inputs, "image")
        load(builder, part, cut(source, inputs))
        store(builder, cut(whole, outputs), pool.of(part, local))
    return whole


def _reached(
    window: WindowDim, length: int, outputs: tuple[int, int]
) -> tuple[int, int, WindowDim]:
    """[first, last) of the input that the windows at `outputs` reach (one element, if it is all
    padding), and the windows over that part alone."""
    begin = outputs[0] * window.stride - window.low
    end = (outputs[1] - 1) * window.stride - window.low + window.extent
    first = min(max(0, begin), length - 1)
    last = max(first + 1, min(end, length))
    return first, last, replace(window, low=first - begin, high=end - last)


@dataclass(frozen=True)
class _Pool:
    """A reduction over windows."""

    builder: KernelBuilder
    kind: str
    how: Reduction
    own: DType
    result: DType
    """With `own`: of the operand and of the result as it is stored."""
    neutral: float

    def of(self, source: Storage, windows: Sequence[WindowDim]) -> Storage:
        """One pass per dim with a window, the last dim first."""
        dims = [d for d, w in enumerate(windows) if is_windowed(w)]
        current = source
        for dim in reversed(dims):
            is_last = dim == dims[0] and self.how.partial == self.own
            stored = self.result if is_last else _between(self.kind, self.how)
            along = (dim, windows[dim])
            current = _reduce_dim(self.builder, current, self.how, along, stored, self.neutral)
        if self.how.partial != self.own:
            return low_bits(self.builder, current, self.result)
        return current


def _between(kind: str, how: Reduction) -> DType:
    """The type of what one dim's pass leaves to the next: sums of floats are not rounded."""
    rounds = how.partial.is_float and kind in ("sum", "product")
    return F32 if rounds else how.partial


def _reduce_dim(
    builder: KernelBuilder,
    source: Storage,
    how: Reduction,
    along: tuple[int, WindowDim],
    dtype: DType,
    neutral: float,
) -> Storage:
    partitions = builder.target.partitions
    dim, window = along
    length = source.shape[dim]
    shape: Shape = (*source.shape[:dim], window.output_length(length), *source.shape[dim + 1 :])
    result = new_storage(builder, shape, dtype, source.partition_dims, "pooled")
    for run in runs(window, length):
        axis = (source.strides[dim] * window.dilation, run.size)
        for row, count, tiles in row_blocks(result, partitions):
            others = [lp for lp in free_loops(result) if lp.dim != dim]
            out = (*tiles, *others, Loop(dim, run.count, run.first))
            dst = result.lane(row, count, out, partitions)
            sizes = tuple(lp.size for lp in out)
            if not run.size:
                builder.memset(dst.merged_view(sizes), neutral)
                continue
            into = (*tiles, *others, Loop(dim, run.count, run.start, window.stride))
            src = source.lane(row, count, into, partitions)
            if how.folds and how.partial != dtype:
                dst = replace(dst, dtype=how.partial)
            reduce_axis(builder, how, dst, src, sizes, axis)
    return result
