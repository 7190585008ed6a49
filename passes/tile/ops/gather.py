"""Rows of a table, gathered by DMA."""

from __future__ import annotations

from torch_mlir import ir

from axonc.backends.numerics.dtypes import DTYPES, DType
from axonc.backends.targets.target import Engine
from axonc.dialects.ntile.builder import KernelBuilder
from axonc.passes.graph.shapes import shape_of
from axonc.passes.layout.storage import Loop, Storage
from axonc.passes.tile.move import free_loops, new_storage, row_blocks
from axonc.passes.tile.ops.dynamic import MAX_EXACT_IMMEDIATE
from axonc.passes.tile.values import Values


def tile_gather_rows(values: Values, op: ir.Operation, dtype: DType) -> Storage:
    """Indirect DMA: each partition fetches the table row its index names (machine.md#operators)."""
    builder = values.builder
    table, indices = op.operands[0], op.operands[1]
    source = values.in_device_memory(table, "table")
    shape = shape_of(op.results[0])
    rank = len(shape_of(indices))
    rows = tuple(d for d in range(rank) if shape[d] > 1)
    where = _clamped(values, values.get(indices, rows), source.shape[0])
    result = new_storage(builder, shape, dtype, rows, "gathered")
    partitions = builder.target.partitions
    width = tuple(shape[rank:])
    dims = [(source.strides[d], source.shape[d]) for d in range(len(source.shape))]
    for first in range(0, result.rows if rows else 1, partitions):
        count = min(partitions, result.rows - first) if rows else partitions
        loops = tuple(Loop(rank + d, n) for d, n in enumerate(width))
        dst = result.lane(first, count, loops, partitions).view(width)
        index = where.lane(first, count, (), partitions).view(())
        builder.dma(dst, source.hbm_view(dims, 0), index=index, indirect="gather")
    return result


def _clamped(values: Values, indices: Storage, size: int) -> Storage:
    """Indices limited to the table, as StableHLO's gather does; exact on GpSimdE."""
    builder = values.builder
    result = new_storage(builder, indices.shape, DTYPES["i32"], indices.partition_dims, "indices")
    partitions = builder.target.partitions
    for row, count, tiles in row_blocks(result, partitions):
        loops = (*tiles, *free_loops(result))
        sizes = tuple(lp.size for lp in loops)
        views = [s.lane(row, count, loops, partitions).view(sizes) for s in (result, indices)]
        builder.emit(
            "tensor_scalar",
            Engine.GPSIMD,
            dst=views[0],
            src=views[1],
            op0="max",
            imm0=0.0,
            op1="min",
            **_largest(builder, size - 1, views[0].num_partitions),
        )
    return result


def _largest(builder: KernelBuilder, number: int, partitions: int) -> dict[str, object]:
    """The second operand of `min`: an immediate, which is float32, or a tile of integers where that
    is not exact."""
    if number < MAX_EXACT_IMMEDIATE:
        return {"imm1": float(number)}
    return {"scalar1": builder.fill(number, DTYPES["i32"])[0:partitions]}
