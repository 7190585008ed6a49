"""What ranges decide: part of `narrow-integers`.

A comparison whose outcome is known becomes a constant, a choice by it becomes the branch. A bound
beyond 32 bits of a minimum, a maximum, a clamp or a reduction of values within them becomes the
nearest number of 32 bits: the smallest i64 that a maximum begins with is the smallest i32. Only
operations with an operand beyond 32 bits are looked at.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch_mlir import ir

from axonc.dialects.attributes import element_name
from axonc.passes.graph.rewrite import in_place_of, redirect
from axonc.passes.prepare import words
from axonc.passes.prepare.integer_range import WORD, Interval
from axonc.passes.prepare.integer_ranges import IntegerRanges
from axonc.passes.prepare.wide_values import is_wide_type

_BOUNDED = frozenset(
    f"stablehlo.{name}" for name in "maximum minimum clamp reduce reduce_window".split()
)


def fold_ranges(operations: Sequence[ir.Operation], ranges: IntegerRanges) -> None:
    """Rewrite what can be among `operations`; nothing is erased."""
    for op in operations:
        if all(_fits(v, ranges) for v in op.operands):
            continue
        if op.name == "stablehlo.compare":
            _fold_comparison(op, ranges)
        elif op.name in _BOUNDED:
            _saturate_bounds(op, ranges)


def _fits(value: ir.Value, ranges: IntegerRanges) -> bool:
    if not is_wide_type(value.type):
        return True
    return ranges.integers(value).within(WORD[element_name(value.type)])


def _fold_comparison(op: ir.Operation, ranges: IntegerRanges) -> None:
    result = op.results[0]
    outcome = ranges.integers(result).only
    if outcome is None:
        return
    for use in list(result.uses):
        reader = use.owner.operation
        if reader.name == "stablehlo.select" and use.operand_number == 0:
            redirect(reader.results, [reader.operands[1 if outcome else 2]])
    with in_place_of(op):
        redirect([result], [words.filled(outcome, result.type)])


def _saturate_bounds(op: ir.Operation, ranges: IntegerRanges) -> None:
    """max(x, c) with x in 32 bits and c below them is x, as is max(x, the least of 32 bits); a c
    above them would be the result, which then would not fit. The others likewise."""
    if not all(_fits(v, ranges) for v in op.results):
        return
    for number, value in enumerate(op.operands):
        if not is_wide_type(value.type) or _fits(value, ranges):
            continue
        limit = _nearest(ranges.integers(value), WORD[element_name(value.type)])
        if limit is not None:
            with in_place_of(op):
                op.operands[number] = words.filled(limit, value.type)


def _nearest(found: Interval, word: Interval) -> int | None:
    """The limit of `word` next to all of `found`; None when that is not on one side."""
    if found.high < word.low:
        return word.low
    return word.high if found.low > word.high else None
