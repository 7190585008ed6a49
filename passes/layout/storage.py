"""How a tensor value lies in memory: which dims are on the partition axis, and strides for the
others.

A `Storage` is a buffer plus, per tensor dim, a stride. Dims listed in `partition_dims` (most
significant first) are flattened into rows; row r lies in partition r % 128 of row tile r // 128.
All other dims are free dims with a stride in elements; a stride of 0 broadcasts. An SBUF storage
without partition dims is *replicated*: every partition holds the whole tensor. Device memory has
free dims only.

Transposes, slices and broadcasts of free dims, and reshapes that keep rows whole, only make a new
`Storage` of the same buffer: they cost nothing (docs/design/0003-layouts-and-tiles.md).

A `Lane` is one operand of a loop nest over part of a storage: partitions, offset, stride per loop
axis."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from axonc.backends.isa.access_pattern import Memory
from axonc.backends.numerics.dtypes import DType
from axonc.backends.targets.inf2 import INF2
from axonc.dialects.ntile.program import Buffer, View
from axonc.passes.graph.shapes import PartitionDims, Shape, normalised, reshape_groups

PARTITIONS = INF2.partitions
"""Rows per row tile; the same on every NeuronCore."""


@dataclass(frozen=True, slots=True)
class Lane:
    """Elements of `buffer` visited by a nest of loops: `strides[i]` elements per step of loop i."""

    buffer: Buffer
    dtype: DType
    start_partition: int
    num_partitions: int
    byte_offset: int
    strides: tuple[int, ...]

    def view(self, sizes: Shape) -> View:
        """The access pattern that visits loops of the given sizes, outermost first."""
        dims = tuple(zip(self.strides, sizes, strict=True)) or ((1, 1),)
        return View(
            self.buffer,
            self.dtype,
            self.start_partition,
            self.num_partitions,
            self.byte_offset,
            dims,
        )

    def merged_view(self, sizes: Shape) -> View:
        """As `view`, in as few dims as possible."""
        merged = merge_loops(list(sizes), [list(self.strides)])
        strides = tuple(strides[0] for _, strides in merged)
        return replace(self, strides=strides).view(tuple(size for size, _ in merged))

    def advanced(self, axis: int, count: int) -> Lane:
        """The lane started `count` steps later on loop `axis`."""
        shift = self.strides[axis] * count * self.dtype.size_bytes
        return replace(self, byte_offset=self.byte_offset + shift)

    @property
    def is_per_partition(self) -> bool:
        """One value per partition, whatever the loops do."""
        return not any(self.strides)


@dataclass(frozen=True, slots=True)
class Storage:
    """Where the elements of a tensor lie; the module docstring has the formula."""

    buffer: Buffer
    dtype: DType
    shape: Shape
    partition_dims: PartitionDims
    strides: tuple[int, ...]
    """By dim, the step in elements (0 for partition dims)."""
    tile_stride: int
    """Elements from one row tile to the next."""
    offset: int = 0
    """Elements before the first one."""

    @property
    def in_hbm(self) -> bool:
        return self.buffer.memory is Memory.HBM

    @property
    def rows(self) -> int:
        return math.prod(self.shape[d] for d in self.partition_dims)

    # ---- relabelling ------------------------------------------------------------------------

    def transposed(self, permutation: tuple[int, ...]) -> Storage:
        """Result dim i is this storage's dim permutation[i]."""
        position = {old: new for new, old in enumerate(permutation)}
        return replace(
            self,
            shape=tuple(self.shape[d] for d in permutation),
            strides=tuple(self.strides[d] for d in permutation),
            partition_dims=tuple(position[d] for d in self.partition_dims),
        )

    def broadcast(self, dims: tuple[int, ...], shape: Shape) -> Storage | None:
        """Dim i becomes dim dims[i] of `shape`; new or expanded dims get stride 0. None when a
        dim on partitions would have to expand."""
        strides = [0] * len(shape)
        for dim, target in enumerate(dims):
            if self.shape[dim] == shape[target]:
                strides[target] = self.strides[dim]
            elif dim in self.partition_dims:
                return None
        moved = tuple(dims[d] for d in self.partition_dims)
        return replace(self, shape=shape, strides=tuple(strides), partition_dims=moved)

    def sliced(self, start: Shape, limit: Shape, steps: Shape) -> Storage | None:
        """A strided sub-box. None when it cuts a dim on partitions, but for whole row tiles of the
        leading one; nor to a single row, which would pass for one that all partitions hold."""
        sizes = tuple(-(-(b - a) // s) for a, b, s in zip(start, limit, steps, strict=True))
        offset = sum(a * s for a, s in zip(start, self.strides, strict=True))
        cut = [d for d in self.partition_dims if sizes[d] != self.shape[d]]
        if cut:
            leading = self.partition_dims[0]
            below = self.rows // self.shape[leading] * start[leading]
            is_one_row = not normalised(self.partition_dims, sizes)
            if cut != [leading] or steps[leading] != 1 or below % PARTITIONS or is_one_row:
                return None
            offset += below // PARTITIONS * self.tile_stride
        strides = tuple(s * k for s, k in zip(self.strides, steps, strict=True))
        return replace(self, shape=sizes, strides=strides, offset=self.offset + offset)

    def reversed(self, dims: tuple[int, ...]) -> Storage | None:
        """Reversed along `dims`, by negative strides. None for dims on partitions."""
        if any(d in self.partition_dims for d in dims):
            return None
        offset = sum((self.shape[d] - 1) * self.strides[d] for d in dims)
        strides = tuple(-s if d in dims else s for d, s in enumerate(self.strides))
        return replace(self, strides=strides, offset=self.offset + offset)

    def reshaped(self, shape: Shape) -> Storage | None:
        """The same elements in row-major order as `shape`. None when that needs data to move."""
        partition_dims: list[int] = []
        strides = [0] * len(shape)
        for old_dims, new_dims in reshape_groups(self.shape, shape):
            on_partitions = [d for d in old_dims if d in self.partition_dims]
            if on_partitions:
                if not self._is_whole_row_group(old_dims):
                    return None
                continue
            made = _restride(self, old_dims, [shape[d] for d in new_dims])
            if made is None:
                return None
            for dim, stride in zip(new_dims, made, strict=True):
                strides[dim] = stride
        for dim in self.partition_dims:
            partition_dims.extend(self._new_partition_dims(dim, shape))
        return replace(
            self, shape=shape, strides=tuple(strides), partition_dims=tuple(partition_dims)
        )

    def _is_whole_row_group(self, dims: list[int]) -> bool:
        """Whether dims (bigger than 1) are all on partitions, adjacent and in order."""
        wanted = tuple(d for d in dims if self.shape[d] > 1)
        kept = tuple(d for d in self.partition_dims if self.shape[d] > 1)
        places = [i for i in range(len(kept)) if kept[i : i + len(wanted)] == wanted]
        return bool(places)

    def _new_partition_dims(self, dim: int, shape: Shape) -> list[int]:
        for old_dims, new_dims in reshape_groups(self.shape, shape):
            if dim in old_dims:
                first = next(d for d in old_dims if d in self.partition_dims)
                return new_dims if dim == first else []
        return []

    # ---- loops ------------------------------------------------------------------------------

    def lane(self, row: int, rows: int, loops: tuple[Loop, ...], partitions: int) -> Lane:
        """The operand for `rows` rows from `row` (within one row tile), looping over `loops`.
        Replicated storages give `rows` of their partitions."""
        offset = self.offset
        start = 0
        if self.partition_dims:
            offset += row // partitions * self.tile_stride
            start = row % partitions
        strides = []
        for loop in loops:
            stride = self.tile_stride if loop.dim == ROW_TILES else self.strides[loop.dim]
            if loop.dim == ROW_TILES and not self.partition_dims:
                stride = 0
            offset += loop.start * stride
            strides.append(stride * loop.step)
        return Lane(
            self.buffer,
            self.dtype,
            start,
            rows,
            offset * self.dtype.size_bytes,
            tuple(strides),
        )

    def hbm_view(self, dims: list[tuple[int, int]], offset: int) -> View:
        """A device-memory view with explicit (stride, size) dims, `offset` elements further on."""
        byte_offset = (self.offset + offset) * self.dtype.size_bytes
        return View(self.buffer, self.dtype, 0, 0, byte_offset, tuple(dims) or ((1, 1),))


ROW_TILES = -1
"""`Loop.dim` of the loop over full row tiles."""


@dataclass(frozen=True, slots=True)
class Loop:
    """One loop of a nest: `size` elements of a tensor dim, every `step`-th from `start` on, or row
    tiles."""

    dim: int
    size: int
    start: int = 0
    step: int = 1


def _restride(storage: Storage, dims: list[int], sizes: list[int]) -> list[int] | None:
    """Strides of free dims regrouped to `sizes`; None when the old strides cannot be merged."""
    kept = [(storage.shape[d], storage.strides[d]) for d in dims if storage.shape[d] > 1]
    merged = merge_loops([size for size, _ in kept], [[stride for _, stride in kept]])
    runs = [(size, strides[0]) for size, strides in merged]
    result = [0] * len(sizes)
    position = len(sizes) - 1
    for size, stride in reversed(runs):
        left = size
        while left > 1:
            while sizes[position] == 1:
                position -= 1
            if left % sizes[position]:
                return None
            result[position] = stride
            stride *= sizes[position]
            left //= sizes[position]
            position -= 1
    return result


def merge_loops(sizes: list[int], strides_of_lanes: list[list[int]]) -> list[tuple[int, list[int]]]:
    """Adjacent loops that every lane visits with one stride become one; loops of size 1 vanish.
    Returns (size, [stride of each lane]) outermost first."""
    merged: list[tuple[int, list[int]]] = []
    for axis, size in enumerate(sizes):
        if size == 1:
            continue
        strides = [lane[axis] for lane in strides_of_lanes]
        if merged and all(
            outer == inner * size for outer, inner in zip(merged[-1][1], strides, strict=True)
        ):
            merged[-1] = (merged[-1][0] * size, strides)
        else:
            merged.append((size, strides))
    return merged
