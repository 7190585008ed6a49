"""`select_and_scatter` with small strides: one result for each place within a stride.

Elements of a window are numbered. The number that a window selects is found by combining slices,
each with its number, which is the same everywhere; so is the number that an element of one phase
(those at the same place of their strides) has in a window. No tensor of numbers is needed, which
makes this the way for the gradients of common pools; `selected_windows.py` is the general one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

import numpy as np
from torch_mlir import ir

from axonc.dialects.attributes import element_name
from axonc.dialects.neuron.table import FLOAT
from axonc.passes.prepare import words
from axonc.passes.prepare.regions.reduction_windows import DimWindow
from axonc.passes.prepare.regions.scalar_body import ScalarBody

MOST_STEPS = 64
"""Phases, and slices along one dim, that are operations of their own."""

EXACT_NUMBERS = 256
"""Every float type holds the integers up to here."""


@dataclass(frozen=True)
class Phases:
    """Windows that select an element each, and in which order their elements are numbered."""

    windows: tuple[DimWindow, ...]
    """By dim, without padding."""
    places: tuple[int, ...]
    """By dim, how many windows there are."""
    moving: tuple[int, ...]
    """The dims along which there are windows, ascending."""

    @property
    def are_few(self) -> bool:
        sizes = [self.windows[d].size for d in self.moving]
        return max([prod(self.windows[d].stride for d in self.moving), *sizes]) <= MOST_STEPS

    def weight(self, dim: int) -> int:
        """By how much the number of a window's element grows along `dim`."""
        return prod(self.windows[d].size for d in self.moving if d > dim)

    # ---- what windows select

    def selected(self, select: ScalarBody, operand: ir.Value) -> ir.Value:
        """Per window, the number of the element that it selects."""
        element = self._number_type(operand)
        numbers = words.filled(0, words.of_shape(operand, element))
        for dim in reversed(self.moving):
            window = self.windows[dim]
            span = (self.places[dim] - 1) * window.stride + 1
            pairs = []
            for first in range(window.size):
                part, number = (
                    words.slice_along(v, dim, first, first + span, window.stride)
                    for v in (operand, numbers)
                )
                pairs.append((part, _plus(number, first * self.weight(dim))))
            operand, numbers = _first_of(select, pairs)
        return numbers

    def _number_type(self, operand: ir.Value) -> ir.Type:
        count = prod(self.windows[d].size for d in self.moving)
        is_exact = element_name(operand.type) in FLOAT and count <= EXACT_NUMBERS
        return operand.type.element_type if is_exact else words.f32()

    # ---- what becomes of the sources

    def scattered(
        self, scatter: ScalarBody, selected: ir.Value, source: ir.Value, initial: ir.Value
    ) -> ir.Value:
        """The whole rows: of every stride as many as windows reach into."""
        phases = {
            place: self._phase(scatter, selected, source, initial, place)
            for place in np.ndindex(*(self.windows[d].stride for d in self.moving))
        }
        for number in reversed(range(len(self.moving))):
            dim, stride = self.moving[number], self.windows[self.moving[number]].stride
            phases = {
                place[:-1]: _interleaved([phases[*place[:-1], n] for n in range(stride)], dim)
                for place in phases
                if place[-1] == 0
            }
        return phases[()]

    def _phase(
        self,
        scatter: ScalarBody,
        selected: ir.Value,
        source: ir.Value,
        initial: ir.Value,
        place: Sequence[int],
    ) -> ir.Value:
        """Of the elements at `place` of their strides. Sources join in the order of windows."""
        windows = [self.windows[d] for d in self.moving]
        overlaps = [(w.size - 1) // w.stride for w in windows]
        shape = list(self.places)
        for dim, overlap in zip(self.moving, overlaps, strict=True):
            shape[dim] += overlap
        found = words.broadcast(initial, shape, ())
        for steps in product(*(range(k, -1, -1) for k in overlaps)):
            inside = [p + k * w.stride for p, k, w in zip(place, steps, windows, strict=True)]
            if any(n >= w.size for n, w in zip(inside, windows, strict=True)):
                continue
            number = sum(n * self.weight(d) for n, d in zip(inside, self.moving, strict=True))
            after = [k - step for k, step in zip(overlaps, steps, strict=True)]
            chosen, joining = (
                self._moved(v, filling, steps, after)
                for v, filling in ((selected, -1), (source, 0))
            )
            (joined,) = scatter.combine([found], [joining])
            found = words.select(words.compare(chosen, "EQ", number), joined, found)
        return found

    def _moved(
        self, value: ir.Value, filling: int, before: Sequence[int], after: Sequence[int]
    ) -> ir.Value:
        """With so many more along the moving dims, which are `filling`."""
        low, high = [0] * len(self.places), [0] * len(self.places)
        for dim, first, last in zip(self.moving, before, after, strict=True):
            low[dim], high[dim] = first, last
        scalar = words.filled(filling, ir.RankedTensorType.get([], value.type.element_type))
        return words.padded(value, scalar, low, high, [0] * len(low))


def _plus(numbers: ir.Value, more: int) -> ir.Value:
    """Constants stay constants."""
    known = words.number_of(numbers)
    return words.add(numbers, more) if known is None else words.filled(known + more, numbers.type)


Pair = tuple[ir.Value, ir.Value]


def _first_of(select: ScalarBody, pairs: list[Pair]) -> Pair:
    """Of (elements, numbers) those that `select` takes, neighbours first."""
    while len(pairs) > 1:
        rest = pairs[len(pairs) // 2 * 2 :]
        made = []
        for (a, i), (b, j) in zip(pairs[::2], pairs[1::2], strict=False):
            (takes_first,) = select(a, b)
            made.append((words.select(takes_first, a, b), words.select(takes_first, i, j)))
        pairs = made + rest
    return pairs[0]


def _interleaved(parts: list[ir.Value], dim: int) -> ir.Value:
    """Element 0 of each along `dim`, then element 1 of each ..."""
    shape = list(parts[0].type.shape)
    columns = [words.reshape(v, [*shape[: dim + 1], 1, *shape[dim + 1 :]]) for v in parts]
    whole = words.concatenate(columns, dim + 1)
    return words.reshape(whole, [*shape[:dim], shape[dim] * len(parts), *shape[dim + 1 :]])
