"""Tiles `neuron.reduce_window`: one pass of VectorE per dim that has a window, over overlapping
views. Padding is never stored: outputs whose windows are cut by it are reduced apart, in runs of
equal windows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch_mlir import ir

from axonc.backends.numerics.dtypes import F32, DType
from axonc.dialects.attributes import integers
from axonc.dialects.neuron.window import WindowDim
from axonc.dialects.neuron.window_rules import pool_windows
from axonc.passes.graph.machine_dtype import machine_dtype
from axonc.passes.graph.shapes import Shape
from axonc.passes.layout.layout_dims import is_windowed
from axonc.passes.layout.storage import Loop, Storage
from axonc.passes.tile.elementwise.expression_nodes import is_bool
from axonc.passes.tile.move import free_loops, new_storage, row_blocks
from axonc.passes.tile.ops.reduce import low_bits
from axonc.passes.tile.ops.reduction_steps import Reduction, identity_of, reduce_axis, reduction_of
from axonc.passes.tile.values import Values


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
    current = values.get(operand, integers(op.attributes["layout.rows"]))
    dims = [d for d, w in enumerate(windows) if is_windowed(w)]
    for dim in reversed(dims):
        is_last = dim == dims[0]
        stored = dtype if is_last and how.partial == own else _between(kind, how)
        neutral = identity_of(kind, own, boolean)
        current = _reduce_dim(values, current, how, (dim, windows[dim]), stored, neutral)
    if how.partial != own:
        return low_bits(values.builder, current, dtype)
    return current


def _between(kind: str, how: Reduction) -> DType:
    """The type of what one dim's pass leaves to the next: sums of floats are not rounded."""
    rounds = how.partial.is_float and kind in ("sum", "product")
    return F32 if rounds else how.partial


def _reduce_dim(
    values: Values,
    source: Storage,
    how: Reduction,
    along: tuple[int, WindowDim],
    dtype: DType,
    neutral: float,
) -> Storage:
    builder, partitions = values.builder, values.builder.target.partitions
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
