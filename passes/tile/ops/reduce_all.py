"""Tiles reductions of a whole tensor to one number, wherever its elements lie.

Each partition reduces what it holds to one value; then the values of the partitions meet: for float
sums on the tensor engine (a matmul with ones, which leaves the sum on every partition), else by way
of device memory, which repeats all of them on every partition. Both keep infinities apart, which a
transpose on the tensor engine would not (machine.md#arithmetic).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from torch_mlir import ir

from axonc.backends.numerics.dtypes import F32, DType
from axonc.backends.program import TensorKind
from axonc.dialects.ntile.builder import KernelBuilder
from axonc.passes.graph.machine_dtype import machine_dtype
from axonc.passes.graph.shapes import shape_of
from axonc.passes.layout.layout_dims import default_rows
from axonc.passes.layout.storage import Lane, Storage
from axonc.passes.tile.move import free_loops, load, new_storage, row_blocks, store
from axonc.passes.tile.ops.reduction_steps import Reduction, reduce_axis, reduce_nest
from axonc.passes.tile.values import Values, hbm_storage

FEW_ELEMENTS = 256
"""Up to here every partition reduces all elements itself: one DMA and one instruction."""


def reduce_all(values: Values, op: ir.Operation, how: Reduction, dtype: DType) -> Storage:
    """The reduction of all elements of the operand, on every partition."""
    builder = values.builder
    sources = _sources(values, op.operands[0])
    columns = [column for s in sources for column in _columns(builder, how, s)]
    result = new_storage(builder, shape_of(op.results[0]), dtype, (), "reduced")
    partitions = builder.target.partitions
    out = result.lane(0, partitions, (), partitions)
    if not sources[0].partition_dims:
        builder.copy(out.view(()), columns[0].view(()))
    elif how.operator == "add" and how.partial.is_float:
        _sum_by_matmul(builder, columns, out)
    else:
        _reduce_repeated(builder, how, columns, out)
    return result


def _sources(values: Values, operand: ir.Value) -> list[Storage]:
    """SBUF storages that hold every element once: one that is there, or device memory spread evenly
    over the partitions. Only a few elements are replicated."""
    on_chip = [s for s in values.known(operand) if not s.in_hbm]
    for storage in on_chip:
        if storage.partition_dims:
            return [storage]
    shape, count = shape_of(operand), math.prod(shape_of(operand))
    if on_chip or count <= FEW_ELEMENTS:
        return [values.get(operand, ())]
    source = values.source(operand)
    flat = None if source is None else source.reshaped((count,))
    if flat is None:
        return [values.get(operand, default_rows(shape))]
    return list(_spread(values.builder, flat, machine_dtype(operand.type)))


def _spread(builder: KernelBuilder, flat: Storage, dtype: DType) -> Iterator[Storage]:
    """A vector in device memory as equal parts on all partitions, and the rest."""
    partitions, (count,) = builder.target.partitions, flat.shape
    whole = count - count % partitions
    if count - whole == 1:  # one element would be replicated, not laid out in rows
        whole -= partitions
    main = flat.sliced((0,), (whole,), (1,))
    rest = flat.sliced((whole,), (count,), (1,))
    assert main is not None and rest is not None
    for part in (main.reshaped((partitions, whole // partitions)), rest):
        assert part is not None, "one stride throughout"
        if 0 not in part.shape:
            result = new_storage(builder, part.shape, dtype, (0,), "load")
            load(builder, result, part)
            yield result


def _columns(builder: KernelBuilder, how: Reduction, source: Storage) -> Iterator[Lane]:
    """One value per partition, for the full row tiles and for the ragged one."""
    partitions = builder.target.partitions
    for row, rows, tiles in row_blocks(source, partitions):
        loops = (*tiles, *free_loops(source))
        lane = source.lane(row, rows, loops, partitions)
        yield reduce_nest(builder, how, tuple(lp.size for lp in loops), lane)


def _sum_by_matmul(builder: KernelBuilder, columns: list[Lane], out: Lane) -> None:
    """out[m] = sum over partitions p of 1 * column[p], for all m."""
    partitions = builder.target.partitions
    total = builder.psum((partitions, 1), F32, "total")
    for number, column in enumerate(columns):
        ones = replace(builder.fill(1.0, F32), dims=((0, partitions),))
        stationary = ones[0 : column.num_partitions]
        builder.matmul(total, stationary, column.view(()), accumulate=number > 0)
    builder.copy(out.view(()), total)


def _reduce_repeated(
    builder: KernelBuilder, how: Reduction, columns: list[Lane], out: Lane
) -> None:
    """The columns as one row on every partition, reduced there."""
    dtype, count = columns[0].dtype, sum(column.num_partitions for column in columns)
    view = builder.hbm("partials", (count,), dtype, TensorKind.SCRATCH)
    scratch, first = hbm_storage(view, (count,)), 0
    for column in columns:
        size = column.num_partitions
        place = scratch.sliced((first,), (first + size,), (1,))
        assert place is not None, "device memory has no partition dims"
        store(builder, place, Storage(column.buffer, dtype, (size,), (0,), (0,), 1))
        first += size
    row = new_storage(builder, (count,), dtype, (), "partials")
    load(builder, row, scratch)
    lane = row.lane(0, out.num_partitions, (), out.num_partitions)
    again = replace(how, partial=dtype)
    reduce_axis(builder, again, out, lane, (), (1, count))
