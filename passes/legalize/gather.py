"""StableHLO gathers as row gathers: part of `legalize-to-neuron`.

Here: one slice; or every slice one element along the indexed dims, whole along the others; the rest
is in window_gather.py. One indexed dim is brought to the front of the table; several are flattened
into one, their indices combined.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch_mlir import ir

from axonc.dialects.neuron import builder as build
from axonc.dialects.stablehlo import dense_integers, gather_dimensions
from axonc.passes.graph.fold_constants import fold
from axonc.passes.legalize.dynamic import single_window_gather, wide
from axonc.passes.legalize.window_gather import window_gather
from axonc.passes.unsupported import Unsupported

_HINT = "index whole rows: each slice one element along the indexed dims, all of the others"


@dataclass(frozen=True)
class RowGather:
    """How a gather takes rows of a table."""

    indexed: tuple[int, ...]
    """Table dims that the index vector counts, in its order."""
    kept: tuple[int, ...]
    """The other table dims, whole in every row."""
    offset_dims: tuple[int, ...]
    """Result dims that hold the kept dims."""
    index_dim: int
    """The dim of the indices that holds the index vector."""


def gather(op: ir.Operation) -> ir.Value:
    """By rows where they are rows; one window of any size is a dynamic slice; of others every
    element of a window is a row."""
    try:
        rows = _row_gather(op)
    except Unsupported:
        found = single_window_gather(op)
        return window_gather(op) if found is None else found
    table, indices = op.operands
    row_numbers = _row_numbers(table, indices, rows)
    flat = _flat_table(table, rows)
    gathered = build.gather_rows(flat, row_numbers)
    return _place_offsets(gathered, row_numbers.type.rank, rows, op.results[0].type)


def _row_gather(op: ir.Operation) -> RowGather:
    """The gather as rows.

    Raises:
        Unsupported: its slices are not rows.
    """
    dims = gather_dimensions(op)
    table = op.operands[0].type
    sizes = dense_integers(op.attributes["slice_sizes"])
    if tuple(getattr(dims, "operand_batching_dims", ())):
        raise Unsupported("gather with batching dims", _HINT)
    indexed = tuple(dims.start_index_map)
    collapsed = set(dims.collapsed_slice_dims)
    kept = tuple(i for i in range(table.rank) if i not in indexed)
    if any(sizes[i] != 1 for i in indexed) or any(sizes[i] != table.shape[i] for i in kept):
        raise Unsupported(f"gather of slices {list(sizes)} from {list(table.shape)}", _HINT)
    if not collapsed <= set(range(table.rank)) or collapsed & set(kept) or not indexed:
        raise Unsupported("gather that drops dims it does not index", _HINT)
    if collapsed != set(indexed):
        raise Unsupported("gather that keeps an indexed dim of size 1", "index without keepdims")
    return RowGather(indexed, kept, tuple(dims.offset_dims), dims.index_vector_dim)


def _row_numbers(table: ir.Value, indices: ir.Value, rows: RowGather) -> ir.Value:
    """One clamped row number per result position, from the index vectors."""
    shape = build.shape_of(indices)
    batch = [s for i, s in enumerate(shape) if i != rows.index_dim]
    if len(rows.indexed) == 1:
        return build.reshape(wide(indices), batch)
    sizes = [table.type.shape[i] for i in rows.indexed]
    # Narrow integers hold an index, but not the number of a row.
    indices = wide(indices)
    _refuse_inexact(math.prod(sizes), indices)
    parts = [_component(indices, rows.index_dim, n, batch) for n in range(len(sizes))]
    return _combined([_clamped(p, s) for p, s in zip(parts, sizes, strict=True)], sizes)


def _refuse_inexact(count: int, indices: ir.Value) -> None:
    name = str(indices.type.element_type)
    bits = int(name.lstrip("ui"))
    if count >= 2 ** (bits if name.startswith("u") else bits - 1):
        raise Unsupported(f"{count} rows cannot be numbered in {name}", "index with int32")


def _component(indices: ir.Value, index_dim: int, number: int, batch: Sequence[int]) -> ir.Value:
    start = [number if i == index_dim else 0 for i in range(indices.type.rank)]
    limit = [number + 1 if i == index_dim else s for i, s in enumerate(indices.type.shape)]
    return build.reshape(fold(build.slice_(indices, start, limit)), batch)


def _clamped(index: ir.Value, size: int) -> ir.Value:
    """Index in [0, size - 1], as StableHLO clamps the start of each slice."""
    low = build.splat_constant(0, index.type)
    high = build.splat_constant(size - 1, index.type)
    raised = build.create("maximum", (index, low), index.type)
    return fold(build.create("minimum", (fold(raised), high), index.type))


def _combined(parts: Sequence[ir.Value], sizes: Sequence[int]) -> ir.Value:
    """Row-major number of an index vector."""
    number = parts[0]
    for part, size in zip(parts[1:], sizes[1:], strict=True):
        scale = build.splat_constant(size, part.type)
        scaled = fold(build.create("multiply", (number, scale), part.type))
        number = fold(build.create("add", (scaled, part), part.type))
    return number


def _flat_table(table: ir.Value, rows: RowGather) -> ir.Value:
    """Indexed dims first and flattened into one."""
    front = fold(build.transpose(table, [*rows.indexed, *rows.kept]))
    kept = [table.type.shape[i] for i in rows.kept]
    count = math.prod(table.type.shape[i] for i in rows.indexed)
    return fold(build.reshape(front, [count, *kept]))


def _place_offsets(
    gathered: ir.Value, batch_rank: int, rows: RowGather, kind: ir.RankedTensorType
) -> ir.Value:
    """Move the kept dims from the end to `offset_dims`."""
    batch, offset = iter(range(batch_rank)), iter(range(batch_rank, gathered.type.rank))
    order = [next(offset) if i in rows.offset_dims else next(batch) for i in range(kind.rank)]
    return build.transpose(gathered, order)
