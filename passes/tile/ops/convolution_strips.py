"""Convolutions whose image and result do not fit SBUF together, strip by strip of the result.

A strip is some rows of one image's result. What its windows reach of the image, a few more rows, is
loaded from device memory, as is what the epilogue reads beside it; the strip is stored there. So
neighbouring strips share nothing, and only one or two of them are in SBUF at once.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from torch_mlir import ir

from axonc.backends.numerics.dtypes import DType
from axonc.backends.targets.target import Target
from axonc.dialects.ntile.builder import KernelBuilder
from axonc.passes.graph.machine_dtype import machine_dtype
from axonc.passes.graph.shapes import PartitionDims, Shape
from axonc.passes.layout.storage import Lane, Loop, Storage
from axonc.passes.tile.elementwise.expression_nodes import Expression
from axonc.passes.tile.move import load, new_storage
from axonc.passes.tile.ops.convolution_geometry import Box, ConvolutionGeometry, Phase
from axonc.passes.tile.region_operands import RegionOperands, leaf_keys
from axonc.passes.tile.values import Values

RESIDENT_BYTES = 128 * 1024
"""Bytes per partition, two thirds of SBUF, up to which one image and its result are kept there."""

STRIP_BYTES = 24 * 1024
"""Bytes per partition of a strip, of its image or of its result, whichever is larger: two strips of
both, and the weights, have room beside each other."""


Ranges = dict[int, tuple[int, int]]
"""[start, stop) of some dims of a tensor."""


@dataclass(frozen=True)
class Strip:
    """Rows of the result of one image."""

    ranges: tuple[tuple[int, int], ...]
    """[start, stop) of the batch and of each spatial dim."""

    def phases(self, geometry: ConvolutionGeometry) -> Iterator[tuple[Phase, Box]]:
        """Every phase with its outputs in the strip, if it has any."""
        for phase, _ in geometry.phases():
            spatial = tuple(
                (_first(start, p, w.phases), _first(stop, p, w.phases))
                for (start, stop), p, w in zip(
                    self.ranges[1:], phase, geometry.windows, strict=True
                )
            )
            if all(start < stop for start, stop in spatial):
                yield phase, Box((self.ranges[0], *spatial))

    def reached(self, geometry: ConvolutionGeometry) -> tuple[tuple[int, int], ...]:
        """[start, stop) of the batch and of each spatial dim that its windows meet of the image."""
        starts = list(geometry.lengths)
        stops = [0] * len(starts)
        for phase, box in self.phases(geometry):
            for axis, window in enumerate(geometry.windows):
                for tap in range(window.size):
                    met = geometry.reach(axis, tap, phase, box)
                    if met is not None:
                        starts[axis] = min(starts[axis], met.start)
                        last = met.start + (met.stop - met.first - 1) * window.input_step
                        stops[axis] = max(stops[axis], last + 1)
        # What meets padding only needs an element all the same.
        spatial = [(min(a, b - 1), b) if b else (0, 1) for a, b in zip(starts, stops, strict=True)]
        return (self.ranges[0], *spatial)


def _first(bound: int, phase: int, phases: int) -> int:
    """The number, within a phase, of its first output at or behind `bound`."""
    return max(0, -(-(bound - phase) // phases))


def image_bytes(dtype: DType, features: int, spatial: Sequence[int], target: Target) -> int:
    """Per partition, of one image with its features on partitions."""
    tiles = -(-features // target.partitions)
    return tiles * math.prod(spatial) * dtype.size_bytes


def strips(geometry: ConvolutionGeometry, bytes_of_image: int) -> Iterator[Strip]:
    """The result in strips along the first spatial dim that can be cut into them, the dims before
    it index by index. bytes_of_image: per partition, of one image or its result."""
    outputs = geometry.outputs
    axis = 0
    while axis < len(outputs) - 1 and bytes_of_image > STRIP_BYTES * math.prod(outputs[: axis + 1]):
        axis += 1
    rows = outputs[axis]
    step = max(1, rows * STRIP_BYTES * math.prod(outputs[:axis]) // bytes_of_image)
    step = -(-rows // -(-rows // step))  # of about the same size
    outer = [[(i, i + 1) for i in range(n)] for n in (geometry.batch, *outputs[:axis])]
    parts = [(first, min(first + step, rows)) for first in range(0, rows, step)]
    inner = [(0, n) for n in outputs[axis + 1 :]]
    for *first, part in itertools.product(*outer, parts):
        yield Strip((*first, part, *inner))


def part_of(
    builder: KernelBuilder,
    shape: Shape,
    rows: PartitionDims,
    dtype: DType,
    ranges: Ranges,
    name: str,
) -> tuple[Storage, Storage]:
    """A storage in SBUF for `ranges` of some dims; as it is, and addressed by the indices of the
    whole tensor."""
    sizes = tuple(
        ranges[d][1] - ranges[d][0] if d in ranges else size for d, size in enumerate(shape)
    )
    part = new_storage(builder, sizes, dtype, rows, name)
    shift = sum(start * part.strides[d] for d, (start, _) in ranges.items())
    return part, replace(part, offset=part.offset - shift)


def loaded_part(
    builder: KernelBuilder,
    source: Storage,
    rows: PartitionDims,
    dtype: DType,
    ranges: Ranges,
    name: str,
) -> Storage:
    """Those ranges of a tensor in device memory, addressed by the indices of the whole."""
    part, placed = part_of(builder, source.shape, rows, dtype, ranges, name)
    load(builder, part, cut(source, ranges))
    return placed


def cut(source: Storage, ranges: Ranges) -> Storage:
    """The ranges of a tensor in device memory."""
    low = tuple(ranges[d][0] if d in ranges else 0 for d in range(len(source.shape)))
    high = tuple(ranges[d][1] if d in ranges else n for d, n in enumerate(source.shape))
    found = source.sliced(low, high, (1,) * len(low))
    assert found is not None, "device memory has no partition dims"
    return found


class StripOperands:
    """The leaves of an epilogue (see RegionOperands): those as large as the result a strip at a
    time, the others whole."""

    def __init__(
        self,
        values: Values,
        root: Expression,
        operands: Sequence[ir.Value | None],
        shape: Shape,
        rows: PartitionDims,
    ) -> None:
        self.builder, self.rows = values.builder, rows
        self.keys = leaf_keys(root)
        whole = {number for number, dims in self.keys if dims is None}
        given = [(n, v) for n, v in enumerate(operands) if v is not None]
        large = {number: value for number, value in given if number in whole}
        others = [None if n in large else v for n, v in enumerate(operands)]
        self._others = RegionOperands(values, root, others, shape, rows)
        self._sources = {n: values.in_device_memory(v, "residual") for n, v in large.items()}
        self._dtypes = {n: machine_dtype(v.type) for n, v in large.items()}
        self._parts: dict[int, Storage] = {}

    def open(self, ranges: Ranges) -> None:
        """Loads what lies along a strip of the result."""
        for number, source in self._sources.items():
            self._parts[number] = loaded_part(
                self.builder, source, self.rows, self._dtypes[number], ranges, "residual"
            )

    def lanes(
        self, row: int, rows: int, loops: tuple[Loop, ...], partitions: int, accumulator: Lane
    ) -> list[Lane]:
        """One lane per key."""
        found = self._others.lanes(row, rows, loops, partitions, accumulator)
        for place, (number, dims) in enumerate(self.keys):
            if dims is None and number in self._parts:
                found[place] = self._parts[number].lane(row, rows, loops, partitions)
        return found
