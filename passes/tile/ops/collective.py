"""Tiling of the operations of several cores.

all_reduce works on SBUF tiles where they lie: element by element, so any layout will do as long as
all cores have the same, which they do as they run the same program (check-collectives refuses
anything else), and in place where nothing else reads the operand: a result of its own would lie
where something the product still reads has just died, and wait for it. In pieces of CHUNK_BYTES, so
that the first travels while the next is computed.

The others go by way of device memory, whose tensors are contiguous: most reorder blocks, and the
two ends of a collective_permute may be different programs. Consumers load their result in the
layout they want. All are triggered by GpSimdE, which has least to do: a
trigger that waits for its operand holds up no weight transfer (those are SyncE's).
"""

from __future__ import annotations

import math

from torch_mlir import ir

from axonc.backends.numerics.dtypes import U32, DType
from axonc.backends.program import Groups, TensorKind
from axonc.backends.targets.target import Engine
from axonc.dialects.attributes import integer_lists, integers
from axonc.dialects.neuron.ops import (
    AllGatherOp,
    AllReduceOp,
    AllToAllOp,
    CollectivePermuteOp,
    DotOp,
    FusedOp,
    PartitionIdOp,
    ReduceScatterOp,
    isa,
    short_name,
)
from axonc.dialects.ntile.builder import KernelBuilder, row_major
from axonc.dialects.ntile.program import View
from axonc.passes.graph.shapes import shape_of
from axonc.passes.graph.uses import defining_op, use_count
from axonc.passes.layout.layout_dims import default_rows
from axonc.passes.layout.storage import Loop, Storage
from axonc.passes.layout.view_ops import contiguous_strides
from axonc.passes.tile.elementwise.elementwise_expression import machine_dtype
from axonc.passes.tile.loop_nests import nest_tiles
from axonc.passes.tile.move import cast, free_loops, new_storage, row_blocks
from axonc.passes.tile.stored_dtype import is_float_conversion
from axonc.passes.tile.values import Values, hbm_storage

CHUNK_BYTES = 16 * 1024
"""Bytes per partition of one collective on SBUF tiles: 2 MiB in all, where the time of the bytes is
several times that of the steps (machine.md#collectives), and four row tiles of 1024 float32, which
a product finishes together (tile_dot.GROUP_BANKS)."""

MAX_TILE_DIMS = 4
"""Free dims of a tile in a DMA transfer (machine.md#dma)."""

REDUCTION_OPS = {"sum": "add", "max": "max", "min": "min"}
"""`kind` of neuron collectives -> `op` of the instructions."""


def groups_of(op: ir.Operation) -> Groups:
    return integer_lists(op.attributes["groups" if "groups" in op.attributes else "pairs"])


def emit(builder: KernelBuilder, op: ir.Operation, dst: View, src: View) -> None:
    """One collective of `op`."""
    fields: dict[str, object] = {"group": builder.replica_groups(groups_of(op))}
    if "kind" in op.attributes:
        fields["op"] = REDUCTION_OPS[op.kind]
    mnemonic = short_name(op)
    builder.emit(mnemonic, Engine.GPSIMD, dst=dst, src=src, **fields)


# ---- on SBUF tiles -------------------------------------------------------------------------------


def tile_elementwise_collective(values: Values, op: ir.Operation, dtype: DType) -> Storage:
    """all_reduce: result and operand lie alike."""
    builder = values.builder
    operand = op.operands[0]
    own = machine_dtype(operand.type)
    rows = integers(op.attributes["layout.rows"])
    source = values.get(operand, rows, own)
    result = new_storage(builder, shape_of(operand), own, rows, "exchanged")
    if not _lie_alike(source, result):
        copied = new_storage(builder, shape_of(operand), own, rows, "compact")
        cast(builder, copied, source)
        source = result = copied
    elif _is_own(operand):
        result = source
    partitions = builder.target.partitions
    for row, count, tiles in row_blocks(result, partitions):
        loops = (*tiles, *free_loops(result))
        lanes = [s.lane(row, count, loops, partitions) for s in (result, source)]
        limit = CHUNK_BYTES // own.size_bytes
        for sizes, (dst, src) in nest_tiles(_sizes(loops), lanes, limit, MAX_TILE_DIMS):
            emit(builder, op, dst.view(sizes), src.view(sizes))
    return result


def _is_own(value: ir.Value) -> bool:
    """Whether the tiles of a value may be overwritten: made for this operation alone. A conversion
    may be another reader's, or none at all."""
    op = defining_op(value)
    if op is None or use_count(value) != 1 or is_float_conversion(op):
        return False
    return isa(op, DotOp, FusedOp)


def _sizes(loops: tuple[Loop, ...]) -> list[int]:
    return [loop.size for loop in loops]


def _lie_alike(a: Storage, b: Storage) -> bool:
    """Whether a few long pieces cover both; else a copy costs less than many collectives."""
    alike = [s for s, size in zip(a.strides, a.shape, strict=True) if size > 1]
    other = [s for s, size in zip(b.strides, b.shape, strict=True) if size > 1]
    return alike == other and (a.rows <= b.buffer.partitions or a.tile_stride == b.tile_stride)


# ---- by way of device memory ---------------------------------------------------------------------


def tile_block_collective(values: Values, op: ir.Operation, dtype: DType) -> Storage:
    """The others: operand, result and blocks are contiguous in device memory."""
    builder = values.builder
    own, shape = machine_dtype(op.results[0].type), shape_of(op.results[0])
    source = _in_device_memory(values, op.operands[0])
    dst = builder.hbm(short_name(op), shape, own, TensorKind.SCRATCH)
    src = source.hbm_view(list(row_major((math.prod(source.shape),))), 0)
    flat = View(dst.buffer, own, 0, 0, 0, row_major((math.prod(shape),)))
    emit(builder, op, flat, src)
    return hbm_storage(dst, shape)


def _in_device_memory(values: Values, value: ir.Value) -> Storage:
    """A contiguous device-memory storage of `value` in its own dtype."""
    own, shape = machine_dtype(value.type), shape_of(value)
    for storage in values.known(value):
        dense = storage.in_hbm and storage.strides == contiguous_strides(shape)
        if dense and storage.dtype == own:
            return storage
    on_chip = [s for s in values.known(value) if not s.in_hbm and s.dtype == own]
    source = on_chip[0] if on_chip else values.get(value, default_rows(shape), own)
    made = values.to_device_memory(source, "outgoing")
    values.add(value, made)
    return made


def tile_partition_id(values: Values, op: ir.Operation, dtype: DType) -> Storage:
    """A tensor that the loader writes."""
    view = values.builder.hbm("rank", (), U32, TensorKind.RANK)
    return hbm_storage(view, ())


COLLECTIVE_RULES = {
    AllReduceOp: tile_elementwise_collective,
    CollectivePermuteOp: tile_block_collective,
    AllGatherOp: tile_block_collective,
    ReduceScatterOp: tile_block_collective,
    AllToAllOp: tile_block_collective,
    PartitionIdOp: tile_partition_id,
}
"""Tiling rules. Their results have the dtype of the operation, never that of a later cast."""
