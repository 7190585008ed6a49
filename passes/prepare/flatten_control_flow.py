"""Make loops and branches straight-line: loops are unrolled, of branches all are computed.

Why: everything after works on one graph. A loop of layers becomes layers, whose weights are slices
of the stacked ones; what a branch computes is cheap beside a decision the engines would wait for.

Precondition: StableHLO, calls inlined (`inline-calls`).
Postcondition: no `while`, `case` or `if` but loops whose number of iterations depends on data (or
is beyond `limit`); `legalize-to-neuron` names them.

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
NaN reach no result. The parts of a tensor that a loop writes one after the other are concatenated
(collected_slices.py), or written into the tensor they come from (stacked_updates.py).

Refuses: loops of more than `limit` operations when unrolled (UnsupportedOpError).
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from torch_mlir import ir

from axonc.diagnostics import UnsupportedOpError
from axonc.dialects.attributes import numpy_to_dense
from axonc.dialects.locations import source_location
from axonc.passes.base import Pass
from axonc.passes.graph.rewrite import in_place_of
from axonc.passes.prepare.collected_slices import concatenated
from axonc.passes.prepare.known_scalars import Known, is_countable, known_scalar

CONTROL_FLOW = frozenset({"stablehlo.while", "stablehlo.case", "stablehlo.if"})


@dataclass(frozen=True)
class FlattenControlFlowPass(Pass, name="flatten-control-flow"):
    """Unroll loops, compute all branches."""

    limit: int = 50_000
    """Operations that a function's may become."""

    def apply(self, op: ir.Operation) -> bool:
        changed = False
        for function in op.regions[0].blocks[0].operations:
            if function.operation.name == "func.func":
                found = [o.operation for o in function.operation.regions[0].blocks[0].operations]
                flattener = _Flattener(self.limit)
                for each in found:
                    if each.name in CONTROL_FLOW:
                        changed |= flattener.flatten(each)
        return changed


@dataclass
class _Flattener:
    """Works in one function."""

    limit: int
    known: Known = field(default_factory=dict)
    """See `known_scalars`."""
    made: int = 0
    """Operations copied so far."""

    def flatten(self, op: ir.Operation) -> bool:
        """Replace `op` by straight-line code before it; whether that was possible."""
        with in_place_of(op):
            results = self._unroll(op) if op.name == "stablehlo.while" else self._choose(op)
        if results is None:
            return False
        for old, new in zip(op.results, results, strict=True):
            old.replace_all_uses_with(new)
        self._forget(op)
        op.erase()
        return True

    def _forget(self, op: ir.Operation) -> None:
        for result in op.results:
            self.known.pop(result, None)

    # ---- loops

    def _unroll(self, op: ir.Operation) -> list[ir.Value] | None:
        count = self._iterations(op)
        if count is None:
            return None
        block = op.regions[1].blocks[0]
        history = [list(op.operands)]
        for _ in range(count):
            history.append(self._inline(block, history[-1]))
        return [
            concatenated([values[i] for values in history], self.known)
            for i in range(len(op.results))
        ]

    def _iterations(self, op: ir.Operation) -> int | None:
        """How often the body runs; None when that depends on data or is too much to unroll."""
        condition, body = (region.blocks[0] for region in op.regions)
        most = self.limit // max(1, len(list(body.operations)))
        carried = [known_scalar(v, self.known) for v in op.operands]
        for count in range(most + 1):
            proceed = _returned(condition, carried, self.known)[0]
            if proceed is None:
                return None
            if not proceed:
                return count
            carried = _returned(body, carried, self.known)
        return None

    # ---- branches

    def _choose(self, op: ir.Operation) -> list[ir.Value]:
        """Of `if` the first region is taken for true; of `case` the last for a wrong number."""
        blocks = [region.blocks[0] for region in op.regions]
        number = known_scalar(op.operands[0], self.known)
        if op.name == "stablehlo.if":
            number = None if number is None else np.asarray(not number)
        if number is not None:
            inside = 0 <= int(number) < len(blocks)
            return self._inline(blocks[int(number) if inside else -1], ())
        values = [self._inline(block, ()) for block in blocks]
        chosen = values[-1]
        for place, candidate in enumerate(values[:-1]):
            wanted = op.operands[0] if op.name == "stablehlo.if" else _equals(op.operands[0], place)
            pairs = zip(candidate, chosen, strict=True)
            chosen = [a if a == b else _select(wanted, a, b) for a, b in pairs]
        return chosen

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
            _rename(copy.operation, values)
            made = [self._simplest(result) for result in copy.results]
            values |= zip(op.results, made, strict=True)
            if op.name in CONTROL_FLOW:
                self._flatten_copy(copy.operation, op, values)
        raise ValueError("a region without stablehlo.return")

    def _count(self, op: ir.Operation) -> None:
        self.made += 1
        if self.made > self.limit:
            raise UnsupportedOpError(
                f"loops of more than {self.limit} operations when unrolled",
                location=source_location(op),
                op=op.name,
                hint="fewer iterations or layers to a program",
            )

    def _flatten_copy(
        self, copy: ir.Operation, op: ir.Operation, values: dict[ir.Value, ir.Value]
    ) -> None:
        """Inner control flow; what stays is named later."""
        with in_place_of(copy):
            results = self._unroll(copy) if op.name == "stablehlo.while" else self._choose(copy)
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


def _returned(
    block: ir.Block, arguments: Sequence[np.ndarray | None], outside: Known
) -> list[np.ndarray | None]:
    """What is known of the values a region returns, for what is known of its arguments."""
    known = ChainMap(dict(zip(block.arguments, arguments, strict=True)), outside)
    last = list(block.operations)[-1].operation
    return [known_scalar(v, known) for v in last.operands]


def _rename(op: ir.Operation, values: dict[ir.Value, ir.Value]) -> None:
    """Let a copy, and what is in its regions, read the copies of values."""

    def visit(each: ir.Operation) -> ir.WalkResult:
        for number, operand in enumerate(each.operands):
            if operand in values:
                each.operands[number] = values[operand]
        return ir.WalkResult.ADVANCE

    if op.regions:
        op.walk(visit)
    else:
        visit(op)


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
