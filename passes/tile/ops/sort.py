"""Tiles sorts: networks of exchanges (sort_steps.py), each a few long instructions.

Rows of elements lie on partitions, long ones on several. Beside the inputs goes the place of each
element, as float32, which is exact up to 2^24: it settles the order of equal elements, and tells
what pads a row to a power of two, as its place is beyond the row's.

Element a comes before b if b is padding, or if the comparator says so, or if it does not say the
reverse and a's place is the lower one; and a is none. No two elements are equal in that order, but
for padding, whose order does not matter. So the network needs not be stable to sort stably.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch_mlir import ir

from axonc.backends.numerics.dtypes import F32, U8, DType
from axonc.backends.program import TensorKind
from axonc.backends.targets.target import Engine
from axonc.dialects.neuron.ops import SortOp, isa
from axonc.dialects.ntile.builder import KernelBuilder
from axonc.dialects.ntile.program import View
from axonc.passes.graph.machine_dtype import machine_dtype
from axonc.passes.graph.shapes import shape_of
from axonc.passes.layout.storage import Lane, Storage
from axonc.passes.tile.elementwise.elementwise_expression import count_uses, expression_of
from axonc.passes.tile.elementwise.emit import emit_expression
from axonc.passes.tile.elementwise.expression_nodes import Expression, compare, is_bool, node
from axonc.passes.tile.loop_nests import MAX_TILE_ELEMENTS, nest_tiles
from axonc.passes.tile.ops.dynamic import in_device_memory
from axonc.passes.tile.ops.sort_steps import (
    Exchange,
    Loops,
    Regroup,
    Relayout,
    Step,
    leading_steps,
    sorting_steps,
)
from axonc.passes.tile.region_operands import leaf_keys
from axonc.passes.tile.values import Values

MAX_ROW_BYTES = 96 * 1024
"""Per partition, of all tensors that are sorted together: half of SBUF; the rest is for what an
exchange computes."""

SHORT_ROW = 32
"""Elements of a row that are not spread over partitions: transfers would take longer than that
saves."""

FULL_SORT = 8
"""A first part of a row longer than one in so many is taken from the sorted row."""


@dataclass(frozen=True)
class Layout:
    """Where the elements of a group of rows lie."""

    length: int
    """Elements of a row, a power of two."""
    chunks: int
    """Partitions of a row."""
    rows: int
    """Rows that lie side by side on partitions: a tile."""
    tiles: int
    """Tiles of the group, one behind the other in each partition."""

    @property
    def chunk(self) -> int:
        """Elements of a row in one partition."""
        return self.length // self.chunks

    @property
    def partitions(self) -> int:
        return self.rows * self.chunks

    @property
    def width(self) -> int:
        """Elements of one partition."""
        return self.tiles * self.chunk

    def regrouped(self, step: Regroup, partitions: int) -> Layout:
        """With the elements that are left, all rows of the group in fewer partitions."""
        total = self.rows * self.tiles
        rows = min(total, partitions // step.chunks)
        return Layout(self.chunks * step.kept, step.chunks, rows, -(-total // rows))


def tile_sort(values: Values, op: ir.Operation, dtype: DType) -> Storage:
    """The sorted rows, in device memory. What other sorts of the same inputs by the same comparator
    return is made along with it."""
    if op.results[0] in values.sorted:
        return values.sorted.pop(op.results[0])
    wanted = [op, *_siblings(op)]
    targets = {o.number: values.fresh_device_memory(o.results[0], "sorted") for o in wanted}
    for other in wanted[1:]:
        values.sorted[other.results[0]] = targets[other.number]
    inputs = [in_device_memory(values, v) for v in op.operands]
    rows, length = shape_of(op.operands[0])
    network = _Network(values.builder, op, length)
    partitions = values.builder.target.partitions
    first = network.layout(rows, partitions)
    for row in range(0, rows, first.rows * first.tiles):
        network.sort(inputs, targets, row, min(rows - row, first.rows * first.tiles), first)
    return targets[op.number]


def _siblings(op: ir.Operation) -> Iterator[ir.OpView]:
    """Sorts of the same inputs by the same comparator that return others of them."""
    seen = {op.number}
    for use in op.operands[0].uses:
        other = use.owner
        if other != op and isa(other, SortOp) and other.number not in seen and _alike(op, other):
            seen.add(other.number)
            yield other


def _alike(a: ir.Operation, b: ir.Operation) -> bool:
    same = list(a.operands) == list(b.operands) and a.count == b.count
    return same and str(a.regions[0].blocks[0]) == str(b.regions[0].blocks[0])


def power_of_two_from(count: int) -> int:
    """The smallest power of two that is not below `count`."""
    return 1 << (count - 1).bit_length()


class _Network:
    """What is sorted how: the tensors in SBUF (the inputs, then places), and the comparison."""

    def __init__(self, builder: KernelBuilder, op: ir.Operation, length: int) -> None:
        self.builder = builder
        self.inputs = len(op.operands)
        self.length, self.count = length, op.count
        self.dtypes = [*(machine_dtype(v.type) for v in op.operands), F32]
        self.padded = length != power_of_two_from(length)
        self.block = op.regions[0].blocks[0]
        self.kinds = [v.type for v in op.operands]
        self.kept = power_of_two_from(self.count)
        self.orders = {turned: self._order(turned) for turned in (False, True)}

    # ---- layouts ------------------------------------------------------------------------------

    def layout(self, rows: int, partitions: int) -> Layout:
        """For the sort of so many rows."""
        length = power_of_two_from(self.length)
        chunks = min(partitions // min(partitions, power_of_two_from(rows)), partitions)
        while chunks > 1 and (chunks * chunks > length or length // chunks < SHORT_ROW):
            chunks //= 2
        row_bytes = sum(dtype.size_bytes for dtype in self.dtypes)
        while length // chunks * row_bytes > MAX_ROW_BYTES and chunks < partitions:
            chunks *= 2
        if self.takes_part(length):
            while chunks > 1 and length // chunks < 4 * self.kept:
                chunks //= 2
        per_tile = min(rows, partitions // chunks)
        fitting = max(1, MAX_ROW_BYTES // (length // chunks * row_bytes))
        return Layout(length, chunks, per_tile, min(fitting, -(-rows // per_tile)))

    def takes_part(self, length: int) -> bool:
        """Whether only the first elements are sorted."""
        return self.kept * FULL_SORT <= length

    def steps(self, layout: Layout) -> Iterator[Step]:
        if self.takes_part(layout.length):
            return leading_steps(layout.length, layout.chunks, self.kept)
        return sorting_steps(layout.length, layout.chunks)

    # ---- the order ----------------------------------------------------------------------------

    def _order(self, turned: bool) -> Expression:
        """Whether the element at "high" (leaf 2i + 1) comes before that at "low" (leaf 2i);
        turned: or the reverse, where the last leaf is 1."""
        low, high = self._side(0), self._side(1)
        before = expression_of(self.block, _alternating(high, low))
        after = expression_of(self.block, _alternating(low, high))
        earlier = compare(high[-1], "LT", low[-1])
        order = _either(before, _both(_not(after), earlier))
        if self.padded:
            length = float(self.length)
            order = _either(compare(low[-1], "GE", length), order)
            order = _both(compare(high[-1], "LT", length), order)
        if turned:
            order = _logical("logical_xor", order, _leaf(2 * self.inputs + 2, U8, True))
        return count_uses(_shared(order))

    def _side(self, side: int) -> list[Expression]:
        leaves = [
            _leaf(2 * i + side, machine_dtype(kind), is_bool(kind))
            for i, kind in enumerate(self.kinds)
        ]
        return [*leaves, _leaf(2 * self.inputs + side, F32, False)]

    # ---- one group of rows --------------------------------------------------------------------

    def sort(
        self,
        inputs: Sequence[Storage],
        targets: dict[int, Storage],
        row: int,
        rows: int,
        layout: Layout,
    ) -> None:
        """Rows [row, row + rows) of the inputs into those of the targets."""
        views = [self._load(source, row, rows, layout) for source in inputs]
        views.append(self._places(layout))
        before = views
        for step in self.steps(layout):
            if isinstance(step, Exchange) and step.continues:
                self._exchange(step, before, views, layout)
            elif isinstance(step, Exchange):
                before, views = views, [self._new(layout, v.dtype, "sorting") for v in views]
                self._exchange(step, before, views, layout)
            elif isinstance(step, Relayout):
                views = [self._relayout(view, layout, step) for view in views]
            else:
                after = layout.regrouped(step, self.builder.target.partitions)
                views = [self._regroup(view, layout, after) for view in views]
                layout = after
        for number, target in targets.items():
            self._store(views[number], target, row, rows, layout)

    def _new(self, layout: Layout, dtype: DType, name: str) -> View:
        return self.builder.sbuf((layout.partitions, layout.width), dtype, name)

    def _load(self, source: Storage, row: int, rows: int, layout: Layout) -> View:
        """What is padding, or no row, is zero: its place tells it apart."""
        view = self._new(layout, source.dtype, "sorting")
        if self.padded or rows < layout.rows * layout.tiles:
            self.builder.memset(view, 0.0)
        strides = (source.strides[0], source.strides[1])
        begin = row * strides[0]
        for tile, dims, offset in _pieces(view, layout, rows, self.length, strides):
            self.builder.dma(tile, source.hbm_view(list(dims), begin + offset))
        return view

    def _store(self, view: View, target: Storage, row: int, rows: int, layout: Layout) -> None:
        strides = (target.strides[0], target.strides[1])
        begin = row * strides[0]
        for tile, dims, offset in _pieces(view, layout, rows, self.count, strides):
            self.builder.dma(target.hbm_view(list(dims), begin + offset), tile)

    def _places(self, layout: Layout) -> View:
        """The place of each element within its row."""
        view = self._new(layout, F32, "places")
        every = _strided(view, ((0, layout.tiles), (1, layout.chunk)))
        whole = replace(every, dims=((layout.chunk, layout.tiles), (1, layout.chunk)))
        self.builder.emit("iota", Engine.GPSIMD, dst=whole, step1=1)
        if layout.chunks > 1:
            begins = np.arange(layout.partitions) % layout.chunks * layout.chunk
            column = self.builder.constant(begins.reshape(-1, 1), F32, "chunks")
            self.builder.emit(
                "tensor_scalar", Engine.VECTOR, dst=view, src=view, scalar0=column, op0="add"
            )
        return view

    # ---- changes of layout ---------------------------------------------------------------------

    def _scratch(self, layout: Layout, length: int, dtype: DType) -> View:
        """Device memory for all rows of a group, of `length` elements."""
        size = layout.rows * layout.tiles * length
        return self.builder.hbm("relayout", (size,), dtype, TensorKind.SCRATCH)

    def _relayout(self, view: View, layout: Layout, step: Relayout) -> View:
        memory = self._scratch(layout, layout.length, view.dtype)
        result = self._new(layout, view.dtype, "sorting")
        for tile, is_middle in ((view, not step.to_middle), (result, step.to_middle)):
            there = replace(memory, dims=_middle_dims(layout) if is_middle else _row_dims(layout))
            here = _strided(tile, _middle_loops(layout)) if is_middle else tile
            self.builder.dma(*((there, here) if tile is view else (here, there)))
        return result

    def _regroup(self, view: View, before: Layout, after: Layout) -> View:
        """The first elements of every partition; rows that the new layout has more than the old one
        are zero."""
        memory = self._scratch(before, after.length, view.dtype)
        kept = after.length // before.chunks
        per_tile = before.rows * after.length
        there = ((kept, before.partitions), (per_tile, before.tiles), (1, kept))
        here = ((before.chunk, before.tiles), (1, kept))
        self.builder.dma(replace(memory, dims=there), _strided(view, here))
        result = self._new(after, view.dtype, "sorting")
        rows = before.rows * before.tiles
        if rows < after.rows * after.tiles:
            self.builder.memset(result, 0.0)
        strides = (after.length, 1)
        for tile, dims, offset in _pieces(result, after, rows, after.length, strides):
            shift = offset * view.dtype.size_bytes
            self.builder.dma(tile, replace(memory, byte_offset=shift, dims=dims))
        return result

    # ---- exchanges ----------------------------------------------------------------------------

    def _exchange(
        self, step: Exchange, views: Sequence[View], results: Sequence[View], layout: Layout
    ) -> None:
        """The results are memory of their own: an operation then depends on the few that made what
        it reads, not on all that ever wrote there."""
        tiles = (layout.chunk, layout.tiles)
        loops = ((tiles, *step.low_loops), (tiles, *step.high_loops))
        low, high = (
            [_lane(view, start, side) for view in views]
            for start, side in zip((step.low, step.high), loops, strict=True)
        )
        sizes = (layout.tiles, *(size for _, size in step.low_loops))
        swapped = self.builder.sbuf((layout.partitions, math.prod(sizes)), U8, "swapped")
        mask = _lane(swapped, 0, _row_major(sizes))
        self._compare(step, low, high, sizes, mask, layout)
        for a, b, result in zip(low, high, results, strict=True):
            self._choose(sizes, mask, a, b, _lane(result, step.low, loops[0]))
            if not step.keeps_low:
                self._choose(sizes, mask, b, a, _lane(result, step.high, loops[1]))

    def _compare(
        self,
        step: Exchange,
        low: Sequence[Lane],
        high: Sequence[Lane],
        sizes: tuple[int, ...],
        mask: Lane,
        layout: Layout,
    ) -> None:
        """mask = whether a pair is to be swapped."""
        order = self.orders[step.direction is not None]
        lanes = [lane for pair in zip(low, high, strict=True) for lane in pair]
        if step.direction is not None:
            bits = np.arange(layout.partitions) % layout.chunks >> step.direction & 1
            column = self.builder.constant(bits.reshape(-1, 1), U8, "directions")
            lanes.append(_lane(column, 0, tuple((0, size) for size in sizes)))
        keys = leaf_keys(order)
        emit_expression(
            self.builder, order, sizes, [lanes[number] for number, _ in keys], keys, mask
        )

    def _choose(
        self, sizes: tuple[int, ...], mask: Lane, own: Lane, other: Lane, result: Lane
    ) -> None:
        """result = `other` where the mask says so, else `own`."""
        nest = nest_tiles(sizes, [mask, own, other, result], MAX_TILE_ELEMENTS)
        for piece, lanes in nest:
            where, kept, taken, out = (lane.view(piece) for lane in lanes)
            self.builder.copy(out, kept)
            self.builder.emit(
                "tensor_copy_predicated", Engine.VECTOR, dst=out, src=taken, predicate=where
            )


# ---- views -------------------------------------------------------------------------------------


def _lane(view: View, start: int, loops: Loops) -> Lane:
    strides = tuple(stride for stride, _ in loops)
    offset = view.byte_offset + start * view.dtype.size_bytes
    return Lane(view.buffer, view.dtype, 0, view.num_partitions, offset, strides)


def _strided(view: View, loops: Loops) -> View:
    return replace(view, dims=loops)


def _row_major(sizes: Sequence[int]) -> Loops:
    loops, stride = [], 1
    for size in reversed(sizes):
        loops.append((stride, size))
        stride *= size
    return tuple(reversed(loops))


def _row_dims(layout: Layout) -> Loops:
    """Of device memory with whole rows: partitions, tiles, elements."""
    per_tile = layout.partitions * layout.chunk
    return ((layout.chunk, layout.partitions), (per_tile, layout.tiles), (1, layout.chunk))


def _middle_dims(layout: Layout) -> Loops:
    """As `_row_dims`, for the layout MIDDLE: rows, middle, tiles, top, low."""
    low = layout.chunk // layout.chunks
    per_tile = layout.partitions * layout.chunk
    return (
        (layout.length, layout.rows),
        (low, layout.chunks),
        (per_tile, layout.tiles),
        (layout.chunk, layout.chunks),
        (1, low),
    )


def _middle_loops(layout: Layout) -> Loops:
    low = layout.chunk // layout.chunks
    return ((layout.chunk, layout.tiles), (low, layout.chunks), (1, low))


def _pieces(
    view: View, layout: Layout, rows: int, length: int, strides: tuple[int, int]
) -> Iterator[tuple[View, Loops, int]]:
    """Views of a tile, with the dims and offset (in elements) of device memory, of the first
    `length` elements of `rows` rows; strides: of rows and elements there."""
    per_row, step = strides
    chunk = layout.chunk
    if layout.chunks == 1:
        for tile, count in _row_tiles(layout, rows):
            begin = tile * chunk
            dims = ((per_row, count), (step, length))
            yield view[0:count, begin : begin + length], dims, tile * layout.rows * per_row
        return
    full, rest = divmod(length, chunk)
    for tile, count in _row_tiles(layout, rows):
        for row in range(count):
            first, begin = row * layout.chunks, tile * chunk
            offset = (tile * layout.rows + row) * per_row
            if full:
                part = view[first : first + full, begin : begin + chunk]
                yield part, ((chunk * step, full), (step, chunk)), offset
            if rest:
                last = view[first + full : first + full + 1, begin : begin + rest]
                yield last, ((0, 1), (step, rest)), offset + full * chunk * step


def _row_tiles(layout: Layout, rows: int) -> Iterator[tuple[int, int]]:
    """(tile, rows in it)."""
    for tile in range(layout.tiles):
        count = min(layout.rows, rows - tile * layout.rows)
        if count > 0:
            yield tile, count


# ---- expressions -------------------------------------------------------------------------------


def _leaf(number: int, dtype: DType, boolean: bool) -> Expression:
    return Expression("leaf", (), dtype, argument=number, is_bool=boolean)


def _alternating(a: Sequence[Expression], b: Sequence[Expression]) -> list[Expression]:
    """The comparator's arguments: of each input the elements at two places."""
    return [leaf for pair in zip(a[:-1], b[:-1], strict=True) for leaf in pair]


def _logical(op: str, a: Expression, b: Expression) -> Expression:
    made = node(op, a, b, dtype=U8)
    made.is_bool = True
    return made


def _both(a: Expression, b: Expression) -> Expression:
    return _logical("logical_and", a, b)


def _either(a: Expression, b: Expression) -> Expression:
    return _logical("logical_or", a, b)


def _not(a: Expression) -> Expression:
    return compare(a, "EQ", 0.0)


def _shared(root: Expression) -> Expression:
    """The expression with equal parts made one."""
    known: dict[tuple[object, ...], Expression] = {}
    done: dict[int, Expression] = {}

    def visit(e: Expression) -> Expression:
        if id(e) not in done:
            args = tuple(visit(arg) for arg in e.args)
            value = float(e.value).hex()
            key = (e.op, tuple(map(id, args)), e.dtype, value, e.direction, e.argument, e.is_bool)
            done[id(e)] = known.setdefault(key, replace(e, args=args, uses=0))
        return done[id(e)]

    return visit(root)
