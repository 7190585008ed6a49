"""StableHLO gathers of windows, and of batches, as row gathers: part of `legalize-to-neuron`.

Every place inside a window is an index of its own: start + offset. Then all indexed dims are
gathered element by element, the others stay whole, and what is left is `neuron.gather_rows` on a
table whose indexed dims are flattened into one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from torch_mlir import ir

from axonc.dialects.attributes import integer
from axonc.dialects.neuron import builder as build
from axonc.dialects.stablehlo import dense_integers, gather_dimensions
from axonc.passes.graph.fold_constants import fold
from axonc.passes.legalize.dynamic import wide
from axonc.passes.unsupported import Unsupported

MOST_ROWS = 1 << 20
"""More would be more DMA descriptors than a program should have."""


@dataclass(frozen=True)
class WindowGather:
    """Dims of the table: indexed (by the index vector, in its order), batch (with the dim of the
    indices each goes along with), collapsed: dropped in the result."""

    table: ir.Value
    indices: ir.Value
    sizes: tuple[int, ...]
    """Of a window."""
    indexed: tuple[int, ...]
    batch: dict[int, int]
    collapsed: frozenset[int]
    offset_dims: tuple[int, ...]
    vector_dim: int

    @cached_property
    def places(self) -> tuple[int, ...]:
        """Sizes of the dims of the indices without the index vector."""
        shape = build.shape_of(self.indices)
        return tuple(n for d, n in enumerate(shape) if d != self.vector_dim)

    @cached_property
    def windowed(self) -> list[int]:
        """Indexed dims of which a window has several elements."""
        return sorted(d for d in self.indexed if self.sizes[d] != 1)

    @cached_property
    def numbered(self) -> list[int]:
        """Dims that are flattened into one."""
        return sorted({*self.indexed, *self.batch})

    @cached_property
    def kept(self) -> list[int]:
        """The other dims."""
        return [d for d in range(self.table.type.rank) if d not in self.numbered]


def window_gather(op: ir.Operation) -> ir.Value:
    """Any gather.

    Raises:
        Unsupported: too many rows, or more than the type of the indices can count.
    """
    it = _described(op)
    numbers = _row_numbers(it)
    gathered = build.gather_rows(_flat_table(it), numbers)
    return build.reshape(_in_order(gathered, it), op.results[0].type.shape)


def _described(op: ir.Operation) -> WindowGather:
    dims = gather_dimensions(op)
    pairs = zip(dims.operand_batching_dims, dims.start_indices_batching_dims, strict=True)
    return WindowGather(
        op.operands[0],
        op.operands[1],
        dense_integers(op.attributes["slice_sizes"]),
        tuple(dims.start_index_map),
        dict(pairs),
        frozenset((*dims.collapsed_slice_dims, *dims.operand_batching_dims)),
        tuple(dims.offset_dims),
        dims.index_vector_dim,
    )


def _row_numbers(it: WindowGather) -> ir.Value:
    """[places, windows] the row of the flattened table of each element."""
    shape = (*it.places, *(it.sizes[d] for d in it.windowed))
    sizes = [it.table.type.shape[d] for d in it.numbered]
    if math.prod(shape) > MOST_ROWS:
        raise Unsupported(f"gather of {math.prod(shape)} rows", "gather larger slices")
    if math.prod(sizes) >= 2**31:
        raise Unsupported(f"{math.prod(sizes)} rows cannot be numbered in 32 bits")
    number: ir.Value | None = None
    for dim, size in zip(it.numbered, sizes, strict=True):
        index = _index(it, dim, shape)
        number = index if number is None else _sum(_product(number, size), index)
    if number is None:  # nothing is indexed: the one row there is
        return build.splat_constant(0, build.tensor(shape, ir.IntegerType.get_signless(32)))
    return number


def _index(it: WindowGather, dim: int, shape: Sequence[int]) -> ir.Value:
    """Of dim `dim` of the table, for each element: its batch, or start of the window + offset."""
    kind = build.tensor(shape, wide(it.indices).type.element_type)
    if dim in it.batch:
        place = it.batch[dim]
        return _iota(place - (place > it.vector_dim), kind)
    start = _clamped_start(it, dim)
    spread = fold(build.broadcast(start, shape, range(len(it.places))))
    if dim not in it.windowed:
        return spread
    return _sum(spread, _iota(len(it.places) + it.windowed.index(dim), kind))


def _clamped_start(it: WindowGather, dim: int) -> ir.Value:
    """[places], so that the window lies within the table."""
    component = wide(_component(it, it.indexed.index(dim)))
    last = it.table.type.shape[dim] - it.sizes[dim]
    low, high = (build.splat_constant(n, component.type) for n in (0, last))
    raised = fold(build.create("maximum", (component, low), component.type))
    return fold(build.create("minimum", (raised, high), component.type))


def _component(it: WindowGather, number: int) -> ir.Value:
    shape = build.shape_of(it.indices)
    if it.vector_dim == len(shape):
        return it.indices
    start = [number if d == it.vector_dim else 0 for d in range(len(shape))]
    limit = [number + 1 if d == it.vector_dim else n for d, n in enumerate(shape)]
    return fold(build.reshape(fold(build.slice_(it.indices, start, limit)), it.places))


def _iota(dim: int, kind: ir.RankedTensorType) -> ir.Value:
    return build.create("iota", (), kind, {"dimension": integer(dim)})


def _sum(a: ir.Value, b: ir.Value) -> ir.Value:
    return fold(build.create("add", (a, b), a.type))


def _product(value: ir.Value, factor: int) -> ir.Value:
    scale = build.splat_constant(factor, value.type)
    return fold(build.create("multiply", (value, scale), value.type))


def _flat_table(it: WindowGather) -> ir.Value:
    """[rows, ...kept]; of the kept dims what a window has, which begins at 0 there."""
    limit = [it.sizes[d] if d in it.kept else n for d, n in enumerate(it.table.type.shape)]
    part = it.table
    if limit != list(it.table.type.shape):
        part = fold(build.slice_(part, [0] * len(limit), limit))
    front = fold(build.transpose(part, [*it.numbered, *it.kept]))
    rows = math.prod(it.table.type.shape[d] for d in it.numbered)
    return fold(build.reshape(front, [rows, *(it.sizes[d] for d in it.kept)]))


def _in_order(gathered: ir.Value, it: WindowGather) -> ir.Value:
    """The dims of [places, windows, kept] as in the result, but for dims of one element."""
    count = len(it.places)
    where = {d: count + i for i, d in enumerate([*it.windowed, *it.kept])}
    inside = iter(d for d in range(it.table.type.rank) if d not in it.collapsed)
    outside = iter(range(count))
    order = []
    for dim in range(count + len(it.offset_dims)):
        found = where.get(next(inside)) if dim in it.offset_dims else next(outside)
        order += [] if found is None else [found]
    # A kept dim that the result drops has one element: last, where a reshape drops it.
    order += [p for p in range(gathered.type.rank) if p not in order]
    return build.transpose(gathered, order)
