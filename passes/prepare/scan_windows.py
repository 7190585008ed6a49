"""Make cumulative windows scans: sums of all elements so far, as `cumsum` is written.

Why: a window as long as the dim costs the square of its length. A scan by doubling costs its
logarithm in steps over the whole tensor, and is made of plain operations, which 64-bit integers
have too.

Precondition: StableHLO, inlined.
Postcondition: no `reduce_window` of one tensor that is cumulative along one dim, by an associative
operation from its neutral element on; but for those of 32 elements or less that are not of 64-bit
integers.

Before:
    %0 = "stablehlo.reduce_window"(%x, %zero) <{window_dimensions = [4], padding = [[3, 0]]}> add
After:
    %0 = concatenate(x[0:1], x[1:4] + x[0:3])
    %1 = concatenate(%0[0:2], %0[2:4] + %0[0:2])

Proof: after the step of distance s every element holds the combination of itself and the 2 s - 1
elements before it, or of all there are. Associativity is exact for integers; sums of floats are
rounded in another order, over fewer terms each. A dim of more than 256 elements is cut into rows:
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
from axonc.passes.prepare.regions.plain_reductions import NEUTRAL, neutral

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
        if op.name == "stablehlo.reduce_window" and _scan_of(op) is not None:
            found.append(op)
        return ir.WalkResult.ADVANCE

    root.walk(visit, ir.WalkOrder.PRE_ORDER)
    return found


@dataclass(frozen=True)
class Scan:
    """kind: of the StableHLO operation. is_reversed: from the end of `dim` on."""

    kind: str
    dim: int
    is_reversed: bool

    def of(self, x: ir.Value) -> ir.Value:
        """Along the dim: every element with all before it."""
        size = x.type.shape[self.dim]
        return self._by_rows(x) if size > LONGEST_ROW else self._by_doubling(x)

    def _by_doubling(self, x: ir.Value) -> ir.Value:
        size, step = x.type.shape[self.dim], 1
        while step < size:
            x = self._joined(x, self._part(x, 0, size - step), step)
            step *= 2
        return x

    def _joined(self, x: ir.Value, before: ir.Value, step: int) -> ir.Value:
        """The first `step` elements as they are, the others combined with `before`."""
        size = x.type.shape[self.dim]
        later = self._part(x, step, size)
        parts = [self._part(x, 0, step), words.create(self.kind, (before, later), later.type)]
        return words.concatenate(parts[::-1] if self.is_reversed else parts, self.dim)

    def _part(self, x: ir.Value, start: int, limit: int) -> ir.Value:
        """Elements counted from where the scan begins."""
        size = x.type.shape[self.dim]
        if self.is_reversed:
            start, limit = size - limit, size - start
        return words.slice_along(x, self.dim, start, limit)

    def _by_rows(self, x: ir.Value) -> ir.Value:
        """What fills up the last row comes after all elements, so its value does not matter."""
        shape, dim = list(x.type.shape), self.dim
        size = shape[dim]
        columns = min(LONGEST_ROW, 2 ** math.ceil(math.log2(size) / 2))
        rows = -(-size // columns)
        filling = rows * columns - size
        if filling:
            kind = ir.RankedTensorType.get(
                [filling if d == dim else n for d, n in enumerate(shape)], x.type.element_type
            )
            both = [x, words.filled(0, kind)]
            x = words.concatenate(both[::-1] if self.is_reversed else both, dim)
        grid = words.reshape(x, [*shape[:dim], rows, columns, *shape[dim + 1 :]])
        inner = Scan(self.kind, dim + 1, self.is_reversed).of(grid)
        last = 0 if self.is_reversed else columns - 1
        ends = words.slice_along(inner, dim + 1, last, last + 1)
        totals = self.of(words.reshape(ends, [*shape[:dim], rows, *shape[dim + 1 :]]))
        dims = [d for d in range(len(shape) + 1) if d != dim + 1]
        before = self._part(totals, 0, rows - 1)
        wide = [*shape[:dim], rows - 1, columns, *shape[dim + 1 :]]
        whole = self._joined(inner, words.broadcast(before, wide, dims), 1)
        flat = words.reshape(whole, [*shape[:dim], rows * columns, *shape[dim + 1 :]])
        return self._part(flat, 0, size)


def _scan_of(op: ir.Operation) -> Scan | None:
    """The scan that a reduce_window is; None when it is another or may stay."""
    if len(op.operands) != 2:
        return None
    kind, shape = combination(op), list(op.operands[0].type.shape)
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
            is_scan = _is_long(op, shape[dim]) and _is_neutral(kind, op.operands[1])
            return Scan(kind, dim, is_reversed) if is_scan else None
    return None


def _is_plain(op: ir.Operation) -> bool:
    """Whether windows are dense and at every place."""
    names = ("window_strides", "base_dilations", "window_dilations")
    given = [dense_integers(op.attributes[n]) for n in names if n in op.attributes]
    return all(n == 1 for numbers in given for n in numbers)


def _is_long(op: ir.Operation, size: int) -> bool:
    return size > SHORT_WINDOW or element_name(op.operands[0].type) in WORD


def _is_neutral(kind: str, first: ir.Value) -> bool:
    """Whether `first` is a constant that changes nothing."""
    number = words.number_of(first)
    if number is None or kind not in NEUTRAL:
        return False
    return bool(number == neutral(kind, element_name(first.type)))


def _rewrite(op: ir.Operation) -> None:
    scan = _scan_of(op)
    assert scan is not None, "chosen as one"
    with in_place_of(op):
        made = scan.of(op.operands[0])
    replace(op, made)
