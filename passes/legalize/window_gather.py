"""StableHLO gathers of windows, and of batches, as row gathers: part of `legalize-to-neuron`."""

from __future__ import annotations

from torch_mlir import ir

from axonc.dialects.neuron import builder as build
from axonc.passes.graph.fold_constants import fold
from axonc.passes.legalize.indexed_windows import (
    IndexedWindows,
    flat_table,
    row_numbers,
    windows_of_gather,
)


def window_gather(op: ir.Operation) -> ir.Value:
    """Any gather.

    Raises:
        Unsupported: too many rows, or more than the type of the indices can count.
    """
    it = windows_of_gather(op)
    numbers = row_numbers(it)
    table = flat_table(it, _cut(it, op.operands[0]))
    gathered = build.gather_rows(table, numbers)
    return build.reshape(build.transpose(gathered, it.order), op.results[0].type.shape)


def _cut(it: IndexedWindows, table: ir.Value) -> ir.Value:
    """Of the kept dims what a window has, which begins at 0 there."""
    limit = [it.sizes[d] if d in it.kept else n for d, n in enumerate(it.shape)]
    if limit == list(it.shape):
        return table
    return fold(build.slice_(table, [0] * len(limit), limit))
