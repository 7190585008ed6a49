"""Chooses, for the graph as a whole, which dims of every tensor lie on the partition axis.

Why: a matmul wants its contraction on partitions, a reduction wants its axis off them, and every
disagreement costs a transpose on the tensor engine and an eviction. Swapping the operands of a
matmul transposes its result for free, so the choice is made over all ops together.

Precondition: `neuron` ops, elementwise ops inside `neuron.fused` or a dot's epilogue.
Postcondition: every op has `layout.rows` (result dims on partitions, most significant first; empty:
replicated on all partitions); dots also have `layout.stationary` ("lhs" or "rhs") and
`layout.batch_rows` (whether the batch dims of the operands are on partitions above the
contraction).

How: backward, every value collects what its consumers wish; forward, every op takes the candidate
with the least modelled cost of conversions, given what its operands already have. A second round
knows the choices of the first, so that broadcast operands can follow their consumers. Near-linear
in ops.

Before:
    %s = "neuron.dot"(%q, %k) ... // q, k: 1x16x128x64, contract dim 3
    %p = "neuron.softmax"(%s) {axis = 3}
After:
    %s = "neuron.dot"(%q, %k) {layout.batch_rows = 1, layout.rows = [2], layout.stationary =
    "lhs"} %p = "neuron.softmax"(%s) {axis = 3, layout.rows = [2]}

Leaves alone: arguments (weights are packed as their consumer wants them; inputs are loaded in any
layout) and constants.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from torch_mlir import ir

from axonc.backends.numerics.dtypes import F32
from axonc.backends.targets import find_target
from axonc.backends.targets.target import Engine, Target
from axonc.dialects.attributes import integer_list_array, integer_lists
from axonc.dialects.neuron.ops import (
    COLLECTIVES,
    AllReduceOp,
    ConcatenateOp,
    ConvolutionOp,
    DotOp,
    DynamicSliceOp,
    DynamicUpdateSliceOp,
    FusedOp,
    GatherRowsOp,
    LayerNormOp,
    MaskedSoftmaxOp,
    OpClass,
    PartitionIdOp,
    ReduceOp,
    ReduceWindowOp,
    RepeatOp,
    RmsNormOp,
    ScatterRowsOp,
    SoftmaxOp,
    SortOp,
    TransposeOp,
    isa,
    kind_of,
)
from axonc.dialects.neuron.repeat import Repeat, block_function, is_repeated
from axonc.dialects.neuron.window_rules import convolution_dims
from axonc.dialects.ntile import ops as ntile
from axonc.dialects.ntile.reader import body
from axonc.passes.base import Pass
from axonc.passes.graph.dot_geometry import LHS, RHS, DotGeometry, dot_geometry
from axonc.passes.graph.dot_time import matmul_ns
from axonc.passes.graph.module import FUNCTION
from axonc.passes.graph.shapes import PartitionDims, Shape, normalised, shape_of
from axonc.passes.layout.layout_costs import (
    DEVICE_MEMORY_CONVERSION_NS,
    FIXED_CONVERSION_NS,
    SHORT_ROW_BYTES_PER_NS,
    STACKED_EVICTION_NS,
    load_ns,
    streaming_ns,
)
from axonc.passes.layout.layout_dims import (
    MAX_REPLICATED_ELEMENTS,
    UNROWABLE,
    default_rows,
    has_few_features,
    kept_dims,
    operand_candidates,
    reduced_dims,
    reduces_everything,
    region_broadcasts,
    stacks_whole_tiles,
    windowed_dims,
)
from axonc.passes.layout.view_ops import (
    VIEW_OPS,
    abstract_storage,
    operand_dims,
    result_dims,
    unbroadcast,
)

ROUNDS = 2
"""Rounds of choices; the second sees the first's."""


@dataclass(frozen=True)
class Wish:
    """What one consumer wants of a value: one of `rows`, or any rows without the dims in
    `avoid`."""

    rows: tuple[PartitionDims, ...] = ()
    avoid: frozenset[int] = frozenset()

    def accepts(self, rows: PartitionDims) -> bool:
        if self.rows:
            return rows in self.rows
        return not self.avoid & set(rows)


@dataclass
class Choice:
    """rows of the result; for dots, which side is stationary and where the operands' batch dims
    are."""

    rows: PartitionDims
    stationary: int = LHS
    batch_rows: int = 0
    cost_ns: float = 0.0


CARRIED_ROWS = "layout.carried"
"""Name of the attribute of a `neuron.repeat` with the rows of every carried value."""


def carried_rows(op: ir.Operation) -> tuple[PartitionDims, ...]:
    """The rows of the values a repeat carries; chosen for its block before."""
    return integer_lists(op.attributes[CARRIED_ROWS])


@dataclass
class LayoutPlanner:
    """One round over a function. `previous` holds the choices of the round before."""

    target: Target
    previous: dict[ir.Value, PartitionDims] = field(default_factory=dict)
    wishes: dict[ir.Value, list[Wish]] = field(default_factory=dict)
    available: dict[ir.Value, list[PartitionDims]] = field(default_factory=dict)
    choices: dict[ir.Value, Choice] = field(default_factory=dict)

    # ---- costs ------------------------------------------------------------------------------

    def conversion_ns(self, value: ir.Value, rows: PartitionDims) -> float:
        """Cost of having `value` with `rows`, given what is available; 0 for arguments."""
        have = self.available.get(value)
        if have is None or rows in have:
            return 0.0
        return min(self._move_ns(shape_of(value), old, rows) for old in have)

    def _move_ns(self, shape: Shape, old: PartitionDims, new: PartitionDims) -> float:
        if set(old) & set(new) or not old or not new:
            moved = 2 * F32.size_bytes * math.prod(shape)
            return DEVICE_MEMORY_CONVERSION_NS + moved / SHORT_ROW_BYTES_PER_NS
        target = self.target
        block = target.partitions * target.partitions
        blocks = max(1.0, math.prod(shape) / block)
        column_ns = 1 / target.engines[Engine.TENSOR].clock_ghz
        evict_ns = 1 / target.engines[Engine.VECTOR].clock_ghz
        return FIXED_CONVERSION_NS + blocks * target.partitions * (column_ns + evict_ns)

    def wish_ns(self, value: ir.Value, rows: PartitionDims) -> float:
        """What the consumers of `value` would have to pay if it had `rows`."""
        shape = shape_of(value)
        cost = 0.0
        for wish in self.wishes.get(value, ()):
            if not wish.accepts(rows):
                best = wish.rows or (default_rows(shape, wish.avoid),)
                cost += min(self._move_ns(shape, rows, new) for new in best)
        return cost

    # ---- backward: wishes -------------------------------------------------------------------

    def collect_wishes(self, ops: list[ir.Operation]) -> None:
        for op in reversed(ops):
            WISHES.get(kind_of(op), LayoutPlanner._no_wishes)(self, op)

    def _no_wishes(self, op: ir.Operation) -> None:
        return

    def _wish(self, value: ir.Value, wishes: Iterable[Wish]) -> None:
        known = self.wishes.setdefault(value, [])
        known.extend(w for w in wishes if w not in known)

    def _wish_through_view(self, op: ir.Operation) -> None:
        for wish in self.wishes.get(op.results[0], ()):
            if wish.rows:
                mapped = [operand_dims(op, rows) for rows in wish.rows]
                found = tuple(rows for rows in mapped if rows is not None)
                if found:
                    self._wish(op.operands[0], [Wish(rows=found)])
            elif isa(op, TransposeOp):
                permutation = op.permutation
                avoid = frozenset(permutation[d] for d in wish.avoid)
                self._wish(op.operands[0], [Wish(avoid=avoid)])

    def _wish_elementwise(self, op: ir.Operation) -> None:
        self._wish_region_operands(op, range(len(op.operands)))

    def _wish_region_operands(self, op: ir.Operation, numbers: Iterable[int]) -> None:
        result = op.results[0]
        for number in numbers:
            operand = op.operands[number]
            if shape_of(operand) == shape_of(result):
                self._wish(operand, self.wishes.get(result, ()))
            elif result in self.previous:
                self._wish_broadcast_operand(op, number, self.previous[result])

    def _wish_broadcast_operand(self, op: ir.Operation, number: int, rows: PartitionDims) -> None:
        for dims in region_broadcasts(op, number):
            shape = shape_of(op.operands[number])
            storage = abstract_storage(shape_of(op.results[0]), rows)
            found = unbroadcast(storage, dims, shape)
            if found is not None:
                wanted = normalised(found.partition_dims, shape)
                self._wish(op.operands[number], [Wish(rows=(wanted,))])

    def _wish_dot(self, op: ir.Operation) -> None:
        geometry = dot_geometry(op)
        for side in (LHS, RHS):
            rows = tuple({g: None for g in operand_candidates(geometry, side, self.target)})
            self._wish(op.operands[side], [Wish(rows=rows)])
        self._wish_region_operands(op, range(2, len(op.operands)))

    def _wish_convolution(self, op: ir.Operation) -> None:
        """Features on partitions; images of few features may go by way of device memory."""
        dims = convolution_dims(op)
        wanted = [(1, dims.rhs[1])]
        if not has_few_features(op, self.target):
            wanted.append((0, dims.lhs[1]))
        for position, dim in wanted:
            value = op.operands[position]
            self._wish(value, [Wish(rows=(normalised((dim,), shape_of(value)),))])
        self._wish_region_operands(op, range(2, len(op.operands)))

    def _wish_pooling(self, op: ir.Operation) -> None:
        self._wish(op.operands[0], [Wish(avoid=windowed_dims(op))])
        self._wish(op.operands[0], self._pool_wishes(op))

    def _pool_wishes(self, op: ir.Operation) -> list[Wish]:
        avoid = windowed_dims(op)
        found = [[r for r in w.rows if not avoid & set(r)] for w in
                 self.wishes.get(op.results[0], ())]  # fmt: skip
        return [Wish(rows=tuple(rows)) for rows in found if rows]

    def _wish_reduction(self, op: ir.Operation) -> None:
        operand = op.operands[0]
        avoid = frozenset(reduced_dims(op))
        if reduces_everything(op):
            return
        self._wish(operand, [Wish(avoid=avoid)])
        if shape_of(operand) == shape_of(op.results[0]):
            for wish in self.wishes.get(op.results[0], ()):
                rows = tuple(r for r in wish.rows if not avoid & set(r))
                if rows:
                    self._wish(operand, [Wish(rows=rows)])

    def _wish_repeat(self, op: ir.Operation) -> None:
        for value, rows in zip(op.operands, carried_rows(op), strict=False):
            self._wish(value, [Wish(rows=(rows,))])

    # ---- forward: choices -------------------------------------------------------------------

    def choose_all(self, ops: list[ir.Operation]) -> None:
        for op in ops:
            if not op.results:
                continue
            choice = CHOOSERS.get(kind_of(op), LayoutPlanner._choose_plain)(self, op)
            result = op.results[0]
            self.choices[result] = choice
            if kind_of(op) in IN_DEVICE_MEMORY:
                continue
            self.available.setdefault(result, [])
            if choice.rows not in self.available[result]:
                self.available[result].append(choice.rows)

    def _take(self, value: ir.Value, rows: PartitionDims) -> None:
        """`value` is converted to `rows` here; later consumers find it."""
        have = self.available.get(value)
        if have is not None and rows not in have:
            have.append(rows)

    def _choose_plain(self, op: ir.Operation) -> Choice:
        """Ops whose result is made piece by piece or from nothing: the wished layout, without the
        dims the pieces differ in."""
        result = op.results[0]
        avoid = UNROWABLE.get(kind_of(op), lambda op: frozenset())(op)
        candidates = self._result_candidates(result, avoid)
        if isa(op, ConcatenateOp):
            wished = self._result_candidates(result, frozenset())
            candidates += [rows for rows in wished if stacks_whole_tiles(op, rows, self.target)]
        return self._best(
            result,
            dict.fromkeys(candidates),
            lambda rows: (
                sum(self.conversion_ns(v, rows) for v in op.operands[:1])
                + streaming_ns(shape_of(result), rows, self.target)
            ),
        )

    def _choose_repeat(self, op: ir.Operation) -> Choice:
        """What the block hands on has the rows that were chosen for it there."""
        rows = carried_rows(op)
        for value, found in zip(op.results, rows, strict=False):
            self.available[value] = [found]
        return Choice(rows[0] if rows else ())

    def _choose_gather(self, op: ir.Operation) -> Choice:
        """One table row per partition: the index dims are the rows."""
        rank = len(shape_of(op.operands[1]))
        rows = normalised(tuple(range(rank)), shape_of(op.results[0]))
        self._take(op.operands[1], rows)
        return Choice(rows)

    def _choose_dynamic_slice(self, op: ir.Operation) -> Choice:
        """Loaded from device memory, in whatever rows; but its last dim is what lies together."""
        result = op.results[0]
        candidates = self._result_candidates(result, frozenset())
        return self._best(
            result, candidates, lambda rows: load_ns(shape_of(result), rows, self.target)
        )

    def _choose_update(self, op: ir.Operation) -> Choice:
        """The result is in device memory: its consumers load it as they like."""
        return Choice(default_rows(shape_of(op.results[0])))

    def _wish_update(self, op: ir.Operation) -> None:
        """Few transfers of long pieces: rows that fit one row tile, without the last dim."""
        shape = shape_of(op.operands[1])
        large = [d for d, size in enumerate(shape) if size > 1]
        fitting = [(d,) for d in large[:-1] if shape[d] <= self.target.partitions]
        whole = [()] if math.prod(shape) <= MAX_REPLICATED_ELEMENTS else []
        if fitting or whole:
            self._wish(op.operands[1], [Wish(rows=(*fitting, *whole))])

    def _wish_scattered(self, op: ir.Operation) -> None:
        """A row per partition, with the index that says where it goes."""
        for value in list(op.operands)[1:]:
            self._wish(value, [Wish(rows=(normalised((0,), shape_of(value)),))])

    def _result_candidates(self, result: ir.Value, avoid: frozenset[int]) -> list[PartitionDims]:
        shape = shape_of(result)
        wishes = self.wishes.get(result, ())
        found = [default_rows(shape, avoid)]
        for wish in wishes:
            found.extend(wish.rows)
        found.extend((d,) for d, size in enumerate(shape) if size > 1)
        if math.prod(shape) <= MAX_REPLICATED_ELEMENTS:
            # Where no consumer has a wish, all of them broadcast it: replicated suits all.
            found.insert(len(found) if wishes else 0, ())
        return [rows for rows in dict.fromkeys(found) if not avoid & set(rows)]

    def _best(
        self,
        result: ir.Value,
        candidates: Iterable[PartitionDims],
        own_ns: Callable[[PartitionDims], float],
    ) -> Choice:
        scored = [
            Choice(rows, cost_ns=own_ns(rows) + self.wish_ns(result, rows)) for rows in candidates
        ]
        return min(scored, key=lambda choice: choice.cost_ns)

    def _choose_view(self, op: ir.Operation) -> Choice:
        operand, result = op.operands[0], op.results[0]
        have = self.available.get(operand)
        if have is None:  # an argument: its consumer decides
            return Choice(self._choose_plain(op).rows)
        relabelled = [result_dims(op, rows) for rows in have]
        found = [rows for rows in relabelled if rows is not None]
        if not found:
            return self._choose_plain(op)
        self.available[result] = list(found)
        return self._best(result, found, lambda rows: 0.0)

    def _choose_elementwise(self, op: ir.Operation) -> Choice:
        result = op.results[0]
        full = [v for v in op.operands if shape_of(v) == shape_of(result)]
        candidates = [rows for v in full for rows in self.available.get(v, ())]
        candidates += self._result_candidates(result, frozenset())
        choice = self._best(
            result,
            dict.fromkeys(candidates),
            lambda rows: (
                self._region_ns(op, rows, range(len(op.operands)))
                + streaming_ns(shape_of(result), rows, self.target)
            ),
        )
        for value in full:
            self._take(value, choice.rows)
        return choice

    def _choose_exchange(self, op: ir.Operation) -> Choice:
        """Collectives on tiles: the operand's layout, never copies on all partitions, all of which
        would travel."""
        operand, result = op.operands[0], op.results[0]
        candidates = [*self.available.get(operand, ())]
        candidates += self._result_candidates(result, frozenset())
        spread = [rows for rows in dict.fromkeys(candidates) if rows]
        choice = self._best(
            result,
            spread or [()],
            lambda rows: (
                self.conversion_ns(operand, rows)
                + streaming_ns(shape_of(result), rows, self.target)
            ),
        )
        self._take(operand, choice.rows)
        return choice

    def _choose_reduction(self, op: ir.Operation) -> Choice:
        operand, result = op.operands[0], op.results[0]
        if reduces_everything(op):
            return Choice(())
        avoid = frozenset(reduced_dims(op))
        keep = {old: new for new, old in enumerate(kept_dims(op))}
        candidates = [r for r in self.available.get(operand, ()) if not avoid & set(r)]
        candidates += self._result_candidates(operand, avoid)

        def total_ns(rows: PartitionDims) -> float:
            mapped = tuple(keep[d] for d in rows)
            own = streaming_ns(shape_of(operand), rows, self.target)
            return own + self.conversion_ns(operand, rows) + self.wish_ns(result, mapped)

        rows = min(dict.fromkeys(candidates), key=total_ns)
        self._take(operand, rows)
        return Choice(tuple(keep[d] for d in rows))

    def _choose_dot(self, op: ir.Operation) -> Choice:
        geometry = dot_geometry(op)
        result = op.results[0]
        batch_rows = min(
            geometry.stackings(geometry.depth, self.target),
            key=lambda stacked: self._operands_ns(op, geometry, stacked),
        )
        best: Choice | None = None
        for stationary in (LHS, RHS):
            still = geometry.sides[stationary]
            for stacked in geometry.stackings(still.count(still.free), self.target):
                rows = geometry.result_rows(stationary, stacked)
                cost = matmul_ns(geometry, stationary, self.target) + self.wish_ns(result, rows)
                cost += self._region_ns(op, rows, range(2, len(op.operands)))
                cost += stacked * geometry.batch_count * STACKED_EVICTION_NS
                cost += streaming_ns(geometry.result_shape, rows, self.target)
                if best is None or cost < best.cost_ns:
                    best = Choice(rows, stationary, batch_rows, cost)
        assert best is not None
        for side in (LHS, RHS):
            self._take(op.operands[side], geometry.sides[side].rows(batch_rows))
        return best

    def _choose_convolution(self, op: ir.Operation) -> Choice:
        dims = convolution_dims(op)
        image, result = op.operands[0], op.results[0]
        if not has_few_features(op, self.target):
            self._take(image, normalised((dims.lhs[1],), shape_of(image)))
        return Choice(normalised((dims.result[1],), shape_of(result)))

    def _choose_pooling(self, op: ir.Operation) -> Choice:
        operand, result = op.operands[0], op.results[0]
        avoid = windowed_dims(op)
        candidates = [r for r in self.available.get(operand, ()) if not avoid & set(r)]
        candidates += self._result_candidates(result, avoid)
        choice = self._best(
            result,
            dict.fromkeys(candidates),
            lambda rows: (
                self.conversion_ns(operand, rows)
                + streaming_ns(shape_of(operand), rows, self.target)
            ),
        )
        self._take(operand, choice.rows)
        return choice

    def _region_ns(self, op: ir.Operation, rows: PartitionDims, numbers: Iterable[int]) -> float:
        """Cost of a region's operands lying like a result with `rows`."""
        shape = shape_of(op.results[0])
        return sum(self._region_operand_ns(op, number, shape, rows) for number in numbers)

    def _region_operand_ns(
        self, op: ir.Operation, number: int, shape: Shape, rows: PartitionDims
    ) -> float:
        value = op.operands[number]
        if shape_of(value) == shape:
            return self.conversion_ns(value, rows)
        cost = 0.0
        for dims in region_broadcasts(op, number):
            found = unbroadcast(abstract_storage(shape, rows), dims, shape_of(value))
            if found is None:
                cost += DEVICE_MEMORY_CONVERSION_NS
            else:
                wanted = normalised(found.partition_dims, shape_of(value))
                cost += self.conversion_ns(value, wanted)
        return cost

    def _operands_ns(self, op: ir.Operation, geometry: DotGeometry, stacked: int) -> float:
        return sum(
            self.conversion_ns(op.operands[side], geometry.sides[side].rows(stacked))
            for side in (LHS, RHS)
        )


# ---- questions about single ops ------------------------------------------------------------


IN_DEVICE_MEMORY = frozenset(
    (
        *(COLLECTIVES - {AllReduceOp}),
        PartitionIdOp,
        DynamicUpdateSliceOp,
        ScatterRowsOp,
        SortOp,
    )
)
"""Ops whose result is made in device memory, like an argument: its consumers load it as they
wish."""


WISHES: dict[OpClass, Callable[[LayoutPlanner, ir.Operation], None]] = {
    **{name: LayoutPlanner._wish_through_view for name in VIEW_OPS},
    FusedOp: LayoutPlanner._wish_elementwise,
    AllReduceOp: LayoutPlanner._wish_elementwise,
    DotOp: LayoutPlanner._wish_dot,
    ConvolutionOp: LayoutPlanner._wish_convolution,
    ReduceWindowOp: LayoutPlanner._wish_pooling,
    ReduceOp: LayoutPlanner._wish_reduction,
    SoftmaxOp: LayoutPlanner._wish_reduction,
    MaskedSoftmaxOp: LayoutPlanner._wish_reduction,
    LayerNormOp: LayoutPlanner._wish_reduction,
    RmsNormOp: LayoutPlanner._wish_reduction,
    DynamicUpdateSliceOp: LayoutPlanner._wish_update,
    ScatterRowsOp: LayoutPlanner._wish_scattered,
    RepeatOp: LayoutPlanner._wish_repeat,
}

CHOOSERS: dict[OpClass, Callable[[LayoutPlanner, ir.Operation], Choice]] = {
    **{name: LayoutPlanner._choose_view for name in VIEW_OPS},
    FusedOp: LayoutPlanner._choose_elementwise,
    AllReduceOp: LayoutPlanner._choose_exchange,
    GatherRowsOp: LayoutPlanner._choose_gather,
    DynamicSliceOp: LayoutPlanner._choose_dynamic_slice,
    DynamicUpdateSliceOp: LayoutPlanner._choose_update,
    ScatterRowsOp: LayoutPlanner._choose_update,
    SortOp: LayoutPlanner._choose_update,
    DotOp: LayoutPlanner._choose_dot,
    ConvolutionOp: LayoutPlanner._choose_convolution,
    ReduceWindowOp: LayoutPlanner._choose_pooling,
    ReduceOp: LayoutPlanner._choose_reduction,
    SoftmaxOp: LayoutPlanner._choose_reduction,
    MaskedSoftmaxOp: LayoutPlanner._choose_reduction,
    LayerNormOp: LayoutPlanner._choose_reduction,
    RmsNormOp: LayoutPlanner._choose_reduction,
    RepeatOp: LayoutPlanner._choose_repeat,
}


def choose_layouts(
    function: ir.Operation, target: Target, carried: int = 0
) -> tuple[PartitionDims, ...]:
    """Annotates every op of the function's only block.

    carried: the first arguments of a repeated block, which are the first results of the iteration
    before. Returns the rows these have.
    """
    block = function.regions[0].blocks[0]
    ops = list(block.operations)
    previous: dict[ir.Value, PartitionDims] = {}
    rows: tuple[PartitionDims, ...] = ()
    for _ in range(ROUNDS):
        planner = LayoutPlanner(target, previous)
        if previous:
            rows = tuple(
                previous.get(value, default_rows(shape_of(value)))
                for value in list(ops[-1].operands)[:carried]
            )
            planner.available = {
                argument: [found] for argument, found in zip(block.arguments, rows, strict=False)
            }
        planner.collect_wishes(ops)
        planner.choose_all(ops)
        previous = {value: choice.rows for value, choice in planner.choices.items()}
    for op in ops:
        if len(op.results):
            _annotate(op, planner.choices[op.results[0]])
    return rows


def _annotate(op: ir.Operation, choice: Choice) -> None:
    i64 = ir.IntegerType.get_signless(64)
    rows = [ir.IntegerAttr.get(i64, d) for d in choice.rows]
    op.attributes["layout.rows"] = ir.ArrayAttr.get(rows)
    if isa(op, DotOp):
        side = ("lhs", "rhs")[choice.stationary]
        op.attributes["layout.stationary"] = ir.StringAttr.get(side)
        op.attributes["layout.batch_rows"] = ir.IntegerAttr.get(i64, choice.batch_rows)


@dataclass(frozen=True)
class ChooseLayoutsPass(Pass, name="choose-layouts", anchor=FUNCTION):
    """Choose which dims of every tensor lie on the partitions, for the graph as a whole."""

    target: str = ntile.DEFAULT_TARGET

    def apply(self, op: ir.Operation) -> bool:
        """Blocks that are repeated come before the function that repeats them."""
        target = find_target(self.target)
        if any(isa(inner, RepeatOp) for inner in body(op)):
            _choose_for_repeats(op, target)
        if not is_repeated(op):
            choose_layouts(op, target)
        return True


def _choose_for_repeats(function: ir.Operation, target: Target) -> None:
    for op in body(function):
        if isa(op, RepeatOp):
            carried = len(Repeat.of(op).carried)
            rows = choose_layouts(block_function(op), target, carried)
            op.attributes[CARRIED_ROWS] = integer_list_array(rows)
