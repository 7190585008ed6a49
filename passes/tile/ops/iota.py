"""Iotas."""

from __future__ import annotations

from torch_mlir import ir

from axonc.backends.numerics.dtypes import DType
from axonc.backends.targets.target import Engine
from axonc.dialects.attributes import integers
from axonc.passes.graph.shapes import shape_of
from axonc.passes.layout.storage import Storage
from axonc.passes.tile.move import free_loops, new_storage, row_blocks
from axonc.passes.tile.values import Values


def tile_iota(values: Values, op: ir.Operation, dtype: DType) -> Storage:
    """GpSimdE counts along the dim, which is free."""
    dim = op.dimension
    result = new_storage(
        values.builder,
        shape_of(op.results[0]),
        dtype,
        integers(op.attributes["layout.rows"]),
        "iota",
    )
    partitions = values.builder.target.partitions
    for row, count, tiles in row_blocks(result, partitions):
        loops = (*tiles, *free_loops(result))
        sizes = tuple(lp.size for lp in loops)
        steps = {f"step{i}": int(lp.dim == dim) for i, lp in enumerate(loops)}
        dst = result.lane(row, count, loops, partitions).view(sizes)
        values.builder.emit("iota", Engine.GPSIMD, dst=dst, offset=0, **steps)
    return result
