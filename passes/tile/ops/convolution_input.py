"""The image of a convolution as moving matrices.

`ResidentImage`: features on partitions, the whole image in SBUF. `StackedImage`: for images with
few features, some kernel elements are stacked on the partitions as well: the partition of element k
holds the image shifted by k, so that one matmul contracts over all of them. The image comes from
device memory, or from SBUF, where its features leave partitions free. Nothing is copied in device
memory; the shifts are made by the transfers, a strip of output rows at a time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from axonc.backends.cost.dma import contiguous_elements, descriptor_ns
from axonc.backends.numerics.dtypes import F32, DType
from axonc.backends.targets.target import Engine, Target
from axonc.dialects.ntile.builder import KernelBuilder
from axonc.dialects.ntile.program import Pool, View
from axonc.passes.layout.storage import Lane, Loop, Storage, merge_loops
from axonc.passes.tile.loop_nests import MAX_DIMS, MAX_TILE_ELEMENTS, nest_tiles
from axonc.passes.tile.ops.convolution_geometry import Box, ConvolutionGeometry, Meeting, boxes
from axonc.passes.tile.ops.convolution_kernel import RowTile, row_tiles

STRIP_BYTES = 16 * 1024
"""Bytes per partition of one strip of a stacked image: several fit beside the results, so that the
next is fetched while one is read."""

Places = tuple[tuple[int, int], ...]
"""Per spatial axis (first element of the strip, its image index); empty: only padding."""

CHANNEL = -1
"""The input features among stacked axes; spatial axes count from 0."""


@dataclass(frozen=True)
class Stacking:
    """Which axes lie on partitions, most significant first: spatial axes, perhaps CHANNEL."""

    axes: tuple[int, ...]

    def rows(self, geometry: ConvolutionGeometry) -> int:
        return math.prod(_size(geometry, axis) for axis in self.axes)

    def free(self, geometry: ConvolutionGeometry) -> tuple[int, ...]:
        """The axes that are taps: one matmul for each of their elements."""
        every = (*range(len(geometry.windows)), CHANNEL)
        return tuple(axis for axis in every if axis not in self.axes)


def _size(geometry: ConvolutionGeometry, axis: int) -> int:
    return geometry.features if axis == CHANNEL else geometry.windows[axis].size


@dataclass
class ResidentImage:
    """An image in SBUF, its features on partitions."""

    builder: KernelBuilder
    geometry: ConvolutionGeometry
    storage: Storage
    stacking: Stacking = field(default_factory=lambda: Stacking((CHANNEL,)))

    def strips(self, whole: Box) -> Iterator[Box]:
        """The outputs to compute one after the other: all at once."""
        yield whole

    def rows(self) -> list[RowTile]:
        return row_tiles(self.geometry.features, self.builder.target.partitions)

    def open(self, strip: Box) -> None:
        """It is there."""

    def moving(self, row: RowTile, box: Box, met: Meeting, channel: int) -> View:
        """[rows, outputs of the part of the box that a kernel element meets]."""
        batch, _, *places = self.geometry.dims.lhs
        loops = [Loop(batch, met.sizes[0], box.ranges[0][0])]
        for axis, place in enumerate(places):
            step = self.geometry.windows[axis].input_step
            loops.append(Loop(place, met.sizes[axis + 1], met.image[axis], step))
        lane = self.storage.lane(row.first, row.rows, tuple(loops), self.builder.target.partitions)
        return lane.merged_view(met.sizes)


@dataclass(frozen=True)
class StripAxis:
    """One spatial axis of a strip."""

    first: int
    """Image index of its first element (of kernel element 0 if stacked)."""
    extent: int
    """Elements held."""
    pitch: int
    """Image elements between them."""
    step: int
    """Elements of the strip between neighbouring outputs."""
    is_stacked: bool
    """Shifted in each partition."""


class StackedImage:
    """See the module docstring. source: in device memory, or in SBUF with its features, and nothing
    else, on partitions."""

    def __init__(
        self,
        builder: KernelBuilder,
        geometry: ConvolutionGeometry,
        source: Storage,
        stacking: Stacking,
        dtype: DType,
    ) -> None:
        self.builder = builder
        self.geometry = geometry
        self.source = source
        self.stacking = stacking
        self.dtype = dtype
        self.count = stacking.rows(geometry)

    # ---- strips -----------------------------------------------------------------------------

    def strips(self, whole: Box) -> Iterator[Box]:
        """Some rows of one image each: whole boxes of a PSUM bank, as many as STRIP_BYTES hold."""
        (start, stop), (begin, end), *rest = whole.ranges
        step = self._rows_per_strip(end - begin, rest)
        for image in range(start, stop):
            for first in range(begin, end, step):
                yield Box(((image, image + 1), (first, min(first + step, end)), *rest))

    def _rows_per_strip(self, rows: int, rest: Sequence[tuple[int, int]]) -> int:
        columns = self.builder.target.psum_bank_bytes // F32.size_bytes
        row = Box(((0, 1), (0, rows), *rest))
        (_, _), (first, stop), *_ = boxes(row.ranges, columns, 4)[0].ranges
        unit = stop - first
        one = Box(((0, 1), (0, unit), *rest))
        size = math.prod(a.extent for a in self._axes(one)) * self._free_channels()
        fit = STRIP_BYTES // max(1, size * self.dtype.size_bytes)
        return unit * max(1, fit)

    def _free_channels(self) -> int:
        return 1 if CHANNEL in self.stacking.axes else self.geometry.features

    def _axes(self, strip: Box) -> list[StripAxis]:
        found = []
        for axis, (start, stop) in enumerate(strip.ranges[1:]):
            window = self.geometry.windows[axis]
            first, count = start * window.stride - window.low, stop - start
            place = self.geometry.dims.lhs[axis + 2]
            if axis not in self.stacking.axes:
                last = first + (count - 1) * window.stride + window.extent
                low, high = max(0, first), min(last, self.geometry.lengths[axis])
                found.append(StripAxis(low, max(1, high - low), 1, window.stride, False))
            elif self.source.strides[place] == 1:  # long DMA rows: every element
                extent = (count - 1) * window.stride + 1
                found.append(StripAxis(first, extent, 1, window.stride, True))
            else:
                found.append(StripAxis(first, count, window.stride, 1, True))
        return found

    # ---- loading ----------------------------------------------------------------------------

    def rows(self) -> list[RowTile]:
        return [RowTile(0, 0, self.count)]

    def open(self, strip: Box) -> None:
        """Loads the strip."""
        self.strip, self.axes = strip, self._axes(strip)
        self.order, self.strides, size = self._layout(self.axes)
        self.tile = self.builder.sbuf((self.count, size), self.dtype, "strip", Pool.STREAM)
        pieces = list(self._pieces())
        for axis, part in enumerate(self.axes):
            first = max(self._start(places, axis) for _, places, _ in pieces)
            stop = min(
                self._start(places, axis) + sizes[axis] if places else 0
                for _, places, sizes in pieces
            )
            self._clear(axis, 0, min(first, part.extent))
            self._clear(axis, max(stop, first), part.extent)
        for number, places, sizes in pieces:
            if places:
                self._load(number, places, sizes)

    def _start(self, places: Places, axis: int) -> int:
        """First element of the strip that a kernel element loads; all are cleared if none."""
        return places[axis][0] if places else self.axes[axis].extent

    def _clear(self, axis: int, first: int, stop: int) -> None:
        """Zeros in elements [first, stop) of an axis, where some partitions meet padding."""
        if first >= stop:
            return
        sizes = [self.geometry.features if a == CHANNEL else self.axes[a].extent
                 for a in self.order]  # fmt: skip
        sizes[self.order.index(axis)] = stop - first
        strides = tuple(self.strides[a] for a in self.order)
        offset = first * self.strides[axis] * self.dtype.size_bytes
        lane = Lane(self.tile.buffer, self.dtype, 0, self.count, offset, strides)
        for piece, (part,) in nest_tiles(sizes, [lane], MAX_TILE_ELEMENTS):
            self.builder.memset(part.view(piece), 0.0)

    def _layout(self, axes: Sequence[StripAxis]) -> tuple[list[int], dict[int, int], int]:
        """Free axes from the slowest in the image to the fastest, their strides in the strip, and
        its size."""
        free = [*range(len(axes)), *([CHANNEL] if CHANNEL not in self.stacking.axes else [])]
        order = sorted(free, key=lambda axis: -abs(self._stride(axis)))
        strides, size = {}, 1
        for axis in reversed(order):
            strides[axis] = size
            size *= self.geometry.features if axis == CHANNEL else axes[axis].extent
        return order, strides, size

    def _stride(self, axis: int) -> int:
        dims = self.geometry.dims.lhs
        return self.source.strides[dims[1] if axis == CHANNEL else dims[axis + 2]]

    def _pieces(self) -> Iterator[tuple[int, Places, tuple[int, ...]]]:
        """For each stacked kernel element: its number, places, and sizes."""
        stacked = [axis for axis in self.stacking.axes if axis != CHANNEL]
        counts = [self.geometry.windows[axis].size for axis in stacked]
        for number, index in enumerate(itertools.product(*(range(n) for n in counts))):
            places: list[tuple[int, int]] = []
            sizes: list[int] = []
            for axis, part in enumerate(self.axes):
                shift = 0
                if part.is_stacked:
                    window = self.geometry.windows[axis]
                    tap = window.kernel_index(index[stacked.index(axis)])
                    shift = tap * window.dilation
                first, size = _valid(part, shift, self.geometry.lengths[axis])
                places.append((first, part.first + shift + first * part.pitch))
                sizes.append(size)
            yield number, tuple(places) if min(sizes) > 0 else (), tuple(sizes)

    def _load(self, number: int, places: Places, sizes: tuple[int, ...]) -> None:
        """The image as kernel element `number` sees it, on that element's partitions."""
        channels = self.geometry.features if CHANNEL in self.stacking.axes else 1
        dims = self.geometry.dims.lhs
        offset = self.strip.ranges[0][0] * self.source.strides[dims[0]]
        start = 0
        loops, mine, theirs = [], [], []
        for axis in self.order:
            loops.append(self.geometry.features if axis == CHANNEL else sizes[axis])
            mine.append(self.strides[axis])
            pitch = 1 if axis == CHANNEL else self.axes[axis].pitch
            theirs.append(self._stride(axis) * pitch)
        for axis, (first, index) in enumerate(places):
            start += first * self.strides[axis]
            offset += index * self._stride(axis)
        lanes = [
            Lane(self.tile.buffer, self.dtype, number * channels, channels,
                 start * self.dtype.size_bytes, tuple(mine)),
            Lane(self.source.buffer, self.source.dtype, 0, channels,
                 (self.source.offset + offset) * self.source.dtype.size_bytes, tuple(theirs)),
        ]  # fmt: skip
        for piece, (tile, image) in nest_tiles(loops, lanes, 1 << 30, MAX_DIMS):
            self.builder.dma(tile.view(piece), self._image_view(image, piece))

    def _image_view(self, lane: Lane, sizes: tuple[int, ...]) -> View:
        if not self.source.in_hbm:
            return lane.view(sizes)
        offset = lane.byte_offset // self.source.dtype.size_bytes - self.source.offset
        row = (self._stride(CHANNEL), lane.num_partitions)
        return self.source.hbm_view([row, *zip(lane.strides, sizes, strict=True)], offset)

    # ---- reading ----------------------------------------------------------------------------

    def moving(self, row: RowTile, box: Box, met: Meeting, channel: int) -> View:
        """[stacked rows, outputs of the part of the box that a tap of the other axes meets]."""
        offset = channel * self.strides.get(CHANNEL, 0)
        strides = [0]
        for axis, part in enumerate(self.axes):
            begin = self.strip.ranges[axis + 1][0]
            if part.is_stacked:
                first = (box.ranges[axis + 1][0] - begin) * part.step
            else:
                first = met.image[axis] - part.first
            offset += first * self.strides[axis]
            strides.append(self.strides[axis] * part.step)
        size = self.dtype.size_bytes
        lane = Lane(self.tile.buffer, self.dtype, 0, self.count, offset * size, tuple(strides))
        return lane.merged_view(met.sizes)


def _valid(part: StripAxis, shift: int, length: int) -> tuple[int, int]:
    """(first, count) of the elements of a strip's axis that lie within the image."""
    start = part.first + shift
    first = max(0, -(start // part.pitch))
    last = min(part.extent - 1, (length - 1 - start) // part.pitch)
    return first, last - first + 1


# ---- choosing ------------------------------------------------------------------------------


def choose_stacking(
    geometry: ConvolutionGeometry, source: Storage, dtype: DType, target: Target
) -> Stacking | None:
    """The axes on partitions that make the longer of matmuls and transfers shortest; None when
    that is the whole image in SBUF, features on partitions. source: where the image is."""
    if geometry.dims.groups > 1 or geometry.is_spread or not geometry.windows:
        return None
    spatial = tuple(range(len(geometry.windows)))
    sets = [(CHANNEL,), (*spatial[:-1], CHANNEL), (*spatial, CHANNEL)]
    if source.in_hbm:
        sets += [spatial[:-1], spatial]
    options = [Stacking(axes) for axes in dict.fromkeys(sets) if axes]
    fitting = [s for s in options if s.rows(geometry) <= target.partitions]
    if not fitting:
        return None
    best = min(fitting, key=lambda s: _time_ns(geometry, s, source, dtype, target))
    return None if best.axes == (CHANNEL,) else best


def _time_ns(
    geometry: ConvolutionGeometry, stacking: Stacking, source: Storage, dtype: DType, target: Target
) -> float:
    passes = target.fp32_matmul_passes if dtype is F32 else 1
    taps = math.prod(_size(geometry, axis) for axis in stacking.free(geometry))
    outputs = geometry.batch * math.prod(geometry.outputs)
    tiles = -(-geometry.result_features // target.pe_columns)
    cycles = taps * outputs * tiles * passes
    matmul_ns = cycles / target.engines[Engine.TENSOR].clock_ghz
    if not source.in_hbm and stacking.axes == (CHANNEL,):
        return matmul_ns
    return max(matmul_ns, _transfer_ns(geometry, stacking, source, target))


def _transfer_ns(
    geometry: ConvolutionGeometry, stacking: Stacking, source: Storage, target: Target
) -> float:
    """Of the whole image, once for each stacked kernel element."""
    dims = geometry.dims.lhs
    sizes, pitches = [], []
    for axis, window in enumerate(geometry.windows):
        stride = source.strides[dims[axis + 2]]
        thinned = axis in stacking.axes and stride != 1
        sizes.append(geometry.outputs[axis] if thinned else geometry.lengths[axis])
        pitches.append(stride * window.stride if thinned else stride)
    if CHANNEL not in stacking.axes:
        sizes.append(geometry.features)
        pitches.append(source.strides[dims[1]])
    ordered = sorted(zip(pitches, sizes, strict=True), reverse=True)
    merged = merge_loops([n for _, n in ordered], [[s for s, _ in ordered]])
    run = contiguous_elements(tuple((strides[0], n) for n, strides in merged))
    total = geometry.batch * math.prod(sizes) * stacking.rows(geometry)
    element = source.dtype.size_bytes
    run = min(run, max(1, STRIP_BYTES // element))
    each = descriptor_ns(target.dma, run * element)
    return total / run * each / target.dma.engines
