"""Make cumulative windows scans: sums of all elements so far, as `cumsum` is written.

Why: a window as long as the dim costs the square of its length. A scan by doubling costs its
logarithm in steps over the whole tensor, and is made of plain operations, which 64-bit integers
have too.

Precondition: StableHLO, inlined.
Postcondition: no `reduce_window` that is cumulative along one dim, by an associative operation from
its neutral element on, or by any region on scalars from initial values on that stay what they are
when combined with themselves; but for those of 32 elements or less that are not of 64-bit integers.

Before:
    %0 = "stablehlo.reduce_window"(%x, %zero) <{window_dimensions = [4], padding = [[3, 0]]}> add
After:
    %0 = concatenate(x[0:1], x[1:4] + x[0:3])
    %1 = concatenate(%0[0:2], %0[2:4] + %0[0:2])

Proof: after the step of distance s every element holds the combination of itself and the 2 s - 1
elements before it, or of all there are, in order. Associativity is exact for integers; sums of
floats are rounded in another order, over fewer terms each. StableHLO lets any region be combined by
any tree that keeps the order; the padding of a window is as many initial values, which stand for
one. A dim of more than 256 elements is cut into rows:
scans of the rows, then of their last elements, which all later rows are combined with.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from torch_mlir import ir

from axonc.dialects.attributes import dense_to_numpy, element_name
from axonc.dialects.stablehlo import dense_integers
from axonc.passes.base import Pass
from axonc.passes.graph.rewrite import in_place_of, replace
from axonc.passes.prepare import words
from axonc.passes.prepare.integer_range import WORD
from axonc.passes.prepare.integer_ranges import combination
from axonc.passes.prepare.regions.initial_values import stays_alone
from axonc.passes.prepare.regions.plain_reductions import NEUTRAL, neutral
from axonc.passes.prepare.regions.scalar_body import Combine, ScalarBody, Tensors

SHORT_WINDOW = 32
"""Up to here a window of 32-bit numbers stays one."""

LONGEST_ROW = 256
"""Elements that are scanned by doubling; longer dims become rows."""


@dataclass(frozen=True)
class ScanWindowsPass(Pass, name="scan-windows"):
    """Make cumulative windows scans."""

    def apply(self, op: ir.Operation) -> bool:
        found = _windows_in(op)
        for each in found:
            _rewrite(each)
        return bool(found)


def _windows_in(root: ir.Operation) -> list[ir.Operation]:
    found: list[ir.Operation] = []

    def visit(op: ir.Operation) -> ir.WalkResult:
        if op.name == "stablehlo.reduce_window" and _is_scanned(op):
            found.append(op)
        return ir.WalkResult.ADVANCE

    root.walk(visit, ir.WalkOrder.PRE_ORDER)
    return found


@dataclass(frozen=True)
class Scan:
    """Combinations of all elements up to each, along one dim."""

    combine: Combine
    """Of what comes first in memory and what comes next, of several tensors each."""
    dim: int
    is_reversed: bool
    """Whether it starts at the end of `dim`."""

    def of(self, tensors: Tensors) -> Tensors:
        """Along the dim: every element with all before it."""
        size = tensors[0].type.shape[self.dim]
        return self._by_rows(tensors) if size > LONGEST_ROW else self._by_doubling(tensors)

    def _by_doubling(self, tensors: Tensors) -> Tensors:
        size, step = tensors[0].type.shape[self.dim], 1
        while step < size:
            tensors = self._joined(tensors, self._part(tensors, 0, size - step), step)
            step *= 2
        return tensors

    def _joined(self, tensors: Tensors, before: Tensors, step: int) -> Tensors:
        """The first `step` elements as they are, the others combined with `before`."""
        size = tensors[0].type.shape[self.dim]
        pair = [before, self._part(tensors, step, size)]
        made = [self._part(tensors, 0, step), self.combine(*self._in_memory(pair))]
        return [
            words.concatenate(parts, self.dim) for parts in zip(*self._in_memory(made), strict=True)
        ]

    def _in_memory(self, pair: list[Tensors]) -> list[Tensors]:
        """What the scan meets first and next, in the order of memory."""
        return pair[::-1] if self.is_reversed else pair

    def _part(self, tensors: Tensors, start: int, limit: int) -> Tensors:
        """Elements counted from where the scan begins."""
        size = tensors[0].type.shape[self.dim]
        if self.is_reversed:
            start, limit = size - limit, size - start
        return [words.slice_along(v, self.dim, start, limit) for v in tensors]

    def _by_rows(self, tensors: Tensors) -> Tensors:
        """What fills up the last row comes after all elements, so its value does not matter."""
        shape, dim = list(tensors[0].type.shape), self.dim
        size = shape[dim]
        columns = min(LONGEST_ROW, 2 ** math.ceil(math.log2(size) / 2))
        rows = -(-size // columns)
        split = [*shape[:dim], rows, columns, *shape[dim + 1 :]]
        full = [self._filled(v, rows * columns - size) for v in tensors]
        grid = [words.reshape(v, split) for v in full]
        inner = Scan(self.combine, dim + 1, self.is_reversed).of(grid)
        last = 0 if self.is_reversed else columns - 1
        ends = [words.slice_along(v, dim + 1, last, last + 1) for v in inner]
        totals = self.of([words.reshape(v, [*shape[:dim], rows, *shape[dim + 1 :]]) for v in ends])
        dims = [d for d in range(len(shape) + 1) if d != dim + 1]
        wide = [*shape[:dim], rows - 1, columns, *shape[dim + 1 :]]
        before = [words.broadcast(v, wide, dims) for v in self._part(totals, 0, rows - 1)]
        whole = self._joined(inner, before, 1)
        flat = [*shape[:dim], rows * columns, *shape[dim + 1 :]]
        return self._part([words.reshape(v, flat) for v in whole], 0, size)

    def _filled(self, value: ir.Value, count: int) -> ir.Value:
        """With so many elements after those that the scan meets."""
        if not count:
            return value
        shape = [count if d == self.dim else n for d, n in enumerate(value.type.shape)]
        kind = ir.RankedTensorType.get(shape, value.type.element_type)
        both = [value, words.filled(0, kind)]
        return words.concatenate(both[::-1] if self.is_reversed else both, self.dim)


def _direction_of(op: ir.Operation) -> tuple[int, bool] | None:
    """(dim, whether from its end on) of windows that are cumulative; None for others."""
    shape = list(op.operands[0].type.shape)
    sizes = list(dense_integers(op.attributes["window_dimensions"]))
    long = [d for d, n in enumerate(sizes) if n != 1]
    if len(long) != 1 or sizes[long[0]] != shape[long[0]] or not _is_plain(op):
        return None
    (dim,) = long
    padding = (
        np.asarray(dense_to_numpy(op.attributes["padding"])) if "padding" in op.attributes else 0
    )
    for is_reversed in (False, True):
        wanted = np.zeros((len(shape), 2), np.int64)
        wanted[dim, int(is_reversed)] = shape[dim] - 1
        if np.array_equal(np.broadcast_to(padding, wanted.shape), wanted):
            return (dim, is_reversed) if _is_long(op, shape[dim]) else None
    return None


def _is_scanned(op: ir.Operation) -> bool:
    """Whether it is a scan that does not stay a window."""
    if _direction_of(op) is None:
        return False
    initial = op.operands[len(op.results) :]
    return _is_neutral(op) or (
        ScalarBody.of(op.regions[0]) is not None and stays_alone(op.regions[0], initial)
    )


def _is_plain(op: ir.Operation) -> bool:
    """Whether windows are dense and at every place."""
    names = ("window_strides", "base_dilations", "window_dilations")
    given = [dense_integers(op.attributes[n]) for n in names if n in op.attributes]
    return all(n == 1 for numbers in given for n in numbers)


def _is_long(op: ir.Operation, size: int) -> bool:
    return size > SHORT_WINDOW or any(element_name(v.type) in WORD for v in op.results)


def _is_neutral(op: ir.Operation) -> bool:
    """Whether it is by one operation, from a constant on that changes nothing."""
    kind = combination(op)
    if len(op.operands) != 2 or kind not in NEUTRAL:
        return False
    first, inner = op.operands[1], op.regions[0].blocks[0].arguments[0]
    if first.type.element_type != inner.type.element_type:
        return False
    return words.number_of(first) == neutral(kind, element_name(first.type))


def _rewrite(op: ir.Operation) -> None:
    direction, count = _direction_of(op), len(op.results)
    assert direction is not None, "chosen as one"
    tensors, initial = list(op.operands)[:count], list(op.operands)[count:]
    with in_place_of(op):
        if _is_neutral(op):
            scan = Scan(_by_one(combination(op)), *direction)
            made = scan.of(tensors)
        else:
            made = _from_initial(op, tensors, initial)
    replace(op, *made)


def _by_one(kind: str) -> Combine:
    return lambda first, second: [
        words.create(kind, (a, b), b.type) for a, b in zip(first, second, strict=True)
    ]


def _from_initial(op: ir.Operation, tensors: Tensors, initial: Tensors) -> Tensors:
    """A scan with the initial values before it; and after it where the padding is there."""
    body, direction = ScalarBody.of(op.regions[0]), _direction_of(op)
    assert body is not None and direction is not None, "chosen as one"
    tensors, initial = (
        [words.convert(v, body.element(n)) for n, v in enumerate(values)]
        for values in (tensors, initial)
    )
    shape = list(op.results[0].type.shape)
    first = [words.broadcast(v, shape, ()) for v in initial]
    made = body.combine(first, Scan(body.combine, *direction).of(tensors))
    if direction[1]:
        made = body.combine(made, first)
    pairs = zip(made, op.results, strict=True)
    return [words.convert(new, old.type.element_type) for new, old in pairs]
