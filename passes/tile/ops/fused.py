"""Fused regions of elementwise operations."""

from __future__ import annotations

from torch_mlir import ir

from axonc.backends.numerics.dtypes import DType
from axonc.dialects.attributes import integers
from axonc.passes.graph.shapes import shape_of
from axonc.passes.layout.storage import Storage
from axonc.passes.tile.elementwise.elementwise_expression import region_expression
from axonc.passes.tile.elementwise.emit import emit_expression
from axonc.passes.tile.move import free_loops, new_storage, row_blocks
from axonc.passes.tile.region_operands import RegionOperands
from axonc.passes.tile.values import Values


def tile_fused(values: Values, op: ir.Operation, dtype: DType) -> Storage:
    root = region_expression(op.regions[0].blocks[0])
    rows = integers(op.attributes["layout.rows"])
    shape = shape_of(op.results[0])
    result = new_storage(values.builder, shape, dtype, rows, "fused")
    leaves = RegionOperands(values, root, list(op.operands), shape, result.partition_dims)
    partitions = values.builder.target.partitions
    for row, count, tiles in row_blocks(result, partitions):
        loops = (*tiles, *free_loops(result))
        lanes = leaves.lanes(row, count, loops, partitions, None)
        out = result.lane(row, count, loops, partitions)
        sizes = [lp.size for lp in loops]
        emit_expression(values.builder, root, sizes, lanes, leaves.keys, out)
    return result
