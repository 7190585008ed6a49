"""Reductions of windows as elementwise operations on slices.

The elements of a window may be combined by any tree that keeps their order. Where windows overlap
much, neighbours are combined to pieces of 2, 4, 8 ... elements, at every place at once, and a
window is put together of the pieces that the digits of its size name; else its elements, which are
slices of the tensor, are combined one by one. Windows that do not overlap are rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch_mlir import ir

from axonc.dialects.attributes import dense_to_numpy
from axonc.dialects.stablehlo import dense_integers
from axonc.passes.prepare import words
from axonc.passes.prepare.regions.reduction_tree import combined_along, part
from axonc.passes.prepare.regions.scalar_body import Combine, Tensors


@dataclass(frozen=True)
class DimWindow:
    """A window along one dim."""

    size: int
    """Its elements."""
    stride: int
    """From window to window."""
    distance: int
    """Between its elements."""
    low: int
    """Padding before the dim, as of a pad."""
    high: int
    """Padding after it."""
    interior: int
    """Padding between its elements."""

    @property
    def reach(self) -> int:
        """From the first element to the last, both counted."""
        return (self.size - 1) * self.distance + 1

    def places(self, length: int) -> int:
        """How many windows there are in a padded dim."""
        return max(0, (length - self.reach) // self.stride + 1)


def windows_of(op: ir.Operation) -> list[DimWindow]:
    """Of `reduce_window` and `select_and_scatter`, per dim."""
    sizes = dense_integers(op.attributes["window_dimensions"])
    names = ("window_strides", "window_dilations", "base_dilations")
    strides, distances, base = (_numbers(op, name, len(sizes)) for name in names)
    padding = np.zeros((len(sizes), 2), np.int64)
    if "padding" in op.attributes:
        padding = np.asarray(dense_to_numpy(op.attributes["padding"])).reshape(-1, 2)
    return [
        DimWindow(size, strides[d], distances[d], int(low), int(high), base[d] - 1)
        for d, (size, (low, high)) in enumerate(zip(sizes, padding, strict=True))
    ]


def _numbers(op: ir.Operation, name: str, rank: int) -> Sequence[int]:
    return dense_integers(op.attributes[name]) if name in op.attributes else (1,) * rank


def windows_reduced(
    combine: Combine, tensors: Tensors, initial: Tensors, windows: Sequence[DimWindow]
) -> Tensors:
    """The scalars `initial`, then all elements of the window, at every place. Padding holds initial
    values too."""
    low, high, interior = ([getattr(w, n) for w in windows] for n in ("low", "high", "interior"))
    tensors = [
        words.padded(value, first, low, high, interior)
        for value, first in zip(tensors, initial, strict=True)
    ]
    places = [w.places(n) for w, n in zip(windows, tensors[0].type.shape, strict=True)]
    first = [words.broadcast(v, places, ()) for v in initial]
    return combine(first, windows_combined(combine, tensors, windows)) if all(places) else first


def windows_combined(combine: Combine, tensors: Tensors, windows: Sequence[DimWindow]) -> Tensors:
    """All elements of the window, at every place; there is one at least. Of padded tensors.

    The last dim comes first, so that elements are combined in their order in memory."""
    for dim in reversed(range(len(windows))):
        if (windows[dim].size, windows[dim].stride) != (1, 1):
            tensors = _along(combine, tensors, dim, windows[dim])
    return tensors


def _along(combine: Combine, tensors: Tensors, dim: int, window: DimWindow) -> Tensors:
    length = tensors[0].type.shape[dim]
    places = window.places(length)
    if window.size <= window.stride and window.distance == 1:
        return _of_rows(combine, tensors, dim, window)
    if window.size * places <= window.size.bit_length() * length:
        return _of_slices(combine, tensors, dim, window)
    pieces = _of_pieces(combine, tensors, dim, window)
    return part(pieces, dim, 0, (places - 1) * window.stride + 1, window.stride)


def _of_rows(combine: Combine, tensors: Tensors, dim: int, window: DimWindow) -> Tensors:
    """Windows that do not overlap are the rows of a matrix; what is beyond the last row is a window
    of its own, if it is one."""
    places = window.places(tensors[0].type.shape[dim])
    rows = min(places, tensors[0].type.shape[dim] // window.stride)
    found = [_row(v, dim, rows, window) for v in tensors]
    found = [
        words.reshape(v, [n for d, n in enumerate(v.type.shape) if d != dim + 1])
        for v in combined_along(combine, found, dim + 1)
    ]
    if rows == places:
        return found
    start = rows * window.stride
    last = combined_along(combine, part(tensors, dim, start, start + window.size), dim)
    return [words.concatenate(both, dim) for both in zip(found, last, strict=True)]


def _row(value: ir.Value, dim: int, rows: int, window: DimWindow) -> ir.Value:
    """[..., rows, elements of a window, ...]"""
    shape = list(value.type.shape)
    whole = words.slice_along(value, dim, 0, rows * window.stride)
    matrix = words.reshape(whole, [*shape[:dim], rows, window.stride, *shape[dim + 1 :]])
    return words.slice_along(matrix, dim + 1, 0, window.size)


def _of_slices(combine: Combine, tensors: Tensors, dim: int, window: DimWindow) -> Tensors:
    """Elements number n of all windows are one slice; neighbours of these are combined."""
    span = (window.places(tensors[0].type.shape[dim]) - 1) * window.stride + 1
    slices = [
        part(tensors, dim, first, first + span, window.stride)
        for first in range(0, window.reach, window.distance)
    ]
    while len(slices) > 1:
        rest = slices[len(slices) // 2 * 2 :]
        slices = [combine(a, b) for a, b in zip(slices[::2], slices[1::2], strict=False)] + rest
    return slices[0]


def _of_pieces(combine: Combine, tensors: Tensors, dim: int, window: DimWindow) -> Tensors:
    """Windows at all places, whatever the stride. `tensors` are pieces of `step` elements, which
    begin at every place; `found` those elements of the window that the digits so far stand for."""
    found: Tensors | None = None
    covered, step = 0, 1
    while True:
        if window.size & step:
            found = tensors if found is None else _followed(combine, found, tensors, dim, covered)
            covered += step * window.distance
        step *= 2
        if step > window.size:
            assert found is not None, "a window has elements"
            return found
        tensors = _followed(combine, tensors, tensors, dim, step // 2 * window.distance)


def _followed(
    combine: Combine, first: Tensors, second: Tensors, dim: int, distance: int
) -> Tensors:
    """Each of `first` with the one of `second` that begins `distance` later, where both are."""
    count = min(first[0].type.shape[dim], second[0].type.shape[dim] - distance)
    return combine(part(first, dim, 0, count), part(second, dim, distance, distance + count))
