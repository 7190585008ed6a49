"""Tiles `neuron.dot` in full generality: any batch, contracted and free dims, any sizes.

One side is stationary (its free dims become the result's rows, through PSUM partitions), the other
moves. The loops, outermost first: groups of PSUM banks, the contraction in tiles of 128, the slots
of the group. A slot is one (batch element, stationary tile, moving chunk); slots that end up in a
regular pattern share a bank. A finished bank is evicted with the epilogue (bias, scale, activation,
cast, residual) in the same instructions. Weights stream from device memory (weight_stream.py);
other operands lie in SBUF."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch_mlir import ir

from axonc.backends.numerics.dtypes import F32, DType
from axonc.backends.program import TensorKind
from axonc.diagnostics import UnsupportedOpError
from axonc.dialects.attributes import integers
from axonc.dialects.neuron.ops import DotOp
from axonc.dialects.ntile.program import MAX_BLOCK_BYTES, View
from axonc.passes.graph.dot_geometry import LHS, RHS, DotSide, dot_geometry
from axonc.passes.graph.shapes import normalised, shape_of
from axonc.passes.layout.storage import ROW_TILES, Lane, Loop, Storage
from axonc.passes.tile.elementwise.elementwise_expression import (
    Expression,
    machine_dtype,
    region_expression,
)
from axonc.passes.tile.elementwise.emit import emit_expression
from axonc.passes.tile.move import compact, mergeable
from axonc.passes.tile.ops.concatenate import new_result
from axonc.passes.tile.region_operands import RegionOperands
from axonc.passes.tile.values import Values
from axonc.passes.tile.weight_stream import SliceStream, Stream, stream_weight

GROUP_BANKS = 4
"""PSUM banks one group of results may fill: half of them, so that the next group can start while
this one is evicted."""


RESIDENT_BYTES = 4 * 1024
"""Bytes per partition up to which a program input is loaded whole."""


@dataclass(frozen=True)
class Chunk:
    """A rectangle of free dims that is also a flat range [first, first + count)."""

    first: int
    loops: tuple[Loop, ...]

    @property
    def count(self) -> int:
        return math.prod(lp.size for lp in self.loops)


@dataclass(frozen=True)
class Slot:
    """One result tile: stationary columns [first, first + height) x one moving chunk."""

    batch: tuple[int, ...]
    first: int
    height: int
    chunk: Chunk


@dataclass(frozen=True)
class Bank:
    """Slots that share a PSUM bank and an eviction."""

    slots: tuple[Slot, ...]
    pack: Loop | None
    """The loop that goes from slot to slot."""
    block: int
    """The column block of the streamed side that they need."""


def chunks(dims: tuple[int, ...], sizes: tuple[int, ...], limit: int) -> list[Chunk]:
    """Cuts the free dims into rectangles of at most `limit` elements, in row-major order."""
    inner = 1
    axis = len(sizes)
    while axis and inner * sizes[axis - 1] <= limit:
        axis -= 1
        inner *= sizes[axis]
    whole = tuple(Loop(d, n) for d, n in zip(dims[axis:], sizes[axis:], strict=True))
    if not axis:
        return [Chunk(0, whole)]
    split, dim = sizes[axis - 1], dims[axis - 1]
    per_chunk = limit // inner
    found = []
    for number, outer in enumerate(itertools.product(*(range(n) for n in sizes[: axis - 1]))):
        fixed = tuple(Loop(d, 1, i) for d, i in zip(dims, outer, strict=False))
        for start in range(0, split, per_chunk):
            size = min(per_chunk, split - start)
            first = (number * split + start) * inner
            found.append(Chunk(first, (*fixed, Loop(dim, size, start), *whole)))
    return found


def flat_index(index: tuple[int, ...], sizes: list[int]) -> int:
    flat = 0
    for i, size in zip(index, sizes, strict=True):
        flat = flat * size + i
    return flat


@dataclass
class Operand:
    """One side of the dot and where its tiles come from: a stream, or an SBUF storage whose free
    dims have one stride."""

    side: DotSide
    partitions: int
    batch_rows: int
    storage: Storage | None = None
    stream: Stream | None = None

    def tile(self, batch: tuple[int, ...], start: int, rows: int, first: int, count: int) -> View:
        """[rows of the contraction from `start`, free elements first ... first + count)."""
        if self.stream is not None:
            return self.stream.block(start // self.partitions, rows, first, count)
        assert self.storage is not None
        free = len(batch) - self.batch_rows
        stacked = [self.side.shape[d] for d in self.side.batch[free:]]
        start += flat_index(batch[free:], stacked) * self.side.count(self.side.contract)
        fixed = tuple(Loop(d, 1, i) for d, i in zip(self.side.batch, batch[:free], strict=False))
        lane = self.storage.lane(start, rows, fixed, self.partitions)
        stride = self._free_stride(self.storage)
        return replace(lane, strides=(stride,)).advanced(0, first).view((count,))

    def _free_stride(self, storage: Storage) -> int:
        kept = [d for d in self.side.free if storage.shape[d] > 1]
        return storage.strides[kept[-1]] if kept else 1


class DotTiler:
    """Emits one dot."""

    def __init__(self, values: Values, op: ir.Operation) -> None:
        self.values = values
        self.builder = values.builder
        self.target = values.builder.target
        self.op = op
        self.geometry = dot_geometry(op)
        a = op.attributes
        self.stationary = LHS if ir.StringAttr(a["layout.stationary"]).value == "lhs" else RHS
        self.batch_rows = ir.IntegerAttr(a["layout.batch_rows"]).value
        self.rows = normalised(integers(a["layout.rows"]), self.geometry.result_shape)
        self.still = self.geometry.sides[self.stationary]
        self.moving = self.geometry.sides[1 - self.stationary]
        batch = self.geometry.batch
        self.stacked = tuple(d for d in batch if d in self.rows)
        self.unstacked = tuple(d for d in batch if d not in self.rows)
        self.bank_columns = self.target.psum_bank_bytes // F32.size_bytes

    def run(self, dtype: DType) -> Storage:
        """The result, in SBUF with the chosen rows, stored as `dtype`."""
        self._check_dtypes()
        moving_dims = self.moving.result_free
        value = self.op.results[0]
        result = new_result(self.values, value, dtype, self.rows, "dot", moving_dims)
        root = self._epilogue()
        operands = [None, *list(self.op.operands)[2:]]
        leaves = RegionOperands(
            self.values, root, operands, self.geometry.result_shape, result.partition_dims
        )
        self.sides = [self._operand(side) for side in (LHS, RHS)]
        for group in self._groups(list(self._banks())):
            self._emit_group(group, root, leaves, result)
        return result

    def _check_dtypes(self) -> None:
        for value in list(self.op.operands)[:2]:
            dtype = machine_dtype(value.type)
            if not dtype.is_float:
                raise UnsupportedOpError(
                    f"the tensor engine has no {dtype} data path",
                    op=DotOp.OPERATION_NAME,
                    hint="convert the operands to f32 (exact below 2^24)",
                )

    def _epilogue(self) -> Expression:
        if len(self.op.regions) and len(self.op.regions[0].blocks):
            return region_expression(self.op.regions[0].blocks[0])
        return Expression("leaf", (), F32, argument=0, uses=1)

    # ---- operands ---------------------------------------------------------------------------

    def _operand(self, number: int) -> Operand:
        side = self.geometry.sides[number]
        value = self.op.operands[number]
        dtype = machine_dtype(value.type)
        operand = Operand(side, self.target.partitions, self.batch_rows)
        operand.stream = self._stream(number, value, dtype)
        if operand.stream is not None:
            return operand
        storage = self.values.get(value, side.rows(self.batch_rows), dtype)
        operand.storage = (
            storage if mergeable(storage, side.free) else compact(self.builder, storage, side.free)
        )
        return operand

    def _stream(self, number: int, value: ir.Value, dtype: DType) -> Stream | None:
        """A stream for a matrix in device memory; None for what is, or should be, in SBUF."""
        side = self.geometry.sides[number]
        source = None if self.geometry.batch_count > 1 else self.values.stored_source(value)
        if source is None or not self._streams(side, number, dtype):
            return None
        limit = self._block_width(number, dtype)
        kind = source.buffer.tensor.kind if source.buffer.tensor is not None else None
        if kind is TensorKind.WEIGHT:
            return stream_weight(self.builder, source, side.contract, side.free, dtype, limit)
        free = [d for d in side.free if side.shape[d] > 1]
        row_tiles = -(-self.geometry.depth // self.target.partitions)
        whole = row_tiles * side.count(side.free) * dtype.size_bytes
        if kind is not TensorKind.INPUT or len(free) != 1 or whole <= RESIDENT_BYTES:
            return None
        return SliceStream(self.builder, source, side.rows(0), free[0], limit, dtype)

    def _block_width(self, number: int, dtype: DType) -> int:
        limit = self._limit(number, dtype)
        if number == self.stationary:
            return limit
        return self._chunks_of(self.geometry.sides[number], limit)[0].count

    def _limit(self, number: int, dtype: DType) -> int:
        """Columns per block: what fits a PSUM bank and MAX_BLOCK_BYTES, in whole PE tiles."""
        depth_tiles = -(-self.geometry.depth // self.target.partitions)
        fit = MAX_BLOCK_BYTES // (depth_tiles * dtype.size_bytes)
        granule = self.target.pe_columns
        return max(granule, min(self.bank_columns, fit // granule * granule))

    def _streams(self, side: DotSide, number: int, dtype: DType) -> bool:
        """Whether blocks of equal width meet the chunks (they do unless dims split unevenly)."""
        limit = self._limit(number, dtype)
        if number == self.stationary:
            return True
        cut = self._chunks_of(side, limit)
        return all(chunk.first % cut[0].count == 0 for chunk in cut) and all(
            chunk.count <= cut[0].count for chunk in cut
        )

    def _chunks_of(self, side: DotSide, limit: int) -> list[Chunk]:
        sizes = tuple(side.shape[d] for d in side.free)
        return chunks(side.result_free, sizes, limit)

    # ---- result tiles -----------------------------------------------------------------------

    def _banks(self) -> Iterator[Bank]:
        still, moving = self.sides[self.stationary], self.sides[1 - self.stationary]
        stream = moving.stream
        limit = stream.column_block if stream is not None else self.bank_columns
        pieces = self._chunks_of(self.moving, limit)
        tiles = self._stationary_tiles()
        for batch in self._batch_runs(pieces, tiles):
            if still.stream is not None:
                width = still.stream.column_block
                for number, first in enumerate(range(0, tiles[-1][0] + 1, width)):
                    block = [tile for tile in tiles if first <= tile[0] < first + width]
                    for piece in pieces:
                        yield from self._pack(batch, block, piece, number)
            else:
                for number, piece in enumerate(pieces):
                    yield from self._pack(batch, tiles, piece, number)

    def _stationary_tiles(self) -> list[tuple[int, int]]:
        width = self.target.pe_columns
        if not self.rows:
            return [(0, width)]
        total = self.still.count(self.still.free)
        return [(first, min(width, total - first)) for first in range(0, total, width)]

    def _batch_runs(
        self, pieces: list[Chunk], tiles: list[tuple[int, int]]
    ) -> Iterator[list[tuple[int, ...]]]:
        """Batch elements to do together: neighbours along the last batch dim, when their results
        are small enough to share a bank and do not lie on different partitions."""
        shape = self.geometry.result_shape
        small = len(pieces) == 1 and len(tiles) == 1 and bool(self.unstacked)
        run = max(1, self.bank_columns // pieces[0].count) if small else 1
        packed = self.unstacked[-1] if small else None
        steps = [range(0, shape[d], run if d == packed else 1) for d in self.geometry.batch]
        for index in itertools.product(*steps):
            if packed is None:
                yield [index]
            else:
                stop = min(index[packed] + run, shape[packed])
                yield [
                    (*index[:packed], i, *index[packed + 1 :]) for i in range(index[packed], stop)
                ]

    def _pack(
        self,
        batch: list[tuple[int, ...]],
        tiles: list[tuple[int, int]],
        piece: Chunk,
        block: int,
    ) -> Iterator[Bank]:
        if len(batch) > 1:
            slots = tuple(Slot(index, *tiles[0], piece) for index in batch)
            dim = self.unstacked[-1]
            pack = Loop(dim, len(batch), batch[0][dim])
            yield Bank(slots, pack, block)
            return
        per_bank = self.bank_columns // piece.count
        full = [t for t in tiles if t[1] == self.target.pe_columns]
        if per_bank > 1 and len(full) > 1 and not self.stacked:
            for start in range(0, len(full), per_bank):
                run = full[start : start + per_bank]
                slots = tuple(Slot(batch[0], *tile, piece) for tile in run)
                yield Bank(slots, Loop(ROW_TILES, len(run)), block)
            tiles = tiles[len(full) :]
        for tile in tiles:
            yield Bank((Slot(batch[0], *tile, piece),), None, block)

    def _groups(self, banks: list[Bank]) -> Iterator[list[Bank]]:
        """Banks of one column block, up to GROUP_BANKS, share the loop over the contraction."""
        for _, same in itertools.groupby(banks, lambda bank: bank.block):
            run = list(same)
            for start in range(0, len(run), GROUP_BANKS):
                yield run[start : start + GROUP_BANKS]
            for side in self.sides:
                if side.stream is not None:
                    side.stream.forget()

    # ---- instructions -----------------------------------------------------------------------

    def _emit_group(
        self, group: list[Bank], root: Expression, leaves: RegionOperands, result: Storage
    ) -> None:
        tiles = [
            self.builder.psum(
                (bank.slots[0].height, len(bank.slots), bank.slots[0].chunk.count), F32, "acc"
            )
            for bank in group
        ]
        step = self.target.partitions
        depth = self.geometry.depth
        for start in range(0, depth, step):
            rows = min(step, depth - start)
            for bank, tile in zip(group, tiles, strict=True):
                for number, slot in enumerate(bank.slots):
                    self._multiply(tile[0 : slot.height, number], slot, start, rows)
        for bank, tile in zip(group, tiles, strict=True):
            self._evict(bank, tile, root, leaves, result)

    def _multiply(self, dst: View, slot: Slot, start: int, rows: int) -> None:
        still, moving = self.sides[self.stationary], self.sides[1 - self.stationary]
        if self.rows:
            stationary = still.tile(slot.batch, start, rows, slot.first, slot.height)
        else:  # one column, repeated: the result is replicated on all partitions
            column = still.tile(slot.batch, start, rows, 0, 1)
            stationary = replace(column, dims=((0, slot.height),))
        self.builder.matmul(
            dst,
            stationary,
            moving.tile(slot.batch, start, rows, slot.chunk.first, slot.chunk.count),
            accumulate=start > 0,
        )

    def _evict(
        self, bank: Bank, tile: View, root: Expression, leaves: RegionOperands, result: Storage
    ) -> None:
        slot = bank.slots[0]
        fixed = self._fixed_loops(bank)
        pack = (bank.pack,) if bank.pack is not None else ()
        loops = (*fixed, *pack, *slot.chunk.loops)
        inner = []
        stride = 1
        for lp in reversed(slot.chunk.loops):
            inner.append(stride)
            stride *= lp.size
        strides = (*(0 for _ in fixed), *(slot.chunk.count for _ in pack), *reversed(inner))
        accumulator = Lane(tile.buffer, F32, 0, slot.height, 0, strides)
        row = self._result_row(slot)
        partitions = self.target.partitions
        out = result.lane(row, slot.height, loops, partitions)
        lanes = leaves.lanes(row, slot.height, loops, partitions, accumulator)
        sizes = [lp.size for lp in loops]
        emit_expression(self.builder, root, sizes, lanes, leaves.keys, out)

    def _fixed_loops(self, bank: Bank) -> tuple[Loop, ...]:
        """Loops of one step that select the batch element in storages with free batch dims."""
        packed = bank.pack.dim if bank.pack is not None else ROW_TILES
        pairs = zip(self.geometry.batch, bank.slots[0].batch, strict=True)
        return tuple(Loop(d, 1, i) for d, i in pairs if d != packed and d in self.unstacked)

    def _result_row(self, slot: Slot) -> int:
        sizes = [self.geometry.result_shape[d] for d in self.stacked]
        index = tuple(slot.batch[d] for d in self.stacked)
        return flat_index(index, sizes) * self.still.count(self.still.free) + slot.first


def tile_dot(values: Values, op: ir.Operation, dtype: DType) -> Storage:
    if any(0 in shape_of(operand) for operand in list(op.operands)[:2]):
        raise UnsupportedOpError("contraction of length 0", hint="its result is constant: fold it")
    return DotTiler(values, op).run(dtype)
