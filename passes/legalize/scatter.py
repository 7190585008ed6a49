"""StableHLO scatters: part of `legalize-to-neuron`.

A window that does not lie within the operand changes nothing, as XLA does it. Windows that overlap
are updated in the order of their indices.

Three ways: rows of a table, put there or combined by indirect DMA (scatter_rows.py), where that is
exact; one window after the other, unrolled, where there are few (scatter_windows.py); or in a loop.
"""

from __future__ import annotations

import math

from torch_mlir import ir

from axonc.dialects.neuron import builder as build
from axonc.passes.graph.fold_constants import constant_array
from axonc.passes.legalize.indexed_windows import IndexedWindows, windows_of_scatter
from axonc.passes.legalize.scatter_rows import Kind, kinds_of, row_windows, scatter_by_rows
from axonc.passes.legalize.scatter_windows import scatter_windows
from axonc.passes.unsupported import Unsupported

MOST_WINDOWS = 1024
"""Most windows that become operations of their own, one by one."""

MOST_KNOWN_WINDOWS = 16
"""At places known to the compiler: each is a pad and a select, which fuse."""

_PARTITIONS_PER_TRANSFER = 128


def scatter(op: ir.Operation) -> tuple[ir.Value, ...]:
    """All tensors that are scattered into.

    Raises:
        Unsupported: a computation that is not elementwise; too many windows of one that rows are
        not combined by.
    """
    count = len(op.operands) // 2
    if 0 in build.shape_of(op.operands[count + 1]) or 0 in build.shape_of(op.operands[0]):
        return tuple(op.operands[:count])
    kinds = kinds_of(op)
    it = windows_of_scatter(op)
    windows = math.prod(it.places)
    if kinds is not None and _pays_to_use_rows(it, windows, kinds):
        return scatter_by_rows(op, kinds)
    if windows > MOST_WINDOWS:
        raise Unsupported(
            f"scatter of {windows} windows by {_combination(op)}",
            f"set, add, max, min; or at most {MOST_WINDOWS} windows",
        )
    return scatter_windows(op)


def _combination(op: ir.Operation) -> str:
    """The operations of its region, each once; that of a product in two words has many."""
    body = [o.operation.name for o in op.regions[0].blocks[0].operations]
    return ", ".join(dict.fromkeys(n for n in body[:-1] if n != "stablehlo.constant"))


def _pays_to_use_rows(it: IndexedWindows, windows: int, kinds: list[Kind]) -> bool:
    """Rows take a transfer for each tile of them; windows one by one a read and a write each, but
    where their places are known they are computed on chip."""
    if windows == 1:
        return False
    if windows <= MOST_KNOWN_WINDOWS and constant_array(it.indices) is not None:
        return False
    rows = math.prod(row_windows(it).rows_shape)
    transfers = -(-rows // _PARTITIONS_PER_TRANSFER) * max(k.passes for k in kinds)
    return windows > MOST_WINDOWS or transfers < 2 * windows
