"""Undo `outline-blocks`: the body of the function as often as `neuron.repeat` calls it.

Why: some options need the flat program; and it shows that outlining changed nothing.

Precondition: any level whose functions are single blocks.
Postcondition: no `neuron.repeat` in `@main`; the functions only it called are gone.

Before:
    %0 = "neuron.repeat"(%x, %w0, %w1, %w2) {callee = @block_0, count = 3, carried = 1, ...}
    func.func private @block_0(%x: tensor<4xf32>, %w: tensor<4xf32>) -> tensor<4xf32>
After:
    %0 = stablehlo.add %x, %w0 : tensor<4xf32>
    %1 = stablehlo.add %0, %w1 : tensor<4xf32>
    %2 = stablehlo.add %1, %w2 : tensor<4xf32>
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch_mlir import ir

from axonc.dialects.neuron.repeat import Repeat, called_functions, function_named, repeats_in
from axonc.passes.base import Pass
from axonc.passes.graph.module import main_function


@dataclass(frozen=True)
class InlineBlocksPass(Pass, name="inline-blocks"):
    """Undo outline-blocks: the body of the function as often as it is called."""

    def apply(self, op: ir.Operation) -> bool:
        main = main_function(op)
        repeats = repeats_in(main)
        _, *called = called_functions(main)
        for each in repeats:
            _inline(op, each)
        for function in called:
            function.erase()
        return bool(repeats)


def _inline(module: ir.Operation, call: ir.Operation) -> None:
    parts = Repeat.of(call)
    function = function_named(module, parts.callee)
    assert function is not None, "a verified call names a function"
    carried: Sequence[ir.Value] = parts.carried
    for k in range(parts.count):
        results = _copy_body(function, [*carried, *parts.arguments(k)], call)
        carried, collected = results[: len(carried)], results[len(carried) :]
        for old, new in zip(parts.collected[k], collected, strict=True):
            old.replace_all_uses_with(new)
    for old, new in zip(parts.carried_out, carried, strict=True):
        old.replace_all_uses_with(new)
    call.erase()


def _copy_body(
    function: ir.Operation, arguments: Sequence[ir.Value], before: ir.Operation
) -> list[ir.Value]:
    """Copies of the operations of a function before another operation; what it returns."""
    block = function.regions[0].blocks[0]
    made = dict(zip(block.arguments, arguments, strict=True))
    for each in block.operations:
        op = each.operation
        operands = [made[v] for v in op.operands]
        if op.name == "func.return":
            return operands
        copy = op.clone(ip=ir.InsertionPoint(before)).operation
        for n, value in enumerate(operands):
            copy.operands[n] = value
        made.update(zip(op.results, copy.results, strict=True))
    raise AssertionError("a function ends with a return")
