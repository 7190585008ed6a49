"""Tiles slices and updates whose place is known only when the program runs.

The tensor lies in device memory; a box of it is moved by indirect DMA (machine.md#operators), each
partition of the on-chip side naming the place of its piece by an index. The index of partition p is
`fixed[p] + sum of clamp(starts[j]) * scale[j]`: a constant plus what GpSimdE computes, exactly,
from the run-time starts. Indices count units of the largest step that reaches every piece.

The time of the transfers does not depend on where the box lies, so that the program's time is known
without running it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from torch_mlir import ir

from axonc.backends.isa.access_pattern import span_elements
from axonc.backends.numerics.dtypes import DTYPES, DType
from axonc.backends.targets.target import Engine
from axonc.diagnostics import UnsupportedOpError
from axonc.dialects.attributes import dense_to_numpy, integers
from axonc.dialects.neuron.ops import ConstantOp, DynamicSliceOp, DynamicUpdateSliceOp, isa
from axonc.dialects.ntile.builder import KernelBuilder
from axonc.dialects.ntile.program import View
from axonc.passes.graph.shapes import shape_of
from axonc.passes.layout.layout_dims import default_rows
from axonc.passes.layout.storage import PARTITIONS, Lane, Loop, Storage
from axonc.passes.tile.loop_nests import MAX_DIMS, nest_tiles
from axonc.passes.tile.move import (
    copy_device_memory,
    free_loops,
    load,
    new_storage,
    pays_to_broadcast,
    repeat_row,
    store,
    wants_transpose,
)
from axonc.passes.tile.values import Values

MAX_EXACT_IMMEDIATE = 2**24
"""Largest integer below which every integer is a float32, as immediate fields are."""

INDEX = DTYPES["i32"]


@dataclass(frozen=True)
class Moving:
    """One start that is computed at run time: entry `number` of the vector of starts, clamped to
    [0, last], moves the box by `stride` elements each."""

    number: int
    last: int
    stride: int


@dataclass(frozen=True)
class Box:
    """A box of a device tensor."""

    window: Storage
    """The box when all starts computed at run time are 0."""
    moving: tuple[Moving, ...]
    """The starts that are computed at run time."""
    starts: ir.Value | None
    """The vector of starts; None when none is left to compute."""


def box_of(op: ir.Operation, storage: Storage, sizes: tuple[int, ...], starts: ir.Value) -> Box:
    """The box of `storage` (device memory) that an op reads or writes; constant starts and those
    that the box leaves no choice are part of the window, as are those along a dim whose elements
    are one (the step of a broadcast is 0)."""
    first = list(op.start)
    known = _constant_starts(starts)
    moving = []
    for number, dim in enumerate(op.dims):
        last = storage.shape[dim] - sizes[dim]
        if known is not None:
            first[dim] = min(max(int(known[number]), 0), last)
        elif last and storage.strides[dim]:
            moving.append(Moving(number, last, storage.strides[dim]))
    limit = tuple(a + n for a, n in zip(first, sizes, strict=True))
    window = storage.sliced(tuple(first), limit, (1,) * len(sizes))
    assert window is not None, "device memory has no partition dims"
    return Box(window, tuple(moving), starts if moving else None)


def _constant_starts(starts: ir.Value) -> np.ndarray | None:
    owner = starts.owner
    if isinstance(owner, ir.Block) or not isa(owner, ConstantOp):
        return None
    return dense_to_numpy(owner.value).reshape(-1)


# ---- rules -----------------------------------------------------------------------------------


def tile_dynamic_slice(values: Values, op: ir.Operation, dtype: DType) -> Storage:
    """A fresh on-chip storage with the box, loaded from device memory."""
    operand, starts = op.operands
    shape = shape_of(op.results[0])
    box = box_of(op, in_device_memory(values, operand), shape, starts)
    rows = integers(op.attributes["layout.rows"])
    result = new_storage(values.builder, shape, dtype, rows, "slice")
    if box.starts is None:
        load(values.builder, result, box.window)
    elif pays_to_broadcast(result, box.window):
        row = values.builder.sbuf((1, math.prod(shape)), box.window.dtype, "row")
        one = replace(result, buffer=row.buffer, dtype=box.window.dtype, offset=0)
        _move(values, one, box, "gather", copies=1)
        repeat_row(values.builder, result, row)
    else:
        _move(values, result, box, "gather", copies=values.builder.target.partitions)
    return result


def tile_dynamic_update_slice(values: Values, op: ir.Operation, dtype: DType) -> Storage:
    """The updated tensor in device memory: the operand's own, or a copy (Values.updates)."""
    operand, update, starts = op.operands
    result = op.results[0]
    box_shape = shape_of(update)
    target = updated_memory(values, operand, result)
    box = box_of(op, target, box_shape, starts)
    source = _update_on_chip(values, update, box.window)
    if box.starts is None:
        store(values.builder, box.window, source)
    else:
        _move(values, source, box, "scatter", copies=1)
    return target


def in_device_memory(values: Values, value: ir.Value) -> Storage:
    """A storage of `value` in device memory, of its own type, with no reversed dim."""
    for storage in values.known(value):
        if storage.in_hbm and min(storage.strides, default=0) >= 0:
            return storage
    on_chip = [s for s in values.known(value) if not s.in_hbm]
    have = on_chip[0] if on_chip else values.get(value, default_rows(shape_of(value)))
    through = values.to_device_memory(have, "sliced")
    values.add(value, through)
    return through


def updated_memory(values: Values, operand: ir.Value, result: ir.Value) -> Storage:
    """Where the updated tensor lies: the memory of the operand when nothing reads that later, else
    fresh memory with a copy of it."""
    if result in values.updates.in_place:
        return next(s for s in values.storages[operand] if s.in_hbm)
    fresh = values.fresh_device_memory(result, "updated")
    source = next((s for s in values.known(operand) if s.in_hbm), None)
    if source is None:
        source = values.get(operand, default_rows(shape_of(operand)))
        store(values.builder, fresh, source)
    else:
        copy_device_memory(values.builder, fresh, source)
    return fresh


def _update_on_chip(values: Values, update: ir.Value, window: Storage) -> Storage:
    """The storage of the update that takes the fewest and longest pieces."""
    on_chip = [s for s in values.known(update) if not s.in_hbm]
    if on_chip:
        return min(on_chip, key=lambda s: _pieces(s, window))
    rows = default_rows(shape_of(update))
    return values.get(update, wants_transpose(window, rows) or rows)


def _pieces(tile: Storage, window: Storage) -> tuple[int, int]:
    """(transfers, pieces of neighbouring elements) to write `tile` into `window`."""
    kept = [d for d, n in enumerate(tile.shape) if n > 1 and d not in tile.partition_dims]
    is_long = bool(kept) and window.strides[kept[-1]] == 1
    run = tile.shape[kept[-1]] if is_long else 1
    return len(list(_blocks(tile, 1, PARTITIONS))), math.prod(tile.shape) // run


# ---- indirect transfers ----------------------------------------------------------------------


def _move(values: Values, tile: Storage, box: Box, mode: str, copies: int) -> None:
    """Gathers `tile` (SBUF) from the box, or scatters it there. copies: how many partitions of a
    replicated tile take part."""
    builder = values.builder
    unit = _unit(tile, box)
    for row, rows in _blocks(tile, copies, builder.target.partitions):
        offsets = _row_offsets(tile, box.window, row, rows)
        base = int(offsets.min())
        fixed = (offsets - base) // unit
        index = _index(values, box, unit, fixed)
        count = _reach(box, fixed, unit) + 1
        for mine, theirs in _pieces_of(tile, box.window, row, rows, builder.target.partitions):
            table = _table(theirs, base, (unit, count))
            dst, src = (mine, table) if mode == "gather" else (table, mine)
            builder.dma(dst, src, index=index, indirect=mode)


def _blocks(tile: Storage, copies: int, partitions: int) -> Iterator[tuple[int, int]]:
    """(first row, rows) of each row tile."""
    if not tile.partition_dims:
        yield 0, copies
        return
    for row in range(0, tile.rows, partitions):
        yield row, min(partitions, tile.rows - row)


def _unit(tile: Storage, box: Box) -> int:
    """The largest step, in elements, of which the offset of every piece is a multiple."""
    steps = [box.window.strides[d] for d in tile.partition_dims if tile.shape[d] > 1]
    return math.gcd(*steps, *(m.stride for m in box.moving))


def _row_offsets(tile: Storage, window: Storage, row: int, rows: int) -> np.ndarray:
    """Elements from the window's begin to the pieces of rows [row, row + rows)."""
    number = np.arange(row, row + rows) if tile.partition_dims else np.zeros(rows, np.int64)
    offset = np.zeros(rows, np.int64)
    for dim in reversed(tile.partition_dims):
        number, place = np.divmod(number, tile.shape[dim])
        offset += place * window.strides[dim]
    return offset


def _reach(box: Box, fixed: np.ndarray, unit: int) -> int:
    """The largest index there can be.

    Raises:
        UnsupportedOpError: it is beyond 32 bits.
    """
    highest = int(fixed.max()) + sum(m.last * (m.stride // unit) for m in box.moving)
    if highest >= 2**31:
        raise UnsupportedOpError(
            f"indices up to {highest}; the machine's have 32 bits", hint="split the tensor"
        )
    return highest


def _pieces_of(
    tile: Storage, window: Storage, row: int, rows: int, partitions: int
) -> Iterator[tuple[View, tuple[Lane, tuple[int, ...]]]]:
    """The on-chip views of a row tile that a transfer can take, and where each begins in device
    memory, for row offset 0."""
    loops: tuple[Loop, ...] = free_loops(tile)
    mine = tile.lane(row, rows, loops, partitions)
    strides = tuple(window.strides[lp.dim] for lp in loops)
    begin = window.offset * window.dtype.size_bytes
    theirs = Lane(window.buffer, window.dtype, 0, 0, begin, strides)
    for piece, (a, b) in nest_tiles([lp.size for lp in loops], [mine, theirs], 1 << 30, MAX_DIMS):
        yield a.view(piece), (b, piece)


def _table(lane: tuple[Lane, tuple[int, ...]], base: int, rows: tuple[int, int]) -> View:
    """Device memory as a table whose row i begins i units after `base`."""
    where, sizes = lane
    dims = (rows, *zip(where.strides, sizes, strict=True))
    offset = where.byte_offset + base * where.dtype.size_bytes
    assert span_elements(dims)[0] == 0, "storages with reversed dims are copied first"
    return View(where.buffer, where.dtype, 0, 0, offset, dims)


# ---- indices ---------------------------------------------------------------------------------


def _index(values: Values, box: Box, unit: int, fixed: np.ndarray) -> View:
    """[rows, 1] tile of indices, in units; made once for equal ones."""
    assert box.starts is not None
    scaled = tuple((m.number, m.last, m.stride // unit) for m in box.moving)
    key = (box.starts, scaled, fixed.tobytes())
    if key not in values.indices:
        values.indices[key] = _made_index(values, box.starts, scaled, fixed)
    return values.indices[key]


def _made_index(
    values: Values, starts: ir.Value, scaled: tuple[tuple[int, int, int], ...], fixed: np.ndarray
) -> View:
    builder = values.builder
    vector = values.get(starts, ())
    rows = len(fixed)
    total: View | None = None
    if fixed.any():
        total = builder.constant(fixed.reshape(-1, 1), INDEX, "places")
    for number, last, scale in scaled:
        place = vector.lane(0, rows, (Loop(0, 1, number),), builder.target.partitions).view((1,))
        term = _scaled(builder, place, last, scale)
        total = term if total is None else _sum(builder, total, term)
    assert total is not None, "a box with starts has some that move"
    return total


def _scaled(builder: KernelBuilder, start: View, last: int, scale: int) -> View:
    """clamp(start, 0, last) * scale, in 32-bit integers.

    Raises:
        UnsupportedOpError: numbers an immediate field cannot hold.
    """
    if max(last, scale) > MAX_EXACT_IMMEDIATE:
        raise UnsupportedOpError(
            f"a start up to {last} in steps of {scale}: immediates are float32, exact up to "
            f"{MAX_EXACT_IMMEDIATE}",
            hint="split the tensor",
        )
    result = builder.sbuf((start.num_partitions, 1), INDEX, "index")
    clamp = {"op0": "max", "imm0": 0.0, "op1": "min", "imm1": float(last)}
    builder.emit("tensor_scalar", Engine.GPSIMD, dst=result, src=start, **clamp)
    if scale != 1:
        builder.emit(
            "tensor_scalar", Engine.GPSIMD, dst=result, src=result, op0="multiply",
            imm0=float(scale),
        )  # fmt: skip
    return result


def _sum(builder: KernelBuilder, a: View, b: View) -> View:
    result = builder.sbuf((a.num_partitions, 1), INDEX, "index")
    builder.emit("tensor_tensor", Engine.GPSIMD, dst=result, src0=a, src1=b, op="add")
    return result


DYNAMIC_RULES = {
    DynamicSliceOp: tile_dynamic_slice,
    DynamicUpdateSliceOp: tile_dynamic_update_slice,
}
