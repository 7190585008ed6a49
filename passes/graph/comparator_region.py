"""What regions that only compare and choose compute, found by trying all orders of their arguments.

Such a region (of an argmax, of a sort) reads nothing but its arguments, so its outcome depends on
their order alone: a few values that stand in every order to each other settle it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from torch_mlir import ir

from axonc.dialects.neuron.table import COMPARISONS, FLOAT
from axonc.dialects.stablehlo import comparison_direction, comparison_type

Scalar = float | int | bool


def run_comparator(region: ir.Region, arguments: Sequence[Scalar]) -> list[Scalar] | None:
    """What the region returns for these arguments; None when it does more than compare and choose,
    or compares by the total order."""
    block = region.blocks[0]
    values: dict[ir.Value, Scalar] = dict(zip(block.arguments, arguments, strict=True))
    for view in block.operations:
        op = view.operation
        if any(v not in values for v in op.operands):
            return None  # a value from outside the region
        operands = [values[v] for v in op.operands]
        if op.name == "stablehlo.return":
            return operands
        found = _step(op, operands)
        if found is None:
            return None
        values[op.results[0]] = found
    return None


def _step(op: ir.Operation, operands: Sequence[Scalar]) -> Scalar | None:
    if op.name == "stablehlo.compare":
        if comparison_type(op) == "TOTALORDER":
            return None
        return bool(COMPARISONS[comparison_direction(op)](*map(np.asarray, operands)))
    if op.name == "stablehlo.select":
        chosen, on_true, on_false = operands
        return on_true if chosen else on_false
    if not all(isinstance(v, bool) for v in operands):
        return None
    if op.name == "stablehlo.not":
        return not operands[0]
    if op.name in ("stablehlo.and", "stablehlo.or"):
        return all(operands) if op.name == "stablehlo.and" else any(operands)
    return None


# ---- what the region chooses ---------------------------------------------------------------------


def extreme_of(region: ir.Region, element: str) -> str | None:
    """Of a reduction of values and their places: whether the region chooses the "max" or "min" of
    the values, and of equal ones the first; None for anything else."""
    return next((k for k in ("max", "min") if _chooses(region, k, element)), None)


def _chooses(region: ir.Region, kind: str, element: str) -> bool:
    numbers = (False, True) if element == "i1" else (1, 2)
    special = (float("nan"),) if element in FLOAT else ()
    cases = product((*numbers, *special), (3, 4), (*numbers, *special), (3, 4))
    return all(_is_right(run_comparator(region, case), case, kind) for case in cases)


def _is_right(
    found: list[Scalar] | None, case: tuple[Scalar, Scalar, Scalar, Scalar], kind: str
) -> bool:
    """Whether the better of (x, i) and (y, j) was chosen; of equal ones the first place. The first
    is also what comes first, and of two NaN either may be taken: reductions run in order."""
    if found is None:
        return False
    x, i, y, j = case
    if x != x and y != y:
        return found[0] != found[0] and found[1] in (i, min(i, j))
    if x == y:
        return found[0] == x and found[1] in (i, min(i, j))
    better = x != x or (y == y and (x > y) == (kind == "max"))
    wanted = (x, i) if better else (y, j)
    return repr(found) == repr(list(wanted))


@dataclass(frozen=True)
class Ties:
    """Of a region that chooses an extreme: which place it takes of two equal values, and of two
    NaN: the "first" one, or the "least"."""

    equal: str
    nan: str


def ties_of(region: ir.Region, element: str) -> Ties | None:
    """None when it is not the same for all."""
    numbers = (False, True) if element == "i1" else (1, 2)
    equal = _tie(region, numbers)
    nan = _tie(region, (float("nan"),)) if element in FLOAT else equal
    return Ties(equal, nan) if equal and nan else None


def _tie(region: ir.Region, numbers: Sequence[Scalar]) -> str | None:
    """Of two that are the same number."""
    found = {}
    for x in numbers:
        for i, j in ((3, 4), (4, 3)):
            result = run_comparator(region, (x, i, x, j))
            found[x, i] = result and result[1]
    ways = {"first": lambda i: i, "least": lambda i: 3}
    return next((w for w, f in ways.items() if all(p == f(i) for (_, i), p in found.items())), None)
