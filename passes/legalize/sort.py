"""StableHLO sorts, and first parts of them (top-k): part of `legalize-to-neuron`.

Few elements are compared each with every other (sort_by_counting.py), which takes a few long
instructions; more by the network of `neuron.sort`. The network carries what the comparator reads;
what only moves along is gathered by the places that come out, or, if it numbers the elements (an
argsort, a top-k), is those places.

Where nothing but the first k elements is read, k are sorted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch_mlir import ir

from axonc.dialects.neuron import builder as build
from axonc.dialects.neuron.ops import BroadcastOp, IotaOp, ReshapeOp, isa
from axonc.dialects.neuron.rules import MOST_SORTED
from axonc.dialects.stablehlo import dense_integers
from axonc.passes.graph.fold_constants import fold, splat_of
from axonc.passes.legalize.indexed_windows import iota
from axonc.passes.legalize.region_on_tensors import apply_region
from axonc.passes.legalize.sort_by_counting import sort_by_counting
from axonc.passes.unsupported import Unsupported

MOST_PAIRS = 1 << 16
"""Pairs of elements up to which every one is compared: there the network takes as long."""

MOST_GATHERED = 1 << 17
"""Elements that are gathered after a sort; more go along through the network."""


def sort(op: ir.Operation) -> tuple[ir.Value, ...]:
    """The operands of `stablehlo.sort`, sorted, or the first elements of them.

    Raises:
        Unsupported: an operation in the comparator that is not elementwise; rows too long.
    """
    shape = build.shape_of(op.operands[0])
    if not shape or 0 in shape:
        return tuple(op.operands)
    dim = -1
    if "dimension" in op.attributes:
        dim = ir.IntegerAttr(op.attributes["dimension"]).value
    dim %= len(shape)
    if shape[dim] == 1:
        return tuple(op.operands)
    if math.prod(shape) * shape[dim] <= MOST_PAIRS:
        return sort_by_counting(op, dim)
    if shape[dim] > MOST_SORTED:
        raise Unsupported(f"sort of {shape[dim]} elements", f"at most {MOST_SORTED} in a row")
    return _Sort(op, dim, _read_elements(op, dim)).results()


def _read_elements(op: ir.Operation, dim: int) -> int:
    """How many elements from the first on are read of any result."""
    total = build.shape_of(op.operands[0])[dim]
    limits = [1]
    for result in op.results:
        for use in result.uses:
            user = use.owner.operation
            if user.name != "stablehlo.slice":
                return total
            limits.append(dense_integers(user.attributes["limit_indices"])[dim])
    return max(limits)


@dataclass(frozen=True)
class _Sort:
    """A sort, done in rows [rows, n]."""

    op: ir.Operation
    dim: int
    """The dim that is sorted along."""
    count: int
    """How many elements, from the first on, are wanted."""

    def results(self) -> tuple[ir.Value, ...]:
        """Each [..., count, ...]."""
        operands = list(self.op.operands)
        carried = [i for i in range(len(operands)) if self._is_carried(i)]
        inputs = [self._as_rows(operands[i]) for i in carried]
        return tuple(
            self._back(
                self._sorted(inputs, carried.index(i))
                if i in carried
                else self._moved(value, self._sorted(inputs, len(inputs)))
            )
            for i, value in enumerate(operands)
        )

    def _is_carried(self, number: int) -> bool:
        """Whether the comparator reads it, or it is too much to be gathered."""
        block = self.op.regions[0].blocks[0]
        arguments = list(block.arguments)[2 * number : 2 * number + 2]
        if any(list(a.uses) for a in arguments):
            return True
        gathered = self._rows() * self.count
        return gathered > MOST_GATHERED and not self._numbers(self.op.operands[number])

    def _numbers(self, value: ir.Value) -> bool:
        """Whether each element is its place along the dim."""
        return _counts_along(value, self.dim)

    def _rows(self) -> int:
        shape = build.shape_of(self.op.operands[0])
        return math.prod(shape) // shape[self.dim]

    def _order_of_dims(self) -> list[int]:
        rank = len(build.shape_of(self.op.operands[0]))
        return [*(d for d in range(rank) if d != self.dim), self.dim]

    def _as_rows(self, value: ir.Value) -> ir.Value:
        last = fold(build.transpose(value, self._order_of_dims()))
        return fold(build.reshape(last, [self._rows(), build.shape_of(value)[self.dim]]))

    def _back(self, rows: ir.Value) -> ir.Value:
        """[rows, count] with the dim where it was."""
        shape, order = build.shape_of(self.op.operands[0]), self._order_of_dims()
        apart = fold(build.reshape(rows, [*(shape[d] for d in order[:-1]), self.count]))
        return fold(build.transpose(apart, [order.index(d) for d in range(len(order))]))

    def _sorted(self, inputs: Sequence[ir.Value], number: int) -> ir.Value:
        return build.sort(inputs, number, self.count, self._compared)

    def _compared(self, arguments: Sequence[ir.Value]) -> ir.Value:
        """The comparator as neuron operations; what it does not read may be anything."""
        region = self.op.regions[0]
        _refuse_outer_values(region)
        carried = iter(arguments)
        given: list[ir.Value] = []
        for number in range(len(self.op.operands)):
            pair = (next(carried), next(carried)) if self._is_carried(number) else None
            given += pair or (arguments[0], arguments[0])
        return apply_region(region, given, "sort that compares", "compare the elements")[0]

    def _moved(self, value: ir.Value, places: ir.Value) -> ir.Value:
        """[rows, count] elements at these places [rows, count]."""
        if self._numbers(value):
            return build.convert(places, value.type.element_type)
        rows, length = self._rows(), build.shape_of(value)[self.dim]
        if rows * length >= 2**31:
            raise Unsupported(f"{rows * length} elements cannot be numbered in 32 bits")
        flat = fold(build.reshape(self._as_rows(value), [rows * length]))
        if rows > 1:
            scale = build.splat_constant(length, places.type)
            first = fold(build.create("multiply", (iota(0, places.type), scale), places.type))
            places = build.create("add", (first, places), places.type)
        return build.gather_rows(flat, places)


def _counts_along(value: ir.Value, dim: int) -> bool:
    """Whether each element is its index along `dim`: an iota, or one that was given more dims."""
    owner = value.owner
    if isinstance(owner, ir.Block):
        return False
    if isa(owner, IotaOp):
        return bool(owner.dimension == dim)
    if isa(owner, BroadcastOp) and dim in owner.dims:
        source = owner.dims.index(dim)
        whole = build.shape_of(owner.operand)[source] == build.shape_of(value)[dim]
        return whole and _counts_along(owner.operand, source)
    if isa(owner, ReshapeOp):
        before, after = (_large_dims(v) for v in (owner.operand, value))
        same = [n for _, n in before] == [n for _, n in after]
        numbers = [d for d, _ in after]
        return (
            same and dim in numbers and _counts_along(owner.operand, before[numbers.index(dim)][0])
        )
    return False


def _large_dims(value: ir.Value) -> list[tuple[int, int]]:
    """(dim, size) of those with several elements."""
    return [(d, n) for d, n in enumerate(build.shape_of(value)) if n > 1]


def _refuse_outer_values(region: ir.Region) -> None:
    """A comparator that reads what only the program computes, besides its arguments."""
    block = region.blocks[0]
    inside = {result for op in block.operations for result in op.operation.results}
    inside |= set(block.arguments)
    for op in block.operations:
        for value in op.operation.operands:
            if value not in inside and splat_of(value) is None:
                raise Unsupported("sort that compares by a value from outside", "sort by a key")
