"""Data movement between storages: loads and stores, casts, transposes on the tensor engine."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from axonc.backends.numerics.dtypes import F32, DType
from axonc.backends.targets.target import Engine
from axonc.dialects.ntile.builder import KernelBuilder
from axonc.dialects.ntile.program import Pool, View
from axonc.passes.graph.shapes import PartitionDims, Shape, normalised
from axonc.passes.layout.storage import ROW_TILES, Lane, Loop, Storage, merge_loops
from axonc.passes.tile.loop_nests import MAX_DIMS, MAX_TILE_ELEMENTS, nest_tiles, power_of_two

MIN_ROW_BYTES = 256
"""Below this a DMA row costs its overhead only (machine.md#dma-bandwidth): transposing on the PE is
cheaper."""


def row_blocks(storage: Storage, partitions: int) -> Iterator[tuple[int, int, tuple[Loop, ...]]]:
    """(first row, rows, loops over row tiles): all full row tiles at once, then the ragged one.
    A replicated storage is one block of all partitions."""
    if not storage.partition_dims:
        yield 0, partitions, ()
        return
    full, rest = divmod(storage.rows, partitions)
    if full:
        yield 0, partitions, (Loop(ROW_TILES, full),)
    if rest:
        yield full * partitions, rest, ()


def free_loops(storage: Storage) -> tuple[Loop, ...]:
    """Loops over all dims that are not on partitions."""
    return tuple(
        Loop(d, size) for d, size in enumerate(storage.shape) if d not in storage.partition_dims
    )


def cast(builder: KernelBuilder, result: Storage, source: Storage) -> None:
    """result = source, same rows, another dtype or other strides."""
    partitions = builder.target.partitions
    for row, rows, tiles in row_blocks(result, partitions):
        loops = (*tiles, *free_loops(result))
        lanes = [s.lane(row, rows, loops, partitions) for s in (result, source)]
        for sizes, (dst, src) in nest_tiles([lp.size for lp in loops], lanes, MAX_TILE_ELEMENTS):
            builder.copy(dst.view(sizes), src.view(sizes))


# ---- device memory -------------------------------------------------------------------------


def load(builder: KernelBuilder, result: Storage, source: Storage) -> None:
    """SBUF result = device-memory source (which may broadcast); casts on the way."""
    if pays_to_broadcast(result, source):
        _load_row(builder, result, source)
        return
    for tile, hbm in _transfers(builder, result, source, copies=result.buffer.partitions):
        builder.dma(tile, hbm)


MIN_BROADCAST_ELEMENTS = 128
"""Shortest tensor that the tensor engine repeats over the partitions: below, 128 short DMA rows
take no longer than the eviction."""


def pays_to_broadcast(result: Storage, source: Storage) -> bool:
    """Replicating by DMA would read the tensor from device memory once per partition."""
    size = math.prod(result.shape)
    return not result.partition_dims and source.dtype.is_float and size >= MIN_BROADCAST_ELEMENTS


def _load_row(builder: KernelBuilder, result: Storage, source: Storage) -> None:
    """One DMA row, repeated by the tensor engine."""
    size = math.prod(result.shape)
    row = builder.sbuf((1, size), source.dtype, "row")
    one_partition = replace(result, buffer=row.buffer, dtype=source.dtype, offset=0)
    for tile, hbm in _transfers(builder, one_partition, source, copies=1):
        builder.dma(tile, hbm)
    repeat_row(builder, result, row)


def repeat_row(builder: KernelBuilder, result: Storage, row: View) -> None:
    """Replicated result = row [1, n]: ones[1, 128].T @ row puts it on every partition
    (machine.md#tensor-engine)."""
    size = row.elements_per_partition
    partitions = builder.target.partitions
    ones = builder.ones_row(row.dtype)
    whole = View(result.buffer, result.dtype, 0, partitions, 0, ((1, size),))
    width = builder.target.psum_bank_bytes // F32.size_bytes
    for start in range(0, size, width):
        stop = min(start + width, size)
        bank = builder.psum((partitions, stop - start), F32, "broadcast")
        builder.matmul(bank, ones, row[0:1, start:stop], accumulate=False)
        builder.copy(whole[0:partitions, start:stop], bank)


def store(builder: KernelBuilder, result: Storage, source: Storage) -> None:
    """Device-memory result = SBUF source; a replicated source is stored once."""
    for tile, hbm in _transfers(builder, source, result, copies=1):
        builder.dma(hbm, tile)


def _transfers(
    builder: KernelBuilder, tile: Storage, hbm: Storage, copies: int
) -> Iterator[tuple[View, View]]:
    """Pairs of views, on-chip and device, that together move the whole tensor. copies: how many
    partitions of a replicated tile take part."""
    partitions = builder.target.partitions
    count = partitions if tile.partition_dims else copies
    for row, rows, hbm_rows, offset in _row_runs(tile, hbm, count):
        loops = free_loops(tile)
        lane = tile.lane(row, rows, loops, partitions)
        sizes = [lp.size for lp in loops]
        other = Lane(hbm.buffer, hbm.dtype, 0, 0, 0, tuple(hbm.strides[lp.dim] for lp in loops))
        for piece, (mine, theirs) in nest_tiles(sizes, [lane, other], 1 << 30, MAX_DIMS):
            shift = theirs.byte_offset // hbm.dtype.size_bytes
            dims = [hbm_rows, *zip(theirs.strides, piece, strict=True)]
            yield mine.view(piece), hbm.hbm_view(dims, offset + shift)


def _row_runs(
    tile: Storage, hbm: Storage, partitions: int
) -> Iterator[tuple[int, int, tuple[int, int], int]]:
    """(first row, rows, (stride, size) of the device side, its offset in elements): maximal runs of
    rows within a row tile that device memory visits with one stride."""
    dims = tile.partition_dims
    if not dims:
        yield 0, partitions, (0, partitions), 0
        return
    merged = merge_loops([tile.shape[d] for d in dims], [[hbm.strides[d] for d in dims]])
    run, (stride,) = merged[-1] if merged else (1, [0])
    outer = [(size, strides[0]) for size, strides in merged[:-1]]
    for number in range(tile.rows // run):
        base = _offset_of(number, outer)
        first = number * run
        position = first
        while position < first + run:
            rows = min(partitions - position % partitions, first + run - position)
            yield position, rows, (stride, rows), base + (position - first) * stride
            position += rows


def _offset_of(number: int, outer: list[tuple[int, int]]) -> int:
    offset = 0
    for size, stride in reversed(outer):
        number, index = divmod(number, size)
        offset += index * stride
    return offset


def wants_transpose(source: Storage, rows: PartitionDims) -> PartitionDims | None:
    """Rows to load instead when `rows` hold device memory's fastest dim, which would make every
    element a DMA row; None when `rows` are fine."""
    fast = [d for d, stride in enumerate(source.strides) if stride == 1 and source.shape[d] > 1]
    if not fast or fast[0] not in rows:
        return None
    size = source.shape[fast[0]]
    other = tuple(d for d, n in enumerate(source.shape) if n > 1 and d not in rows)
    too_small = size * source.dtype.size_bytes < MIN_ROW_BYTES or not other
    return None if too_small else other


def fetch(
    builder: KernelBuilder,
    source: Storage,
    rows: PartitionDims,
    dtype: DType,
    pool: Pool = Pool.WORK,
) -> Storage:
    """An SBUF storage of a device tensor; by way of a transpose where its rows are the fastest
    dim."""
    other = wants_transpose(source, rows)
    if other is not None and source.dtype.is_float:
        first = fetch(builder, source, other, dtype, pool)
        if can_transpose(first, rows):
            last = first.partition_dims
            result = new_storage(builder, source.shape, dtype, rows, "transpose", last, pool)
            move = transpose_exactly if builder.exact_transposes else transpose
            move(builder, result, first)
            return result
    result = new_storage(builder, source.shape, dtype, rows, "load", (), pool)
    load(builder, result, source)
    return result


# ---- transposes ----------------------------------------------------------------------------


def can_transpose(source: Storage, rows: PartitionDims) -> bool:
    """Whether the tensor engine can move `rows` on to partitions: float data, rows now free, and
    the present rows becoming free."""
    if not source.dtype.is_float or source.dtype.size_bytes > 4 or source.in_hbm:
        return False
    return bool(rows) and bool(source.partition_dims) and not set(rows) & set(source.partition_dims)


def transpose_exactly(builder: KernelBuilder, result: Storage, source: Storage) -> None:
    """As `transpose`, bit by bit: VectorE exchanges 32 partitions and 32 elements at a time
    (machine.md#vector-engine), so infinities and NaN stay where they are."""
    if result.dtype is not source.dtype:
        rows, last = result.partition_dims, source.partition_dims
        whole = new_storage(builder, source.shape, source.dtype, rows, "transpose", last)
        transpose_exactly(builder, whole, source)
        cast(builder, result, whole)
        return
    partitions, side = builder.target.partitions, builder.target.partition_quadrant
    source = _with_mergeable(builder, source, result.partition_dims)
    strides = _row_stride(result, source.partition_dims), _row_stride(source, result.partition_dims)
    for src_row in range(0, source.rows, side):
        height = min(side, source.rows - src_row)
        for (row, width, _), loops in _blocks(result.rows, side, _other_loops(result, source)):
            src = replace(source.lane(src_row, height, loops, partitions), strides=strides[1:])
            dst = replace(result.lane(row, width, loops, partitions), strides=strides[:1])
            builder.emit(
                "vector_transpose",
                Engine.VECTOR,
                dst=dst.advanced(0, src_row).view((height,)),
                src=src.advanced(0, row).view((width,)),
            )


def _other_loops(result: Storage, source: Storage) -> list[Loop]:
    """Over the dims that are on partitions neither before nor after."""
    on_partitions = {*source.partition_dims, *result.partition_dims}
    sizes = enumerate(source.shape)
    return [Loop(d, size) for d, size in sizes if size > 1 and d not in on_partitions]


def transpose(builder: KernelBuilder, result: Storage, source: Storage) -> None:
    """result = source with its partition dims and the result's exchanged, through PSUM.

    A transposed block is a matmul with the unit matrix (machine.md#tensor-engine); blocks that end
    up at the same place of consecutive row tiles, or of consecutive free indices, share a PSUM bank
    and one eviction, which also casts.
    """
    partitions = builder.target.partitions
    old_rows, new_rows = source.rows, result.rows
    rest = _other_loops(result, source)
    source = _with_mergeable(builder, source, result.partition_dims)
    result_stride = _row_stride(result, source.partition_dims)
    source_stride = _row_stride(source, result.partition_dims)
    width = builder.target.psum_bank_bytes // F32.size_bytes
    for src_row in range(0, old_rows, partitions):
        height = min(partitions, old_rows - src_row)
        per_bank = power_of_two(max(1, width // height))
        blocks = _blocks(new_rows, partitions, rest)
        for group in _groups(blocks, per_bank):
            _transpose_group(
                builder, result, source, (src_row, height), group, (result_stride, source_stride)
            )


Block = tuple[int, int, tuple[int, ...]]
"""(first new row, new rows, indices of the other dims)."""


def _blocks(
    new_rows: int, partitions: int, rest: list[Loop]
) -> list[tuple[Block, tuple[Loop, ...]]]:
    blocks = []
    for number in range(math.prod(lp.size for lp in rest)):
        loops = []
        for lp in reversed(rest):
            number, index = divmod(number, lp.size)
            loops.append(Loop(lp.dim, 1, index))
        for row in range(0, new_rows, partitions):
            block = (row, min(partitions, new_rows - row), tuple(lp.start for lp in loops))
            blocks.append((block, tuple(loops)))
    return blocks


def _groups(
    blocks: list[tuple[Block, tuple[Loop, ...]]], per_bank: int
) -> Iterator[list[tuple[Block, tuple[Loop, ...]]]]:
    """Runs of blocks of equal height, at most `per_bank`, that differ in one regular step."""
    group: list[tuple[Block, tuple[Loop, ...]]] = []
    for item in blocks:
        if group and (len(group) == per_bank or not _continues(group, item)):
            yield group
            group = []
        group.append(item)
    if group:
        yield group


def _continues(
    group: list[tuple[Block, tuple[Loop, ...]]], item: tuple[Block, tuple[Loop, ...]]
) -> bool:
    (row, height, index), (last_row, last_height, last_index) = item[0], group[-1][0]
    if height != last_height:
        return False
    same_rest, same_row = index == last_index, row == last_row
    first_row, _, first_index = group[0][0]
    if same_rest and (len(group) == 1 or first_index == index and first_row != last_row):
        return True
    only_innermost = bool(index) and index[1:] == last_index[1:] and index[0] == last_index[0] + 1
    return same_row and only_innermost and (len(group) == 1 or first_row == row)


def _transpose_group(
    builder: KernelBuilder,
    result: Storage,
    source: Storage,
    block_rows: tuple[int, int],
    group: list[tuple[Block, tuple[Loop, ...]]],
    strides: tuple[int, int],
) -> None:
    partitions = builder.target.partitions
    src_row, height = block_rows
    result_stride, source_stride = strides
    new_height = group[0][0][1]
    bank = builder.psum((new_height, len(group), height), F32, "transposed")
    identity = builder.identity(source.dtype)
    lanes = []
    for slot, ((row, _, _), loops) in enumerate(group):
        lane = source.lane(src_row, height, loops, partitions)
        block = replace(lane, strides=(source_stride,)).advanced(0, row).view((new_height,))
        start = lane.start_partition
        unit = identity[start : start + height, start : start + height]
        builder.matmul(bank[0:new_height, slot], block, unit, accumulate=False, transpose=True)
        out = result.lane(row, new_height, loops, partitions)
        lanes.append(replace(out, strides=(result_stride,)).advanced(0, src_row))
    step = (lanes[1].byte_offset - lanes[0].byte_offset) if len(lanes) > 1 else 0
    out = replace(lanes[0], strides=(step // result.dtype.size_bytes, result_stride))
    sizes = (len(group), height)
    dst, src = out.view(sizes), bank
    if len(group) == 1:
        dst, src = replace(out, strides=(result_stride,)).view((height,)), bank[0:new_height, 0]
    builder.copy(dst, src)


def _row_stride(storage: Storage, dims: PartitionDims) -> int:
    """The one stride with which `storage` visits `dims`, flattened in the order given."""
    merged = merge_loops([storage.shape[d] for d in dims], [[storage.strides[d] for d in dims]])
    assert len(merged) <= 1, "dims are contiguous in a storage of our own making"
    return merged[0][1][0] if merged else 1


def mergeable(storage: Storage, dims: PartitionDims) -> bool:
    """Whether the free dims, flattened in this order, have one stride."""
    sizes = [storage.shape[d] for d in dims]
    return len(merge_loops(sizes, [[storage.strides[d] for d in dims]])) <= 1


def _with_mergeable(builder: KernelBuilder, source: Storage, dims: PartitionDims) -> Storage:
    """`source`, or a copy of it, whose `dims` are one run."""
    return source if mergeable(source, dims) else compact(builder, source, dims)


def compact(
    builder: KernelBuilder, source: Storage, last: PartitionDims, dtype: DType | None = None
) -> Storage:
    """A copy with the free dims `last` innermost, in that order."""
    rows = source.partition_dims
    result = new_storage(builder, source.shape, dtype or source.dtype, rows, "compact", last)
    cast(builder, result, source)
    return result


def new_storage(
    builder: KernelBuilder,
    shape: Shape,
    dtype: DType,
    rows: PartitionDims,
    name: str,
    last: PartitionDims = (),
    pool: Pool = Pool.WORK,
) -> Storage:
    """A fresh SBUF storage: `rows` on partitions; the other dims behind the row tile, in order,
    with the dims in `last` innermost. Without rows it is replicated on all partitions."""
    rows = normalised(rows, shape)
    first = [d for d in range(len(shape)) if d not in rows and d not in last]
    strides, per_tile = [0] * len(shape), 1
    for d in reversed([*first, *last]):
        strides[d] = per_tile
        per_tile *= shape[d]
    limit = builder.target.partitions
    count = math.prod(shape[d] for d in rows)
    partitions = min(count, limit) if rows else limit
    tiles = -(-count // limit) if rows else 1
    tile = builder.sbuf((partitions, tiles, per_tile), dtype, name, pool)
    return Storage(tile.buffer, dtype, shape, rows, tuple(strides), per_tile)


def copy_device_memory(builder: KernelBuilder, result: Storage, source: Storage) -> None:
    """result = source, both in device memory, without a way through SBUF; casts on the way."""
    sizes = list(result.shape)
    lanes = [
        Lane(s.buffer, s.dtype, 0, 0, s.offset * s.dtype.size_bytes, s.strides)
        for s in (result, source)
    ]
    for piece, (dst, src) in nest_tiles(sizes, lanes, 1 << 30, MAX_DIMS):
        builder.dma(dst.view(piece), src.view(piece))


def has_long_rows(storage: Storage) -> bool:
    """Whether neighbours along the last dim are neighbours in device memory."""
    kept = [s for s, n in zip(storage.strides, storage.shape, strict=True) if n > 1]
    return not kept or kept[-1] == 1
