"""Copies elementwise operations into the region of a `neuron.fused` or of a dot's epilogue."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch_mlir import ir

from axonc.dialects.neuron.builder import RUNS
from axonc.dialects.neuron.ops import YieldOp, isa

Mapping = dict[ir.Value, ir.Value]


def copy_op(op: ir.Operation, values: Mapping) -> ir.Value:
    """A copy of `op` at the insertion point, its operands looked up in `values`; recorded there."""
    new = ir.Operation.create(
        op.name,
        [op.results[0].type],
        [values[v] for v in op.operands],
        dict(op.attributes.items()) if len(op.attributes) else None,
        loc=op.location,
    )
    values[op.results[0]] = new.results[0]
    return new.results[0]


def copy_body(block: ir.Block, arguments: Sequence[ir.Value]) -> ir.Value:
    """Copy a region's body for these arguments; the value it would yield."""
    values: Mapping = dict(zip(block.arguments, arguments, strict=True))
    for operation in block.operations:
        if isa(operation, YieldOp):
            return values[operation.operands[0]]
        copy_op(operation, values)
    raise ValueError("a region without neuron.yield")


def grouped_by_type(values: Iterable[ir.Value]) -> list[ir.Value]:
    """Distinct values, those of one type together, in order of first appearance."""
    by_type: dict[str, dict[ir.Value, None]] = {}
    for value in values:
        by_type.setdefault(str(value.type), {})[value] = None
    return [value for group in by_type.values() for value in group]


def fits_runs(kinds: Sequence[ir.Type]) -> bool:
    """Whether an operation may have operands of these types, see `VariadicOp`."""
    changes = sum(a != b for a, b in zip(kinds, kinds[1:], strict=False))
    return changes < RUNS
