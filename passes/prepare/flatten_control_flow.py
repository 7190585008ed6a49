"""Make short loops and cheap branches straight-line: the loops are unrolled, of branches all are
computed.

Why: what is in one graph is scheduled as a whole. A loop of layers becomes layers, whose weights
are slices of the stacked ones; what a small branch computes is cheap beside a decision the engines
would wait for.

Precondition: StableHLO, calls inlined (`inline-calls`).
Postcondition: the `while`, `case` and `if` that are left are worth a branch of the sequencers
(`split-control-flow`): loops whose number of iterations depends on data; loops of more than
`most-layers` iterations that would become more than `limit` operations, which say how often they
run (`neuron.count`); branches with such loops in them, whose untaken sides need not end; and
branches that take `jump_ns` longer if all are computed than if one is.

Before:
    func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
      %zero = stablehlo.constant dense<0> : tensor<i32>
      %one = stablehlo.constant dense<1> : tensor<i32>
      %two = stablehlo.constant dense<2> : tensor<i32>
      %0:2 = stablehlo.while(%i = %zero, %a = %x) : tensor<i32>, tensor<4xf32>
       cond {
        %c = stablehlo.compare LT, %i, %two : (tensor<i32>, tensor<i32>) -> tensor<i1>
        stablehlo.return %c : tensor<i1>
      } do {
        %n = stablehlo.add %i, %one : tensor<i32>
        %b = stablehlo.tanh %a : tensor<4xf32>
        stablehlo.return %n, %b : tensor<i32>, tensor<4xf32>
      }
      return %0#1 : tensor<4xf32>
    }
After:
    func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
      %0 = stablehlo.tanh %x : tensor<4xf32>
      %1 = stablehlo.tanh %0 : tensor<4xf32>
      return %1 : tensor<4xf32>
    }

A branch that is not taken is computed like the other and then not selected, so its infinities and
NaN reach no result. The parts of a tensor that an unrolled loop writes one after the other are
concatenated (collected_slices.py), or written into the tensor they come from (stacked_updates.py).
Where something stays, layers that were outlined are inlined again: the blocks that the program is
cut into are searched for layers by themselves.

A loop that stays runs several iterations at a time (`together` operations or so), and what is left
of them after it: each time costs a barrier and a way through device memory.

Refuses: loops of more than `most_operations` operations when unrolled (UnsupportedOpError).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from torch_mlir import ir

from axonc.diagnostics import UnsupportedOpError
from axonc.dialects.attributes import integer, numpy_to_dense
from axonc.dialects.locations import source_location
from axonc.dialects.neuron.argument_names import COUNT
from axonc.passes.base import Pass
from axonc.passes.graph.branch_cost import cost_ns
from axonc.passes.graph.copies import rename
from axonc.passes.graph.known_scalars import Known, is_countable, known_scalar
from axonc.passes.graph.loop_counts import (
    CONTROL_FLOW,
    has_control_flow,
    iterations,
    operation_count,
)
from axonc.passes.graph.rewrite import in_place_of
from axonc.passes.prepare.collected_slices import concatenated
from axonc.passes.prepare.inline_blocks import InlineBlocksPass


@dataclass(frozen=True)
class FlattenControlFlowPass(Pass, name="flatten-control-flow"):
    """Unroll short loops, compute all of cheap branches."""

    limit: int = 8_000
    """Operations that a loop of many iterations may become."""
    most_layers: int = 128
    """Iterations that are unrolled however large they are: layers."""
    most_operations: int = 50_000
    """Operations that a function's loops may become."""
    together: int = 400
    """Operations of a loop that stays, several iterations together."""
    jump_ns: float = 10_000.0
    """What a jump costs (assumed): two barriers, and values through device memory."""

    def apply(self, op: ir.Operation) -> bool:
        changed = False
        for function in op.regions[0].blocks[0].operations:
            if function.operation.name == "func.func":
                changed |= _Flattener(self).flatten_all(function.operation.regions[0].blocks[0])
        if has_control_flow(op):
            changed |= InlineBlocksPass().apply(op)
        return changed


@dataclass
class _Flattener:
    """Works in one function."""

    options: FlattenControlFlowPass
    known: Known = field(default_factory=dict)
    """See `known_scalars`."""
    made: int = 0
    """Operations copied so far."""

    def flatten_all(self, block: ir.Block) -> bool:
        """Everything in a block, also in what stays."""
        changed = False
        for op in _control_flow(block):
            changed |= self.flatten(op)
        for op in _control_flow(block):
            for region in op.regions:
                changed |= self.flatten_all(region.blocks[0])
        return changed

    def flatten(self, op: ir.Operation) -> bool:
        """Replace `op` by straight-line code before it; whether anything changed."""
        with in_place_of(op):
            results = self._flattened(op)
        if results is None:
            return False
        for old, new in zip(op.results, results, strict=True):
            old.replace_all_uses_with(new)
        self._forget(op)
        op.erase()
        return True

    def _flattened(self, op: ir.Operation) -> list[ir.Value] | None:
        """Its results in straight-line code at the insertion point; None if it stays."""
        return self._unroll(op) if op.name == "stablehlo.while" else self._choose(op)

    def _forget(self, op: ir.Operation) -> None:
        for result in op.results:
            self.known.pop(result, None)

    # ---- loops

    def _unroll(self, op: ir.Operation) -> list[ir.Value] | None:
        if COUNT in op.attributes:
            return None
        count = iterations(op, self.known, self.options.most_operations)
        if count is None:
            return None
        if not self._is_short(op, count):
            return self._roll(op, count)
        return self._iterated(op, list(op.operands), count)

    def _is_short(self, op: ir.Operation, count: int) -> bool:
        total = count * operation_count(op.regions[1].blocks[0], self.known)
        limit = self.options.limit
        return total <= (
            limit if count > self.options.most_layers else self.options.most_operations
        )

    def _iterated(self, op: ir.Operation, begin: list[ir.Value], count: int) -> list[ir.Value]:
        """What the loop's values are after `count` iterations from `begin`, in straight-line
        code."""
        block = op.regions[1].blocks[0]
        history = [begin]
        for _ in range(count):
            history.append(self._inline(block, history[-1]))
        return [
            concatenated([values[i] for values in history], self.known)
            for i in range(len(op.results))
        ]

    def _roll(self, op: ir.Operation, count: int) -> list[ir.Value]:
        """A loop that runs several iterations at a time and says how often, and those that are
        left after it."""
        body = op.regions[1].blocks[0]
        together = max(1, min(count, self.options.together // operation_count(body, self.known)))
        times, rest = divmod(count, together)
        results = list(self._rolled(op, together, times).results)
        for _ in range(rest):
            results = self._inline(body, results)
        return results

    def _rolled(self, op: ir.Operation, together: int, times: int) -> ir.Operation:
        """A loop over a body of several iterations."""
        kinds = [v.type for v in op.results]
        attributes = {COUNT: integer(times)}
        rolled = ir.Operation.create(op.name, kinds, list(op.operands), attributes, regions=2)
        for number, (old, region) in enumerate(zip(op.regions, rolled.regions, strict=True)):
            block = region.blocks.append(*kinds, arg_locs=[op.location] * len(kinds))
            with ir.InsertionPoint(block):
                values = list(block.arguments)
                for _ in range(together if number else 1):
                    values = self._inline(old.blocks[0], values)
                ir.Operation.create("stablehlo.return", [], values)
        return rolled

    # ---- branches

    def _choose(self, op: ir.Operation) -> list[ir.Value] | None:
        """Of `if` the first region is taken for true; of `case` the last for a wrong number. None
        if the machine had better jump."""
        blocks = [region.blocks[0] for region in op.regions]
        number = known_scalar(op.operands[0], self.known)
        if op.name == "stablehlo.if":
            number = None if number is None else np.asarray(not number)
        if number is not None:
            inside = 0 <= int(number) < len(blocks)
            return self._inline(blocks[int(number) if inside else -1], ())
        if self._is_worth_a_jump(blocks):
            return None
        values = [self._inline(block, ()) for block in blocks]
        chosen = values[-1]
        for place, candidate in enumerate(values[:-1]):
            wanted = op.operands[0] if op.name == "stablehlo.if" else _equals(op.operands[0], place)
            pairs = zip(candidate, chosen, strict=True)
            chosen = [a if a == b else _select(wanted, a, b) for a, b in pairs]
        return chosen

    def _is_worth_a_jump(self, blocks: Sequence[ir.Block]) -> bool:
        costs = [cost_ns(block.operations) for block in blocks]
        if sum(costs) - max(costs) > self.options.jump_ns:
            return True
        return any(self._has_lasting_loop(block) for block in blocks)

    def _has_lasting_loop(self, block: ir.Block) -> bool:
        """Whether some loop in it, or in what is in it, is not unrolled."""
        for op in _control_flow(block):
            if op.name == "stablehlo.while":
                count = iterations(op, self.known, self.options.most_operations)
                if count is None or not self._is_short(op, count):
                    return True
            if any(self._has_lasting_loop(region.blocks[0]) for region in op.regions):
                return True
        return False

    # ---- copies

    def _inline(self, block: ir.Block, arguments: Sequence[ir.Value]) -> list[ir.Value]:
        """Copy a region's operations to the insertion point; what it returns."""
        values = dict(zip(block.arguments, arguments, strict=True))
        for view in block.operations:
            op = view.operation
            if op.name == "stablehlo.return":
                return [values.get(v, v) for v in op.operands]
            self._count(op)
            copy = op.clone()
            rename(copy.operation, values)
            made = [self._simplest(result) for result in copy.results]
            values |= zip(op.results, made, strict=True)
            if op.name in CONTROL_FLOW:
                self._flatten_copy(copy.operation, op, values)
        raise ValueError("a region without stablehlo.return")

    def _count(self, op: ir.Operation) -> None:
        self.made += 1
        most = self.options.most_operations
        if self.made > most:
            raise UnsupportedOpError(
                f"loops of more than {most} operations when unrolled",
                location=source_location(op),
                op=op.name,
                hint="fewer iterations or layers to a program",
            )

    def _flatten_copy(
        self, copy: ir.Operation, op: ir.Operation, values: dict[ir.Value, ir.Value]
    ) -> None:
        """Inner control flow; what stays is named later."""
        with in_place_of(copy):
            results = self._flattened(copy)
        if results is not None:
            values |= zip(op.results, results, strict=True)
            self._forget(copy)
            copy.erase()

    def _simplest(self, value: ir.Value) -> ir.Value:
        """A constant in the place of a scalar that is known."""
        number = known_scalar(value, self.known) if is_countable(value.type) else None
        if number is None or value.owner.operation.name == "stablehlo.constant":
            return value
        made = _constant(number, value.type)
        self.known[made] = number
        return made


def _control_flow(block: ir.Block) -> list[ir.Operation]:
    return [o.operation for o in block.operations if o.operation.name in CONTROL_FLOW]


def _constant(number: np.ndarray, kind: ir.RankedTensorType) -> ir.Value:
    value = numpy_to_dense(np.asarray(number), kind.element_type)
    op = ir.Operation.create("stablehlo.constant", [kind], [], {"value": value})
    return op.results[0]


def _equals(value: ir.Value, number: int) -> ir.Value:
    boolean = ir.RankedTensorType.get([], ir.IntegerType.get_signless(1))
    attributes = {"comparison_direction": ir.Attribute.parse("#stablehlo<comparison_direction EQ>")}
    other = _constant(np.array(number, np.int32), value.type)
    op = ir.Operation.create("stablehlo.compare", [boolean], [value, other], attributes)
    return op.results[0]


def _select(wanted: ir.Value, on_true: ir.Value, on_false: ir.Value) -> ir.Value:
    op = ir.Operation.create("stablehlo.select", [on_true.type], [wanted, on_true, on_false])
    return op.results[0]
