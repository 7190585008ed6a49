"""The loops of a `neuron.convolution`: phases of its outputs, rectangles of them that fill a PSUM
bank, and which rectangle of the image each kernel element meets there.

Where the image is spread out (lhs_dilation), outputs some steps apart read the same kernel
elements: such a *phase* is convolved for itself, without the zeros in between."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

from torch_mlir import ir

from axonc.dialects.neuron.window import Reach, WindowDim
from axonc.dialects.neuron.window_rules import ConvolutionDims, convolution_dims
from axonc.passes.graph.shapes import Shape, shape_of
from axonc.passes.layout.storage import Loop

Tap = tuple[int, ...]
"""Position of an element within the window, per spatial dim."""

Phase = tuple[int, ...]
"""First output per spatial dim."""


@dataclass(frozen=True)
class Box:
    """A rectangle of outputs of one phase: [start, stop) of the batch and of each spatial dim,
    counted within the phase."""

    ranges: tuple[tuple[int, int], ...]

    @property
    def sizes(self) -> Shape:
        return tuple(stop - start for start, stop in self.ranges)

    @property
    def count(self) -> int:
        return math.prod(self.sizes)


@dataclass(frozen=True)
class Meeting:
    """Where one kernel element meets the image within a box: the part of the box, relative to its
    start, and the first image element of each spatial dim."""

    starts: Shape
    sizes: Shape
    image: Shape


def boxes(ranges: tuple[tuple[int, int], ...], limit: int, max_dims: int) -> list[Box]:
    """Cuts a rectangle into boxes of at most `limit` elements and `max_dims` dims, in row-major
    order, the dim that has to be cut into even parts."""
    sizes = [stop - start for start, stop in ranges]
    axis, inner, wide = len(sizes), 1, 0
    while axis and inner * sizes[axis - 1] <= limit and wide < max_dims - (sizes[axis - 1] > 1):
        axis -= 1
        inner *= sizes[axis]
        wide += sizes[axis] > 1
    if not axis:
        return [Box(ranges)]
    per_box = max(1, limit // inner) if wide < max_dims else 1
    size = sizes[axis - 1]
    per_box = -(-size // -(-size // per_box))
    begin, end = ranges[axis - 1]
    found = []
    for outer in itertools.product(*(range(*r) for r in ranges[: axis - 1])):
        fixed = tuple((i, i + 1) for i in outer)
        for start in range(begin, end, per_box):
            part = (start, min(start + per_box, end))
            found.append(Box((*fixed, part, *ranges[axis:])))
    return found


@dataclass(frozen=True)
class ConvolutionGeometry:
    """A convolution in the terms of its tiling."""

    dims: ConvolutionDims
    """Of the operation."""
    batch: int
    lengths: Shape
    outputs: Shape
    """With `lengths`: of image and result, per spatial dim."""
    features: int
    result_features: int
    result_shape: Shape

    @property
    def windows(self) -> tuple[WindowDim, ...]:
        return self.dims.windows

    @property
    def taps(self) -> list[Tap]:
        return list(itertools.product(*(range(w.size) for w in self.windows)))

    @property
    def is_spread(self) -> bool:
        return any(w.base_dilation > 1 for w in self.windows)

    def phases(self) -> Iterator[tuple[Phase, Box]]:
        """Every phase with all its outputs, if it has any."""
        for phase in itertools.product(*(range(w.phases) for w in self.windows)):
            counts = self._phase_counts(phase)
            if math.prod(counts) * self.batch:
                yield phase, Box(((0, self.batch), *((0, n) for n in counts)))

    def _phase_counts(self, phase: Phase) -> Shape:
        return tuple(
            max(0, -(-(n - first) // w.phases))
            for n, first, w in zip(self.outputs, phase, self.windows, strict=True)
        )

    def meeting(
        self, tap: Tap, phase: Phase, box: Box, stacked: frozenset[int] = frozenset()
    ) -> Meeting | None:
        """What `tap` does in `box`; None if it only meets padding. Along `stacked` axes it meets
        all of it."""
        start_n, stop_n = box.ranges[0]
        starts, sizes, image = [0], [stop_n - start_n], []
        for axis, (start, stop) in enumerate(box.ranges[1:]):
            if axis in stacked:
                starts, sizes = [*starts, 0], [*sizes, stop - start]
                image.append(0)
                continue
            part = self.reach(axis, tap[axis], phase, box)
            if part is None:
                return None
            starts.append(part.first - start)
            sizes.append(part.stop - part.first)
            image.append(part.start)
        return Meeting(tuple(starts), tuple(sizes), tuple(image))

    def reach(self, axis: int, tap: int, phase: Phase, box: Box) -> Reach | None:
        """What element `tap` of the windows along one axis reads within a box."""
        window, (start, stop) = self.windows[axis], box.ranges[axis + 1]
        count = self._phase_counts(phase)[axis]
        reach = window.reach(tap, phase[axis], self.lengths[axis], count)
        return _cut(reach, start, stop, window.input_step)

    def result_loops(self, phase: Phase, box: Box) -> tuple[Loop, ...]:
        """Loops over the box in the dims of the result."""
        (start, stop), *spatial = box.ranges
        batch, _, *places = self.dims.result
        loops = [Loop(batch, stop - start, start)]
        for axis, (first, last) in enumerate(spatial):
            step = self.windows[axis].phases
            loops.append(Loop(places[axis], last - first, phase[axis] + first * step, step))
        return tuple(loops)


def _cut(reach: Reach | None, start: int, stop: int, step: int) -> Reach | None:
    if reach is None:
        return None
    first, last = max(reach.first, start), min(reach.stop, stop)
    if first >= last:
        return None
    return Reach(first, last, reach.start + (first - reach.first) * step)


def convolution_geometry(op: ir.Operation) -> ConvolutionGeometry:
    """The geometry of a `neuron.convolution`."""
    dims = convolution_dims(op)
    lhs, rhs = shape_of(op.operands[0]), shape_of(op.operands[1])
    result = shape_of(op.results[0])
    return ConvolutionGeometry(
        dims,
        lhs[dims.lhs[0]],
        tuple(lhs[d] for d in dims.lhs[2:]),
        tuple(result[d] for d in dims.result[2:]),
        lhs[dims.lhs[1]],
        rhs[dims.rhs[0]],
        result,
    )
