"""Weights on their way from device memory to the tensor engine.

A weight that a dot contracts over is packed in device memory exactly as SBUF wants it (`Packing`):
for every column block, every partition's elements of all row tiles are contiguous, so each DMA row
is kilobytes long. It is loaded in chunks of some row tiles x one column block, each a buffer of its
own in the rotating part of SBUF, so that the scheduler can fetch chunks ahead of their use."""

from __future__ import annotations

from dataclasses import dataclass, field

from axonc.backends.isa.access_pattern import Dims, element_count
from axonc.backends.numerics.dtypes import DType
from axonc.backends.program import Packing
from axonc.dialects.ntile.builder import KernelBuilder
from axonc.dialects.ntile.program import Pool, View
from axonc.passes.graph.shapes import PartitionDims
from axonc.passes.layout.storage import Loop, Storage
from axonc.passes.tile.move import fetch

CHUNK_BYTES = 8 * 1024
"""Bytes per partition of one transfer: DMA rows of this length reach full bandwidth
(machine.md#dma-bandwidth), 1 MiB in all."""

SHARED_CHUNK_BYTES = 4 * 1024
"""The same where cores meet: a collective waits for the transfers that are under way (0004: an
engine does one at a time). The shortest rows that reach full bandwidth."""


@dataclass
class WeightStream:
    """The matrix [rows, columns] of a packed weight: rows = contraction, in tiles of 128."""

    builder: KernelBuilder
    packed: View
    packing: Packing
    dtype: DType
    _chunks: dict[tuple[int, int], View] = field(default_factory=dict)

    @property
    def column_block(self) -> int:
        return self.packing.column_block

    @property
    def tiles_per_chunk(self) -> int:
        row_bytes = self.packing.column_block * self.dtype.size_bytes
        chunk = CHUNK_BYTES if self.builder.program.cores == 1 else SHARED_CHUNK_BYTES
        return max(1, min(self.packing.row_tiles, chunk // row_bytes))

    def block(self, row_tile: int, rows: int, column: int, count: int) -> View:
        """[rows, count] of row tile `row_tile`, columns from `column`, in SBUF; loads its chunk
        once per column block visit."""
        number, offset = divmod(column, self.packing.column_block)
        per_chunk = self.tiles_per_chunk
        chunk, within = divmod(row_tile, per_chunk)
        if (number, chunk) not in self._chunks:
            self._chunks[number, chunk] = self._load(number, chunk * per_chunk)
        tile = self._chunks[number, chunk]
        return tile[0:rows, within, offset : offset + count]

    def _load(self, number: int, first: int) -> View:
        count = min(self.tiles_per_chunk, self.packing.row_tiles - first)
        columns = self.packing.column_block
        rows = min(self.packing.rows, self.packing.partition_tile)
        shape = (rows, count, columns)
        tile = self.builder.sbuf(shape, self.dtype, f"{self.packed.buffer.name}", Pool.STREAM)
        source = self.packed[number, 0:rows, first : first + count, 0:columns]
        if count == 1:  # a stride between tiles, though unused, may be too long for the machine
            self.builder.dma(tile[0:rows, 0], source[0:rows, 0])
        else:
            self.builder.dma(tile, source)
        return tile

    def forget(self) -> None:
        """Later visits load again (the chunks' buffers may be reused in between)."""
        self._chunks.clear()


@dataclass
class SliceStream:
    """The matrix [rows, columns] of a device tensor that is not ours to pack (a program input): one
    column block at a time is loaded in rows that device memory likes and, if need be,
    transposed."""

    builder: KernelBuilder
    source: Storage
    rows: PartitionDims
    column_dim: int
    column_block: int
    dtype: DType
    _blocks: dict[int, Storage] = field(default_factory=dict)

    def block(self, row_tile: int, rows: int, column: int, count: int) -> View:
        """As `WeightStream.block`."""
        number, offset = divmod(column, self.column_block)
        if number not in self._blocks:
            self._blocks[number] = self._load(number * self.column_block)
        storage = self._blocks[number]
        partitions = self.builder.target.partitions
        loop = Loop(self.column_dim, count, offset)
        return storage.lane(row_tile * partitions, rows, (loop,), partitions).view((count,))

    def _load(self, first: int) -> Storage:
        shape = self.source.shape
        low = [0] * len(shape)
        high = list(shape)
        low[self.column_dim] = first
        high[self.column_dim] = min(first + self.column_block, shape[self.column_dim])
        piece = self.source.sliced(tuple(low), tuple(high), (1,) * len(shape))
        assert piece is not None, "device memory has no partition dims"
        return fetch(self.builder, piece, self.rows, self.dtype, Pool.STREAM)

    def forget(self) -> None:
        """As `WeightStream.forget`."""
        self._blocks.clear()


Stream = WeightStream | SliceStream


def stored_as(source: Storage, dtype: DType) -> DType:
    """Element type of a packed weight that is read as `dtype`: what is stored narrower is raised by
    the DMA that fetches it."""
    return source.dtype if source.dtype.size_bytes < dtype.size_bytes else dtype


def stream_weight(
    builder: KernelBuilder,
    source: Storage,
    rows: PartitionDims,
    columns: PartitionDims,
    dtype: DType,
    widest: int,
) -> WeightStream:
    """The weight behind `source` (device memory, any strides) as a stream of [rows, columns], in
    column blocks of at most `widest`."""

    def dims(axes: PartitionDims) -> Dims:
        return tuple((source.strides[d], source.shape[d]) for d in axes) or ((1, 1),)

    columns_dims = dims(columns)
    block = min(widest, element_count(columns_dims))
    packing = Packing(dims(rows), columns_dims, source.offset, builder.target.partitions, block)
    packed = builder.packed_weight(source.buffer, packing, stored_as(source, dtype))
    return WeightStream(builder, packed, packing, dtype)
