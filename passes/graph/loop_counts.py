"""How often a loop of StableHLO runs, where that is known, and how much it would be unrolled."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Sequence

import numpy as np
from torch_mlir import ir

from axonc.dialects.attributes import element_name
from axonc.dialects.stablehlo import comparison_direction
from axonc.passes.graph.known_scalars import Known, known_scalar

CONTROL_FLOW = frozenset({"stablehlo.while", "stablehlo.case", "stablehlo.if"})

BLOCK_OPERATIONS = 100
"""What a straight-line block of its own costs to compile, in operations (assumed)."""

_TRIED = 20_000
"""Iterations that are gone through where no formula tells the number."""


def has_control_flow(root: ir.Operation) -> bool:
    """Whether a loop or branch is anywhere in it."""
    found = False

    def visit(op: ir.Operation) -> ir.WalkResult:
        nonlocal found
        found = found or op.name in CONTROL_FLOW
        return ir.WalkResult.INTERRUPT if found else ir.WalkResult.ADVANCE

    root.walk(visit)
    return found


def iterations(op: ir.Operation, known: Known, most: int) -> int | None:
    """How often the body of a `while` runs; None when that depends on data, or is hard to tell.
    known: see `known_scalar`. most: operations that may be looked at."""
    count = _by_steps(op, known)
    if count is not None:
        return count
    condition, body = (region.blocks[0] for region in op.regions)
    carried = [known_scalar(v, known) for v in op.operands]
    for count in range(min(_TRIED, most // max(1, len(list(body.operations)))) + 1):
        proceed = _returned(condition, carried, known)[0]
        if proceed is None:
            return None
        if not proceed:
            return count
        carried = _returned(body, carried, known)
    return None


def _returned(
    block: ir.Block, arguments: Sequence[np.ndarray | None], outside: Known
) -> list[np.ndarray | None]:
    """What is known of the values a region returns, for what is known of its arguments."""
    known = ChainMap(dict(zip(block.arguments, arguments, strict=True)), outside)
    last = list(block.operations)[-1].operation
    return [known_scalar(v, known) for v in last.operands]


def _by_steps(op: ir.Operation, known: Known) -> int | None:
    """Of a counter that grows by a constant up to a constant: `i < n`, `i + c` with c > 0.

    The numbers i, i + c, ... below n are ceil((n - i) / c); none of them wraps, as n - 1 + c is
    tried to fit in the type.
    """
    condition, body = (region.blocks[0] for region in op.regions)
    test = list(condition.operations)[-1].operands[0].owner
    if isinstance(test, ir.Block) or test.operation.name != "stablehlo.compare":
        return None
    test = test.operation
    counter = test.operands[0]
    if comparison_direction(test) != "LT" or counter not in list(condition.arguments):
        return None
    number = list(condition.arguments).index(counter)
    first = known_scalar(op.operands[number], known)
    end = known_scalar(test.operands[1], ChainMap(dict[ir.Value, np.ndarray | None](), known))
    step = _step(body, number, known)
    if end is None:
        end = _invariant(op, test.operands[1], known)
    name = element_name(counter.type)
    if first is None or end is None or step is None or step <= 0 or not name.startswith("i"):
        return None
    if int(end) + step > np.iinfo(np.dtype(f"i{max(8, int(name[1:])) // 8}")).max:
        return None
    return max(0, -(-(int(end) - int(first)) // step))


def _invariant(op: ir.Operation, value: ir.Value, known: Known) -> np.ndarray | None:
    """What is known of an argument of the condition that the body hands on as it is."""
    condition, body = (region.blocks[0] for region in op.regions)
    if value not in list(condition.arguments):
        return None
    number = list(condition.arguments).index(value)
    if list(body.operations)[-1].operands[number] != body.arguments[number]:
        return None
    return known_scalar(op.operands[number], known)


def _step(body: ir.Block, number: int, known: Known) -> int | None:
    """The constant that the body adds to its argument `number`."""
    value = list(body.operations)[-1].operands[number]
    if isinstance(value.owner, ir.Block) or value.owner.operation.name != "stablehlo.add":
        return None
    terms = list(value.owner.operation.operands)
    if body.arguments[number] not in terms:
        return None
    (other,) = [v for v in terms if v != body.arguments[number]] or [None]
    if other is None:
        return None
    step = known_scalar(other, ChainMap(dict[ir.Value, np.ndarray | None](), known))
    return None if step is None else int(step)


def operation_count(block: ir.Block, known: Known) -> int:
    """Operations of a block when it is flattened, at least 1; inner loops whose number of
    iterations is not known yet count as blocks of their own."""
    total = 0
    for view in block.operations:
        op = view.operation
        total += 1
        if op.name in CONTROL_FLOW:
            inner = sum(operation_count(region.blocks[0], known) for region in op.regions)
            count = iterations(op, known, _TRIED) if op.name == "stablehlo.while" else 1
            total += BLOCK_OPERATIONS + inner if count is None else count * inner
    return max(1, total)
