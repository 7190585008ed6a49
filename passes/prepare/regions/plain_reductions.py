"""Reductions of one tensor by one operation, as StableHLO operations: what engines do at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from torch_mlir import ir

from axonc.passes.prepare import words
from axonc.passes.prepare.integer_range import of_type


def plain_reduce(
    value: ir.Value, kind: str, dims: Sequence[int], first: int | float | None = None
) -> ir.Value:
    """By `stablehlo.<kind>`, beginning with the number `first`; without one with the neutral
    element."""
    element = value.type.element_type
    scalar = ir.RankedTensorType.get([], element)
    start = words.filled(neutral(kind, str(element)) if first is None else first, scalar)
    return plain_reduce_from(value, start, kind, dims)


def plain_reduce_from(value: ir.Value, start: ir.Value, kind: str, dims: Sequence[int]) -> ir.Value:
    """By `stablehlo.<kind>`, beginning with the scalar `start`."""
    element = value.type.element_type
    shape = [n for d, n in enumerate(value.type.shape) if d not in dims]
    attributes = {"dimensions": ir.DenseI64ArrayAttr.get(list(dims))}
    result = ir.RankedTensorType.get(shape, element)
    op = ir.Operation.create("stablehlo.reduce", [result], [value, start], attributes, regions=1)
    add_region(op, kind, ir.RankedTensorType.get([], element))
    return op.results[0]


def plain_windows_from(op: ir.Operation, value: ir.Value, start: ir.Value, kind: str) -> ir.Value:
    """`value` reduced in the windows of `op`, by `stablehlo.<kind>`."""
    element = value.type.element_type
    result = ir.RankedTensorType.get(op.results[0].type.shape, element)
    attributes = dict(op.attributes.items())
    made = ir.Operation.create(op.name, [result], [value, start], attributes, regions=1)
    add_region(made, kind, ir.RankedTensorType.get([], element))
    return made.results[0]


def add_region(op: ir.Operation, kind: str, scalar: ir.Type) -> None:
    """One block that combines its two arguments by `stablehlo.<kind>`."""
    block = ir.Block.create_at_start(op.regions[0], [scalar, scalar], [op.location] * 2)
    with ir.InsertionPoint(block):
        both = words.create(kind, list(block.arguments), scalar)
        ir.Operation.create("stablehlo.return", [], [both])


def neutral(kind: str, element: str) -> float | int:
    """What `stablehlo.<kind>` leaves every element of the type as it is with."""
    limits = of_type(element)
    low, high = (limits.low, limits.high) if limits else (-math.inf, math.inf)
    return NEUTRAL[kind](low, high)


NEUTRAL: Mapping[str, Callable[[float, float], float]] = {
    "add": lambda low, high: 0,
    "multiply": lambda low, high: 1,
    "maximum": lambda low, high: low,
    "minimum": lambda low, high: high,
}
"""The neutral element of each operation, by the limits of the type."""
