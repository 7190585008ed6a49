"""Copies of operations that read other values than their originals."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping

from torch_mlir import ir

Values = MutableMapping[ir.Value, ir.Value]


def rename(op: ir.Operation, values: Values) -> None:
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


def copy_operations(operations: Iterable[ir.Operation | ir.OpView], values: Values) -> None:
    """Copies at the insertion point; `values` has what they read instead, and gets their
    results."""
    for each in operations:
        op = each.operation
        copy = op.clone().operation
        rename(copy, values)
        values.update(zip(op.results, copy.results, strict=True))
