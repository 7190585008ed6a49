"""Convolutions whose image and result do not fit SBUF together, strip by strip of the result.

A strip is some rows of one image's result. What its windows reach of the image, a few more rows, is
loaded from device memory, as is what the epilogue reads beside it; the strip is stored there. So
neighbouring strips share nothing, and only one or two of them are in SBUF at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch_mlir import ir

from axonc.backends.numerics.dtypes import DType
from axonc.backends.targets.target import Target
from axonc.passes.graph.machine_dtype import machine_dtype
from axonc.passes.graph.shapes import PartitionDims, Shape
from axonc.passes.layout.storage import Lane, Loop, Storage
from axonc.passes.tile.elementwise.expression_nodes import Expression
from axonc.passes.tile.ops.convolution_geometry import Box, ConvolutionGeometry, Phase
from axonc.passes.tile.ops.strips import Ranges, loaded_part, strip_ranges
from axonc.passes.tile.region_operands import RegionOperands, leaf_keys
from axonc.passes.tile.values import Values


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
    """The result in strips. bytes_of_image: per partition, of one image or its result."""
    sizes = (geometry.batch, *geometry.outputs)
    for ranges in strip_ranges(sizes, bytes_of_image * geometry.batch):
        yield Strip(ranges)


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
