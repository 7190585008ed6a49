"""`select_and_scatter`, the gradient of a max pool, as elementwise operations.

Every element has a number, its place. A reduction of windows of (element, place) finds the place
that each window selects. The result is seen as rows of a stride's length: the windows that begin
in row q - k, for k = 0, 1 ... as far as a window reaches, may have selected elements of row q. Each
k is one step for the whole tensor: where an element's place is the one selected, the source joins
it.

Elements that a window has of the padding are never selected, and have the place -1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from torch_mlir import ir

from axonc.passes.prepare import words
from axonc.passes.prepare.regions.reduction_windows import (
    DimWindow,
    windows_combined,
    windows_of,
)
from axonc.passes.prepare.regions.scalar_body import Combine, ScalarBody, Tensors
from axonc.passes.prepare.regions.selected_phases import Phases

EXACT_PLACES = 2**24
"""float32 holds every integer up to here."""

NOWHERE = -1


def select_and_scatter(op: ir.Operation) -> Tensors | None:
    """The result; None when a region cannot be applied to tensors."""
    select, scatter = (ScalarBody.of(region) for region in op.regions)
    if select is None or scatter is None:
        return None
    operand, source, initial = op.operands
    if not math.prod(source.type.shape):
        return [words.broadcast(initial, operand.type.shape, ())]
    pool = _Pool(tuple(windows_of(op)), tuple(operand.type.shape), tuple(source.type.shape))
    operand = words.convert(operand, select.element(0))
    source, initial = (words.convert(v, scatter.element(0)) for v in (source, initial))
    phases = Phases(pool.dense, pool.places, tuple(pool.moving))
    if phases.are_few and not pool.is_padded:
        selected = phases.selected(select, pool.whole(operand))
        return [pool.cut(phases.scattered(scatter, selected, source, initial), initial)]
    selected = pool.selected(select, operand)
    return [pool.cut(pool.scattered(scatter, selected, source, initial), initial)]


@dataclass(frozen=True)
class _Pool:
    """The windows of a tensor that select an element each."""

    windows: tuple[DimWindow, ...]
    """By dim."""
    shape: tuple[int, ...]
    """The shape of the tensor."""
    places: tuple[int, ...]
    """By dim, how many windows there are."""

    @property
    def moving(self) -> list[int]:
        """The dims along which there are windows."""
        return [d for d, w in enumerate(self.windows) if w != DimWindow(1, 1, 1, 0, 0, 0)]

    @property
    def overlaps(self) -> list[int]:
        """Per dim: how many rows beyond its own a window reaches into."""
        return [(w.size - 1) // w.stride for w in self.windows]

    @property
    def rows(self) -> list[int]:
        return [n + k for n, k in zip(self.places, self.overlaps, strict=True)]

    @property
    def dense(self) -> tuple[DimWindow, ...]:
        """The windows in whole rows."""
        return tuple(replace(w, low=0, high=0) for w in self.windows)

    @property
    def is_padded(self) -> bool:
        """Whether windows reach beyond the operand."""
        return any(
            w.low > 0 or (places - 1) * w.stride + w.size - w.low > size
            for w, places, size in zip(self.windows, self.places, self.shape, strict=True)
        )

    def whole(self, operand: ir.Value) -> ir.Value:
        """As many whole rows as windows reach into; zeros beside the operand."""
        zero = words.filled(0, ir.RankedTensorType.get([], operand.type.element_type))
        low = [w.low for w in self.windows]
        high = [
            rows * w.stride - w.low - n
            for rows, w, n in zip(self.rows, self.windows, self.shape, strict=True)
        ]
        return words.padded(operand, zero, low, high, [0] * len(low))

    def cut(self, rows: ir.Value, initial: ir.Value) -> ir.Value:
        """What whole rows have of the operand; `initial` where they have nothing."""
        low = [-w.low for w in self.windows]
        high = [n - size - a for n, size, a in zip(self.shape, rows.type.shape, low, strict=True)]
        return words.padded(rows, initial, low, high, [0] * len(low))

    def selected(self, select: ScalarBody, operand: ir.Value) -> ir.Value:
        """The place that every window selects."""
        numbers = self._numbers()
        both = [self.whole(operand), words.constant(numbers, self._element(numbers))]
        chosen = windows_combined(_chosen(select, self.is_padded), both, self.dense)
        return _spread(chosen[1], self.places)

    def _numbers(self) -> np.ndarray:
        """Of every element of the whole rows, of one element along dims without windows."""
        lengths = [
            self.rows[d] * w.stride if d in self.moving else 1 for d, w in enumerate(self.windows)
        ]
        numbers = np.arange(math.prod(lengths)).reshape(lengths)
        for dim in self.moving:
            place = np.arange(lengths[dim]) - self.windows[dim].low
            inside = (place >= 0) & (place < self.shape[dim])
            beside = [-1 if d == dim else 1 for d in range(len(lengths))]
            numbers = np.where(inside.reshape(beside), numbers, NOWHERE)
        return numbers

    def _element(self, numbers: np.ndarray) -> ir.Type:
        return words.f32() if numbers.size <= EXACT_PLACES else words.i32()

    def scattered(
        self, scatter: ScalarBody, selected: ir.Value, source: ir.Value, initial: ir.Value
    ) -> ir.Value:
        """The whole rows. Sources join what is there in the order of their windows."""
        numbers = self._numbers()
        where = words.constant(numbers, self._element(numbers))
        shape = self._split(self.rows)
        here = _spread(words.reshape(where, self._split_of(where)), shape)
        found = words.broadcast(initial, shape, ())
        nowhere = words.filled(NOWHERE, ir.RankedTensorType.get([], selected.type.element_type))
        zero = words.filled(0, initial.type)
        for steps in product(*(range(k, -1, -1) for k in self.overlaps)):
            chosen = self._in_rows(selected, nowhere, steps, shape)
            (joined,) = scatter.combine([found], [self._in_rows(source, zero, steps, shape)])
            found = words.select(words.compare(here, "EQ", chosen), joined, found)
        whole = [rows * w.stride for rows, w in zip(self.rows, self.windows, strict=True)]
        return words.reshape(found, whole)

    def _split(self, rows: Sequence[int]) -> list[int]:
        """The shape with a dim of rows and one of a stride's length for every dim with windows."""
        shape: list[int] = []
        for dim, count in enumerate(rows):
            shape += [count, self.windows[dim].stride] if dim in self.moving else [count]
        return shape

    def _split_of(self, numbers: ir.Value) -> list[int]:
        return self._split([self.rows[d] if d in self.moving else 1 for d in range(len(self.rows))])

    def _in_rows(
        self, value: ir.Value, filling: ir.Value, steps: Sequence[int], shape: Sequence[int]
    ) -> ir.Value:
        """What belongs to windows, each at all elements of the row that is `steps` after its own;
        `filling` where there is none."""
        after = [k - step for k, step in zip(self.overlaps, steps, strict=True)]
        moved = words.padded(value, filling, steps, after, [0] * len(after))
        single: list[int] = []
        for dim, count in enumerate(self.rows):
            single += [count, 1] if dim in self.moving else [count]
        return _spread(words.reshape(moved, single), shape)


def _spread(value: ir.Value, shape: Sequence[int]) -> ir.Value:
    """Dims of one element repeated to `shape`; itself when it has that."""
    if list(value.type.shape) == list(shape):
        return value
    return words.broadcast(value, shape, range(len(shape)))


def _chosen(select: ScalarBody, is_padded: bool) -> Combine:
    """Of (elements, places): those that `select` takes. The first come first."""

    def combine(first: Tensors, second: Tensors) -> Tensors:
        shape = list(first[0].type.shape)
        (a, i), (b, j) = ([_spread(v, shape) for v in each] for each in (first, second))
        (takes_first,) = select(a, b)
        if is_padded:
            takes_first = words.either(takes_first, words.compare(j, "LT", 0))
            takes_first = words.both(takes_first, words.compare(i, "GE", 0))
        return [words.select(takes_first, a, b), words.select(takes_first, i, j)]

    return combine
