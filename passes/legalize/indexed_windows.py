"""The windows of a StableHLO gather or scatter, as rows of a table: part of `legalize-to-neuron`.

Every place inside a window is an index of its own: start + offset. The dims that are indexed, and
those of a batch, are flattened into one, the rows; the other dims stay whole.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from torch_mlir import ir

from axonc.dialects.attributes import integer
from axonc.dialects.neuron import builder as build
from axonc.dialects.stablehlo import dense_integers, gather_dimensions, scatter_dimensions
from axonc.passes.graph.fold_constants import fold, splat_of
from axonc.passes.legalize.dynamic import wide
from axonc.passes.unsupported import Unsupported

MOST_ROWS = 1 << 20
"""More would be more DMA descriptors than a program should have."""


@dataclass(frozen=True)
class IndexedWindows:
    """The windows of a table that a gather or a scatter names by index vectors."""

    shape: tuple[int, ...]
    """The shape of the table."""
    indices: ir.Value
    sizes: tuple[int, ...]
    """The sizes of a window, by table dim."""
    indexed: tuple[int, ...]
    """Table dims that the index vector counts, in its order."""
    batch: dict[int, int]
    """By table dim, the dim of the indices it goes along with."""
    collapsed: frozenset[int]
    """Table dims of one element in a window, which has no dim for them."""
    offset_dims: tuple[int, ...]
    """Dims of the windows among those of all of them."""
    vector_dim: int
    whole: frozenset[int] = frozenset()
    """Further dims to flatten: windows begin at 0 there."""

    @cached_property
    def places(self) -> tuple[int, ...]:
        """Sizes of the dims of the indices without the index vector."""
        shape = build.shape_of(self.indices)
        return tuple(n for d, n in enumerate(shape) if d != self.vector_dim)

    @cached_property
    def windowed(self) -> list[int]:
        """Flattened dims of which a window has several elements."""
        return [d for d in self.numbered if self.sizes[d] != 1]

    @cached_property
    def numbered(self) -> list[int]:
        """Dims that are flattened into one."""
        return sorted({*self.indexed, *self.batch, *self.whole})

    @cached_property
    def kept(self) -> list[int]:
        """The other dims."""
        return [d for d in range(len(self.shape)) if d not in self.numbered]

    @property
    def row_count(self) -> int:
        """Rows of the flattened table."""
        return math.prod(self.shape[d] for d in self.numbered)

    @cached_property
    def rows_shape(self) -> tuple[int, ...]:
        """[places, windowed]: what is numbered."""
        return (*self.places, *(self.sizes[d] for d in self.windowed))

    @cached_property
    def order(self) -> list[int]:
        """Of the dims [places, windows] of all windows, as they are in the program, where each lies
        in [places, windowed, kept]; dims of one element that windows do not have come last."""
        count = len(self.places)
        where = {d: count + i for i, d in enumerate([*self.windowed, *self.kept])}
        inside = iter(d for d in range(len(self.shape)) if d not in self.collapsed)
        outside = iter(range(count))
        order = []
        for dim in range(count + len(self.offset_dims)):
            found = where.get(next(inside)) if dim in self.offset_dims else next(outside)
            order += [] if found is None else [found]
        rank = count + len(where)
        return order + [p for p in range(rank) if p not in order]

    def component(self, dim: int) -> ir.Value:
        """[places] the index along `dim`, an indexed one."""
        shape = build.shape_of(self.indices)
        if self.vector_dim == len(shape):
            return wide(self.indices)
        number = self.indexed.index(dim)
        start = [number if d == self.vector_dim else 0 for d in range(len(shape))]
        limit = [number + 1 if d == self.vector_dim else n for d, n in enumerate(shape)]
        return wide(
            fold(build.reshape(fold(build.slice_(self.indices, start, limit)), self.places))
        )

    def clamped_start(self, dim: int) -> ir.Value:
        """[places], so that the window lies within the table."""
        component = self.component(dim)
        last = self.shape[dim] - self.sizes[dim]
        low, high = (build.splat_constant(n, component.type) for n in (0, last))
        raised = fold(build.create("maximum", (component, low), component.type))
        return fold(build.create("minimum", (raised, high), component.type))


def windows_of_gather(op: ir.Operation) -> IndexedWindows:
    """The windows of a `stablehlo.gather`."""
    dims = gather_dimensions(op)
    pairs = zip(dims.operand_batching_dims, dims.start_indices_batching_dims, strict=True)
    return IndexedWindows(
        build.shape_of(op.operands[0]),
        op.operands[1],
        dense_integers(op.attributes["slice_sizes"]),
        tuple(dims.start_index_map),
        dict(pairs),
        frozenset((*dims.collapsed_slice_dims, *dims.operand_batching_dims)),
        tuple(dims.offset_dims),
        dims.index_vector_dim,
    )


def windows_of_scatter(op: ir.Operation) -> IndexedWindows:
    """Of a `stablehlo.scatter`: what its first tensor tells; all of them have the same."""
    dims = scatter_dimensions(op)
    count = len(op.operands) // 2
    shape = build.shape_of(op.operands[0])
    updates = build.shape_of(op.operands[count + 1])
    single = frozenset((*dims.inserted_window_dims, *dims.input_batching_dims))
    sizes = iter([updates[d] for d in dims.update_window_dims])
    pairs = zip(dims.input_batching_dims, dims.scatter_indices_batching_dims, strict=True)
    return IndexedWindows(
        shape,
        op.operands[count],
        tuple(1 if d in single else next(sizes) for d in range(len(shape))),
        tuple(dims.scattered_dims_to_operand_dims),
        dict(pairs),
        single,
        tuple(dims.update_window_dims),
        dims.index_vector_dim,
    )


def row_numbers(it: IndexedWindows) -> ir.Value:
    """[places, windowed] the row of the flattened table of each element; windows that reach beyond
    the table are moved into it.

    Raises:
        Unsupported: too many rows, or more than 32 bits can count.
    """
    shape = it.rows_shape
    sizes = [it.shape[d] for d in it.numbered]
    if math.prod(shape) > MOST_ROWS:
        raise Unsupported(f"{math.prod(shape)} rows of windows", "index larger slices")
    if it.row_count >= 2**31:
        raise Unsupported(f"{it.row_count} rows cannot be numbered in 32 bits")
    number: ir.Value | None = None
    for dim, size in zip(it.numbered, sizes, strict=True):
        index = _index(it, dim, shape)
        number = index if number is None else _sum(_product(number, size), index)
    if number is None:  # nothing is indexed: the one row there is
        return build.splat_constant(0, build.tensor(shape, ir.IntegerType.get_signless(32)))
    return number


def _index(it: IndexedWindows, dim: int, shape: Sequence[int]) -> ir.Value:
    """Of dim `dim` of the table, for each element: its batch, or start of the window + offset."""
    kind = build.tensor(shape, wide_element(it.indices))
    if dim in it.batch:
        place = it.batch[dim]
        return iota(place - (place > it.vector_dim), kind)
    if dim in it.indexed:
        start = it.clamped_start(dim)
        spread = fold(build.broadcast(start, shape, range(len(it.places))))
    else:
        spread = build.splat_constant(0, kind)
    if dim not in it.windowed:
        return spread
    return _sum(spread, iota(len(it.places) + it.windowed.index(dim), kind))


def are_inside(it: IndexedWindows) -> ir.Value | None:
    """[places, windowed] i1: whether the window of each element lies within the table; None when
    all of them do."""
    tests = []
    for dim in it.indexed:
        index = it.component(dim)
        for direction, bound in (("GE", 0), ("LE", it.shape[dim] - it.sizes[dim])):
            limit = build.splat_constant(bound, index.type)
            tests.append(fold(build.compare(index, limit, direction)))
    unsure = [t for t in tests if splat_of(t) != 1]
    if not unsure:
        return None
    inside = unsure[0]
    for test in unsure[1:]:
        inside = fold(build.create("and", (inside, test), inside.type))
    return fold(build.broadcast(inside, it.rows_shape, range(len(it.places))))


def wide_element(indices: ir.Value) -> ir.Type:
    """The type of `wide(indices)`."""
    name = str(indices.type.element_type)
    unsigned = name == "ui32"
    return ir.IntegerType.get_unsigned(32) if unsigned else ir.IntegerType.get_signless(32)


def flat_table(it: IndexedWindows, table: ir.Value) -> ir.Value:
    """[rows, ...kept]."""
    front = fold(build.transpose(table, [*it.numbered, *it.kept]))
    return fold(build.reshape(front, [it.row_count, *(table.type.shape[d] for d in it.kept)]))


def iota(dim: int, kind: ir.RankedTensorType) -> ir.Value:
    """Each element is its index along `dim`."""
    return build.create("iota", (), kind, {"dimension": integer(dim)})


def _sum(a: ir.Value, b: ir.Value) -> ir.Value:
    return fold(build.create("add", (a, b), a.type))


def _product(value: ir.Value, factor: int) -> ir.Value:
    scale = build.splat_constant(factor, value.type)
    return fold(build.create("multiply", (value, scale), value.type))
