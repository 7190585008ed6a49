"""The kernel of a convolution as stationary matrices: for each kernel element the matrix
[input features, output features].

A weight is packed in device memory so that all elements of the kernel for a block of output
features stream in together; other kernels are loaded whole. Kernels with groups become
block-diagonal: the kernel on the partitions of its input features, times a mask of the groups."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from axonc.backends.isa.access_pattern import Dims
from axonc.backends.numerics.dtypes import DType
from axonc.backends.program import Packing
from axonc.backends.targets.target import Engine
from axonc.dialects.ntile.builder import KernelBuilder
from axonc.dialects.ntile.program import MAX_BLOCK_BYTES, View
from axonc.passes.layout.storage import Lane, Loop, Storage
from axonc.passes.tile.loop_nests import MAX_TILE_ELEMENTS, nest_tiles, power_of_two
from axonc.passes.tile.move import fetch
from axonc.passes.tile.weight_stream import CHUNK_BYTES, WeightStream, stored_as

LARGE_KERNEL_BYTES = 48 * 1024
"""Bytes per partition, a quarter of SBUF, beyond which a kernel is not kept whole."""


@dataclass(frozen=True)
class FeatureTile:
    """Output features [first, first + height): the columns of stationary matrices, the partitions
    of results."""

    first: int
    height: int


@dataclass(frozen=True)
class RowTile:
    """Rows [first, first + rows) of the contraction, on partitions; `number` of its tile."""

    number: int
    first: int
    rows: int


@dataclass(frozen=True)
class KernelAxes:
    """How the kernel is cut."""

    rows: tuple[int, ...]
    """Dims on partitions, most significant first."""
    taps: tuple[int, ...]
    """The other dims but the output features, in the order of tap indices."""
    output: int
    """The dim of the output features. Dims are those of the kernel's tensor."""


class Kernel(Protocol):
    """Stationary matrices."""

    def blocks(self) -> list[list[FeatureTile]]:
        """Output features in the order to compute them; what is loaded for a block stays until
        `forget`."""

    def stationary(self, tile: FeatureTile, row: RowTile, tap: Sequence[int]) -> View | None:
        """[rows, output features]; None if it is all zeros. tap: kernel indices along
        KernelAxes.taps."""

    def forget(self) -> None:
        """The block is done."""


def feature_tiles(outputs: int, width: int) -> list[FeatureTile]:
    return [FeatureTile(f, min(width, outputs - f)) for f in range(0, outputs, width)]


def row_tiles(rows: int, partitions: int) -> list[RowTile]:
    starts = range(0, rows, partitions)
    return [RowTile(i, f, min(partitions, rows - f)) for i, f in enumerate(starts)]


def flat_tap(tap: Sequence[int], sizes: Sequence[int]) -> int:
    flat = 0
    for index, size in zip(tap, sizes, strict=True):
        flat = flat * size + index
    return flat


class PackedKernel:
    """A weight, streamed: columns of the packed matrix are (block of output features, tap, output
    feature)."""

    def __init__(
        self, builder: KernelBuilder, source: Storage, axes: KernelAxes, dtype: DType
    ) -> None:
        self.width = builder.target.pe_columns
        self.tap_sizes = [source.shape[d] for d in axes.taps]
        self.taps = math.prod(self.tap_sizes)
        outputs = source.shape[axes.output]
        full = outputs // self.width
        rows = math.prod(source.shape[d] for d in axes.rows)
        depth = -(-rows // builder.target.partitions)
        self.per_block = self._tiles_per_block(full, depth, dtype)
        self.tiles = feature_tiles(outputs, self.width)
        self.full = self._stream(builder, source, axes, dtype, (0, full)) if full else None
        rest = outputs - full * self.width
        self.rest = self._stream(builder, source, axes, dtype, (full, 1)) if rest else None

    def _tiles_per_block(self, full: int, depth: int, dtype: DType) -> int:
        """Feature tiles that stream together: so many that DMA rows are long, while blocks fit."""
        tile_bytes = self.taps * self.width * dtype.size_bytes
        wanted = max(1, min(CHUNK_BYTES // tile_bytes, MAX_BLOCK_BYTES // (tile_bytes * depth)))
        return max(n for n in range(1, wanted + 1) if full % n == 0) if full else 1

    def _stream(
        self,
        builder: KernelBuilder,
        source: Storage,
        axes: KernelAxes,
        dtype: DType,
        tiles: tuple[int, int],
    ) -> WeightStream:
        """The stream of some feature tiles: (first, number of them)."""

        def dims(of: Sequence[int]) -> Dims:
            return tuple((source.strides[d], source.shape[d]) for d in of)

        first, count = tiles
        step = source.strides[axes.output]
        height = min(self.width, source.shape[axes.output] - first * self.width)
        columns = ((step * self.width, count), *dims(axes.taps), (step, height))
        per_block = self.per_block if count > 1 else 1
        packing = Packing(
            dims(axes.rows) or ((1, 1),),
            columns,
            source.offset + first * self.width * step,
            builder.target.partitions,
            per_block * self.taps * height,
        )
        packed = builder.packed_weight(source.buffer, packing, stored_as(source, dtype))
        return WeightStream(builder, packed, packing, dtype)

    def blocks(self) -> list[list[FeatureTile]]:
        full = [t for t in self.tiles if t.height == self.width]
        cut = [full[i : i + self.per_block] for i in range(0, len(full), self.per_block)]
        return [*cut, *([t] for t in self.tiles[len(full) :])]

    def stationary(self, tile: FeatureTile, row: RowTile, tap: Sequence[int]) -> View:
        stream = self.full if tile.height == self.width else self.rest
        assert stream is not None
        number = tile.first // self.width if stream is self.full else 0
        column = (number * self.taps + flat_tap(tap, self.tap_sizes)) * tile.height
        return stream.block(row.number, row.rows, column, tile.height)

    def forget(self) -> None:
        for stream in (self.full, self.rest):
            if stream is not None:
                stream.forget()


@dataclass
class LoadedKernel:
    """A kernel in SBUF, its row dims on partitions."""

    builder: KernelBuilder
    storage: Storage
    axes: KernelAxes

    def blocks(self) -> list[list[FeatureTile]]:
        outputs = self.storage.shape[self.axes.output]
        return [feature_tiles(outputs, self.builder.target.pe_columns)]

    def stationary(self, tile: FeatureTile, row: RowTile, tap: Sequence[int]) -> View:
        fixed = (Loop(d, 1, i) for d, i in zip(self.axes.taps, tap, strict=True))
        loops = (*fixed, Loop(self.axes.output, tile.height, tile.first))
        lane = self.storage.lane(row.first, row.rows, loops, self.builder.target.partitions)
        return replace(lane, strides=lane.strides[-1:]).view((tile.height,))

    def forget(self) -> None:
        """It stays."""


@dataclass
class BlockwiseKernel:
    """A kernel in device memory that would crowd SBUF: loaded for some output features, and for the
    rows of one tile of the contraction, at a time."""

    builder: KernelBuilder
    source: Storage
    axes: KernelAxes
    dtype: DType
    _loaded: dict[tuple[int, int], Storage] = field(default_factory=dict)

    def blocks(self) -> list[list[FeatureTile]]:
        outputs = self.source.shape[self.axes.output]
        return [[tile] for tile in feature_tiles(outputs, self._width())]

    def _width(self) -> int:
        """Output features of a block: as many as `LARGE_KERNEL_BYTES` hold, whole quadrants, where
        results may begin (machine.md#operands)."""
        target = self.builder.target
        each = math.prod(self.source.shape[d] for d in self.axes.taps) * self.dtype.size_bytes
        quadrants = LARGE_KERNEL_BYTES // each // target.partition_quadrant
        count = max(1, min(quadrants, target.pe_columns // target.partition_quadrant))
        return power_of_two(count) * target.partition_quadrant

    def stationary(self, tile: FeatureTile, row: RowTile, tap: Sequence[int]) -> View:
        key = (tile.first, row.first)
        if key not in self._loaded:
            self._loaded[key] = self._load(tile, row)
        part = LoadedKernel(self.builder, self._loaded[key], self.axes)
        return part.stationary(FeatureTile(0, tile.height), RowTile(0, 0, row.rows), tap)

    def _load(self, tile: FeatureTile, row: RowTile) -> Storage:
        low, high = [0] * len(self.source.shape), list(self.source.shape)
        low[self.axes.output], high[self.axes.output] = tile.first, tile.first + tile.height
        if len(self.axes.rows) == 1:  # kernel elements are on partitions, too, in one tile only
            (dim,) = self.axes.rows
            low[dim], high[dim] = row.first, row.first + row.rows
        part = self.source.sliced(tuple(low), tuple(high), (1,) * len(low))
        assert part is not None, "device memory has no partition dims"
        return fetch(self.builder, part, self.axes.rows, self.dtype)

    def forget(self) -> None:
        self._loaded.clear()


@dataclass
class GroupedKernel:
    """A kernel with groups."""

    builder: KernelBuilder
    source: Storage
    """In device memory. One matrix holds every group of its input features, zero outside the blocks
    of the groups; so an infinity in a feature is NaN in the results of the others of its row tile
    (as in transposes, docs/design/0009)."""
    axes: KernelAxes
    dtype: DType
    groups: int
    _made: dict[tuple[int, int], View] = field(default_factory=dict)
    _loaded: dict[int, Storage] = field(default_factory=dict)

    @property
    def inputs(self) -> int:
        """Input features of a group."""
        return math.prod(self.source.shape[d] for d in self.axes.rows)

    @property
    def outputs(self) -> int:
        """Output features of a group."""
        return self.source.shape[self.axes.output] // self.groups

    @property
    def tap_sizes(self) -> tuple[int, ...]:
        return tuple(self.source.shape[d] for d in self.axes.taps)

    def blocks(self) -> list[list[FeatureTile]]:
        width = self.builder.target.pe_columns
        return [[tile] for tile in feature_tiles(self.groups * self.outputs, width)]

    def stationary(self, tile: FeatureTile, row: RowTile, tap: Sequence[int]) -> View | None:
        mask = self._mask(tile, row)
        if not mask.any():
            return None
        key = (tile.first, row.first)
        if key not in self._made:
            self._made[key] = self._expanded(tile, row, mask)
        return self._made[key][0 : row.rows, flat_tap(tap, self.tap_sizes)]

    def _mask(self, tile: FeatureTile, row: RowTile) -> np.ndarray:
        """[rows, output features] 1 where both are of one group."""
        rows = np.arange(row.first, row.first + row.rows) // self.inputs
        columns = np.arange(tile.first, tile.first + tile.height) // self.outputs
        return (rows[:, None] == columns[None, :]).astype(np.float32)

    def _expanded(self, tile: FeatureTile, row: RowTile, mask: np.ndarray) -> View:
        """[rows, taps, output features]: the kernel times the mask."""
        made = self.builder.sbuf(
            (row.rows, math.prod(self.tap_sizes), tile.height), self.dtype, "grouped"
        )
        sizes = (math.prod(self.tap_sizes), tile.height // self.outputs, self.outputs)
        if not self._is_regular(tile):
            sizes = (sizes[0], 1, tile.height)
        lanes = [_lane(made, sizes), self._kernel_lane(tile, row, sizes), self._mask_lane(mask)]
        for piece, (dst, kernel, masked) in nest_tiles(sizes, lanes, MAX_TILE_ELEMENTS):
            self.builder.emit(
                "tensor_tensor",
                Engine.VECTOR,
                dst=dst.view(piece),
                src0=kernel.view(piece),
                src1=masked.view(piece),
                op="multiply",
            )
        return made

    def _mask_lane(self, mask: np.ndarray) -> Lane:
        view = self.builder.constant(mask, self.dtype, "groups")
        width = mask.shape[1]
        outer = self.outputs if width % self.outputs == 0 else width
        return Lane(view.buffer, self.dtype, 0, mask.shape[0], 0, (0, outer, 1))

    def _is_regular(self, tile: FeatureTile) -> bool:
        """Whether the tile holds whole groups: then each row holds its group's columns only."""
        return tile.height % self.outputs == 0 and tile.first % self.outputs == 0

    def _kernel_lane(self, tile: FeatureTile, row: RowTile, sizes: Sequence[int]) -> Lane:
        """[taps, groups, output features of a group]: the same for every group; for tiles that cut
        groups [taps, 1, output features]."""
        partitions = self.builder.target.partitions
        storage = self._storage(tile)
        loops = (Loop(2, sizes[0]), Loop(3, sizes[2]))
        lane = storage.lane(row.first, row.rows, loops, partitions)
        return replace(lane, strides=(lane.strides[0], 0, lane.strides[1]))

    def _storage(self, tile: FeatureTile) -> Storage:
        """[groups, input features, taps, output features]: those of its group in every row (loaded
        once), or those of the tile."""
        key = -1 if self._is_regular(tile) else tile.first
        if key not in self._loaded:
            self._loaded[key] = self._load(tile, key)
        return self._loaded[key]

    def _load(self, tile: FeatureTile, key: int) -> Storage:
        source, axes = self.source, self.axes
        step = source.strides[axes.output]
        strides = [source.strides[d] for d in axes.taps]
        width, group_step = (self.outputs, step * self.outputs) if key < 0 else (tile.height, 0)
        shift = 0 if key < 0 else tile.first * step
        row_step = source.strides[axes.rows[0]] if axes.rows else 0
        whole = replace(
            source,
            shape=(self.groups, self.inputs, *self.tap_sizes, width),
            strides=(group_step, row_step, *strides, step),
            partition_dims=(),
            offset=source.offset + shift,
        )
        loaded = fetch(self.builder, whole, (0, 1), self.dtype)
        flat = loaded.reshaped((self.groups, self.inputs, math.prod(self.tap_sizes), width))
        assert flat is not None, "the taps are adjacent in a storage of our own making"
        return flat

    def forget(self) -> None:
        self._made.clear()


def _lane(view: View, sizes: Sequence[int]) -> Lane:
    strides = [math.prod(sizes[i + 1 :]) for i in range(len(sizes))]
    return Lane(view.buffer, view.dtype, 0, view.num_partitions, 0, tuple(strides))


def tap_indices(sizes: Sequence[int]) -> list[tuple[int, ...]]:
    """Every tap, in the order of the packed columns."""
    return list(itertools.product(*(range(n) for n in sizes)))
