"""Tiles `neuron.convolution`: every kernel element is a matmul of its [input, output features]
matrix with a shifted, strided view of the image; all of them accumulate in PSUM.

Features lie on partitions, of the image and of the result. The loops, outermost first: blocks of
output features (a block's weights stream in together), strips of the image (one, unless kernel
elements are stacked on partitions, convolution_input.py), feature tiles, phases, groups of boxes
(rectangles of outputs, a PSUM bank each), row tiles and kernel elements, boxes of the group.
Padding is never stored: a kernel element works on the part of the box where it meets the image. The
bank is evicted with the epilogue (batch norm, bias, activation, residual, cast) in the same
instructions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch_mlir import ir

from axonc.backends.numerics.dtypes import F32, DType
from axonc.backends.program import TensorKind
from axonc.diagnostics import UnsupportedOpError
from axonc.dialects.attributes import integers
from axonc.dialects.ntile.builder import KernelBuilder
from axonc.dialects.ntile.program import View
from axonc.passes.graph.shapes import PartitionDims, normalised, shape_of
from axonc.passes.layout.layout_dims import has_few_features
from axonc.passes.layout.storage import Lane, Storage
from axonc.passes.tile.elementwise.elementwise_expression import (
    Expression,
    machine_dtype,
    region_expression,
)
from axonc.passes.tile.elementwise.emit import emit_expression
from axonc.passes.tile.move import store
from axonc.passes.tile.ops.concatenate import new_result
from axonc.passes.tile.ops.convolution_geometry import (
    Box,
    ConvolutionGeometry,
    Meeting,
    Phase,
    Tap,
    boxes,
    convolution_geometry,
)
from axonc.passes.tile.ops.convolution_input import (
    CHANNEL,
    ResidentImage,
    StackedImage,
    Stacking,
    choose_stacking,
)
from axonc.passes.tile.ops.convolution_kernel import (
    LARGE_KERNEL_BYTES,
    BlockwiseKernel,
    FeatureTile,
    GroupedKernel,
    Kernel,
    KernelAxes,
    LoadedKernel,
    PackedKernel,
    RowTile,
    tap_indices,
)
from axonc.passes.tile.ops.convolution_strips import StripOperands, image_bytes, strips
from axonc.passes.tile.ops.strips import RESIDENT_BYTES, Ranges, cut, loaded_part, part_of
from axonc.passes.tile.region_operands import RegionOperands
from axonc.passes.tile.values import Values, hbm_storage

FEATURES_ONLY = Stacking((CHANNEL,))
"""No kernel elements on partitions."""

GROUP_BANKS = 4
"""PSUM banks filled together: half of them, so that the next group can start while this one is
evicted."""

Image = ResidentImage | StackedImage


@dataclass(frozen=True)
class KernelStep:
    """One matmul of a box: rows of the contraction and the kernel element they are for."""

    row: RowTile
    tap: Tap
    """Position in the window (0 along stacked axes)."""
    channel: int
    """0 unless features are taps."""


@dataclass(frozen=True)
class Work:
    """One box of outputs and its accumulators [features, outputs]."""

    box: Box
    tile: View

    def part(self, met: Meeting) -> View:
        """The accumulators of the part of the box that a kernel element meets."""
        strides = [math.prod(self.box.sizes[i + 1 :]) for i in range(len(self.box.sizes))]
        offset = sum(s * n for s, n in zip(strides, met.starts, strict=True)) * F32.size_bytes
        height = self.tile.num_partitions
        lane = Lane(self.tile.buffer, F32, 0, height, offset, tuple(strides))
        return lane.merged_view(met.sizes)


def tile_convolution(values: Values, op: ir.Operation, dtype: DType) -> Storage:
    """The result, in SBUF with its features on partitions, stored as `dtype`."""
    return ConvolutionTiler(values, op).run(dtype)


class ConvolutionTiler:
    """Emits one convolution."""

    def __init__(self, values: Values, op: ir.Operation) -> None:
        self.values = values
        self.builder: KernelBuilder = values.builder
        self.target = values.builder.target
        self.op = op
        self.geometry: ConvolutionGeometry = convolution_geometry(op)
        self.rows = normalised(integers(op.attributes["layout.rows"]), shape_of(op.results[0]))
        self.dtypes = [machine_dtype(value.type) for value in list(op.operands)[:2]]

    def run(self, dtype: DType) -> Storage:
        if not self.geometry.features:
            raise UnsupportedOpError("convolution of no features", hint="its result is zero")
        shape = self.geometry.result_shape
        value = self.op.results[0]
        self.root = self._epilogue()
        operands = [None, *list(self.op.operands)[2:]]
        if self._bytes_of_image(dtype) > RESIDENT_BYTES:
            return self._strip_of_result_by_strip(operands, dtype)
        self.result = new_result(self.values, value, dtype, self.rows, "convolution")
        self.leaves: RegionOperands | StripOperands = RegionOperands(
            self.values, self.root, operands, shape, self.rows
        )
        self.image = self._image()
        self.kernel = self._kernel(self.image.stacking)
        if isinstance(self.image, StackedImage):
            for phase, whole in self.geometry.phases():
                self._image_strip_by_strip(phase, whole)
        else:
            self._block_by_block()
        return self.result

    def _epilogue(self) -> Expression:
        if self.op.regions[0].blocks:
            return region_expression(self.op.regions[0].blocks[0])
        return Expression("leaf", (), F32, argument=0, uses=1)

    # ---- large images -----------------------------------------------------------------------

    def _bytes_of_image(self, dtype: DType) -> int:
        """Per partition, of one image and its result."""
        geometry = self.geometry
        sides = (
            (self.dtypes[0], geometry.features, geometry.lengths),
            (dtype, geometry.result_features, geometry.outputs),
        )
        return sum(image_bytes(*side, self.target) for side in sides)

    def _strip_of_result_by_strip(self, operands: list[ir.Value | None], dtype: DType) -> Storage:
        """The result, in device memory (convolution_strips.py)."""
        geometry, builder = self.geometry, self.builder
        shape, rows = geometry.result_shape, self._feature_rows()
        source = self.values.in_device_memory(self.op.operands[0], "image")
        stacking = choose_stacking(geometry, source, self.dtypes[0], self.target)
        self.kernel = self._kernel(stacking or FEATURES_ONLY)
        self.leaves = leaves = StripOperands(self.values, self.root, operands, shape, self.rows)
        whole = hbm_storage(builder.hbm("convolution", shape, dtype, TensorKind.SCRATCH), shape)
        for strip in strips(geometry, self._bytes_of_image(dtype)):
            ranges = self._ranges(geometry.dims.result, strip.ranges)
            part, self.result = part_of(builder, shape, self.rows, dtype, ranges, "convolution")
            leaves.open(ranges)
            if stacking is None:
                reached = self._ranges(geometry.dims.lhs, strip.reached(geometry))
                image = loaded_part(builder, source, rows, self.dtypes[0], reached, "image")
                self.image = ResidentImage(builder, geometry, image)
            else:
                self.image = StackedImage(builder, geometry, source, stacking, self.dtypes[0])
            for phase, box in strip.phases(geometry):
                self._image_strip_by_strip(phase, box)
            store(builder, cut(whole, ranges), part)
        return whole

    def _ranges(self, dims: tuple[int, ...], of_each: tuple[tuple[int, int], ...]) -> Ranges:
        """By dim of the image or result, from those of batch and spatial dims."""
        batch, _, *spatial = dims
        return dict(zip((batch, *spatial), of_each, strict=True))

    # ---- operands ---------------------------------------------------------------------------

    def _image(self) -> Image:
        source = self._image_source()
        stacking = choose_stacking(self.geometry, source, self.dtypes[0], self.target)
        if stacking is not None:
            return StackedImage(self.builder, self.geometry, source, stacking, self.dtypes[0])
        if source.in_hbm:
            source = self._resident()
        return ResidentImage(self.builder, self.geometry, source)

    def _image_source(self) -> Storage:
        """The image with its features on partitions if it is so already, or has many of them; else
        in device memory."""
        value = self.op.operands[0]
        known = [s for s in self.values.known(value) if not s.in_hbm]
        if any(s.partition_dims == self._feature_rows() for s in known):
            return self._resident()
        source = self.values.source(value)
        if source is None and has_few_features(self.op, self.target):
            source = self.values.in_device_memory(value, "image")
        return self._resident() if source is None else source

    def _feature_rows(self) -> PartitionDims:
        return normalised((self.geometry.dims.lhs[1],), shape_of(self.op.operands[0]))

    def _resident(self) -> Storage:
        return self.values.get(self.op.operands[0], self._feature_rows(), self.dtypes[0])

    def _kernel(self, stacking: Stacking) -> Kernel:
        value, dtype, dims = self.op.operands[1], self.dtypes[1], self.geometry.dims
        place = {CHANNEL: dims.rhs[1]} | {i: d for i, d in enumerate(dims.rhs[2:])}
        free = stacking.free(self.geometry)
        axes = KernelAxes(
            tuple(place[axis] for axis in stacking.axes),
            tuple(place[axis] for axis in free),
            dims.rhs[0],
        )
        source = self.values.stored_source(value)
        if dims.groups > 1:
            if source is None:
                source = self.values.to_device_memory(
                    self.values.get(value, (dims.rhs[0],), dtype), "kernel"
                )
            return GroupedKernel(self.builder, source, axes, dtype, dims.groups)
        tensor = source.buffer.tensor if source is not None else None
        if source is not None and tensor is not None and tensor.kind is TensorKind.WEIGHT:
            return PackedKernel(self.builder, source, axes, dtype)
        if self._has_large_kernel():
            source = self.values.in_device_memory(value, "kernel")
            return BlockwiseKernel(self.builder, source, axes, dtype)
        return LoadedKernel(self.builder, self.values.get(value, axes.rows, dtype), axes)

    # ---- loops ------------------------------------------------------------------------------

    def _block_by_block(self) -> None:
        for block in self.kernel.blocks():
            for feature_tile in self._result_tiles(block):
                for phase, whole in self.geometry.phases():
                    self._region(feature_tile, phase, whole)
            self.kernel.forget()

    def _image_strip_by_strip(self, phase: Phase, whole: Box) -> None:
        """The weights stay, but for those of many features."""
        for strip in self.image.strips(whole):
            self.image.open(strip)
            for block in self.kernel.blocks():
                for feature_tile in self._result_tiles(block):
                    self._region(feature_tile, phase, strip)
                if self._has_large_kernel():
                    self.kernel.forget()

    def _has_large_kernel(self) -> bool:
        kernel, dims = shape_of(self.op.operands[1]), self.geometry.dims
        rows = min(self.target.partitions, math.prod(kernel[d] for d in dims.rhs[1:]))
        return math.prod(kernel) * self.dtypes[1].size_bytes > rows * LARGE_KERNEL_BYTES

    def _result_tiles(self, block: list[FeatureTile]) -> list[FeatureTile]:
        """A result without rows is one feature, repeated on all partitions."""
        return block if self.rows else [FeatureTile(0, self.target.pe_columns)]

    def _region(self, features: FeatureTile, phase: Phase, region: Box) -> None:
        columns = self.target.psum_bank_bytes // F32.size_bytes
        pieces = boxes(region.ranges, columns, self.target.max_free_dims)
        for start in range(0, len(pieces), GROUP_BANKS):
            group = pieces[start : start + GROUP_BANKS]
            work = [
                Work(box, self.builder.psum((features.height, box.count), F32, "acc"))
                for box in group
            ]
            self._accumulate(features, phase, work)
            for one in work:
                self._evict(features, phase, one)

    # ---- matmuls ----------------------------------------------------------------------------

    def _steps(self) -> Iterator[KernelStep]:
        free = self.image.stacking.free(self.geometry)
        spatial = [axis for axis in free if axis != CHANNEL]
        sizes = [self.geometry.windows[axis].size for axis in spatial]
        channels = self.geometry.features if CHANNEL in free else 1
        for row in self.image.rows():
            for index in tap_indices(sizes):
                tap = [0] * len(self.geometry.windows)
                for axis, position in zip(spatial, index, strict=True):
                    tap[axis] = position
                for channel in range(channels):
                    yield KernelStep(row, tuple(tap), channel)

    def _accumulate(self, features: FeatureTile, phase: Phase, work: list[Work]) -> None:
        """Every step on every box. The first one of a box has to write all of it: one that meets
        the image everywhere, else zeros."""
        stacked = frozenset(a for a in self.image.stacking.axes if a != CHANNEL)
        started = [False] * len(work)
        for step in self._ordered_steps(phase, work[0].box, stacked):
            stationary = self._stationary(features, step)
            if stationary is None:
                continue
            for number, one in enumerate(work):
                met = self.geometry.meeting(step.tap, phase, one.box, stacked)
                if met is None:
                    continue
                if not started[number] and met.sizes != one.box.sizes:
                    self._clear(one)
                    started[number] = True
                moving = self.image.moving(step.row, one.box, met, step.channel)
                self.builder.matmul(one.part(met), stationary, moving, accumulate=started[number])
                started[number] = True
        for number, one in enumerate(work):
            if not started[number]:
                self._clear(one)

    def _ordered_steps(self, phase: Phase, box: Box, stacked: frozenset[int]) -> list[KernelStep]:
        """Row tile by row tile; kernel elements that meet the image everywhere in the box first."""

        def missing(step: KernelStep) -> tuple[int, bool]:
            met = self.geometry.meeting(step.tap, phase, box, stacked)
            return step.row.number, met is None or met.sizes != box.sizes

        return sorted(self._steps(), key=missing)

    def _stationary(self, features: FeatureTile, step: KernelStep) -> View | None:
        dims, windows = self.geometry.dims, self.geometry.windows
        index = []
        for axis in self.image.stacking.free(self.geometry):
            is_channel = axis == CHANNEL
            index.append(step.channel if is_channel else windows[axis].kernel_index(step.tap[axis]))
        if self.rows:
            return self.kernel.stationary(features, step.row, index)
        assert shape_of(self.op.operands[1])[dims.rhs[0]] == 1
        column = self.kernel.stationary(FeatureTile(0, 1), step.row, index)
        assert column is not None, "one output feature is in the group of every row"
        return replace(column, dims=((0, features.height),))

    def _clear(self, work: Work) -> None:
        """Zeros in all of the box, as the start of a sum (a copy would not do:
        machine.md#tensor-engine)."""
        zero = self.builder.fill(0.0, self.dtypes[0])[0:1]
        self.builder.matmul(
            work.tile,
            replace(zero, dims=((0, work.tile.num_partitions),)),
            replace(zero, dims=((0, work.box.count),)),
            accumulate=False,
        )

    # ---- results ----------------------------------------------------------------------------

    def _evict(self, features: FeatureTile, phase: Phase, work: Work) -> None:
        loops = self.geometry.result_loops(phase, work.box)
        sizes = work.box.sizes
        strides = tuple(math.prod(sizes[i + 1 :]) for i in range(len(sizes)))
        accumulator = Lane(work.tile.buffer, F32, 0, features.height, 0, strides)
        partitions = self.target.partitions
        out = self.result.lane(features.first, features.height, loops, partitions)
        lanes = self.leaves.lanes(features.first, features.height, loops, partitions, accumulator)
        emit_expression(self.builder, self.root, sizes, lanes, self.leaves.keys, out)
