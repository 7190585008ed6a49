"""Rows put into a table, or combined with its own, by indirect DMA.

Each partition says by its index which row of the table it writes; an index outside of the table is
skipped. Transfers into one table follow one another, and rows within a transfer do so in the order
of partitions (assumed), so that rows for one place meet in order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from torch_mlir import ir

from axonc.backends.numerics.dtypes import DTYPES, DType
from axonc.dialects.ntile.program import View
from axonc.passes.graph.machine_dtype import machine_dtype
from axonc.passes.graph.shapes import shape_of
from axonc.passes.layout.storage import Loop, Storage
from axonc.passes.tile.move import load, new_storage
from axonc.passes.tile.ops.dynamic import updated_memory
from axonc.passes.tile.values import Values

MAX_LOADED_BYTES = 16 * 1024
"""Per partition, of rows that are loaded at once: a twelfth of SBUF, so that the next are fetched
while these are written."""

_DMA_OPS = {"set": "copy", "add": "add", "max": "max", "min": "min"}


def tile_scatter_rows(values: Values, op: ir.Operation, dtype: DType) -> Storage:
    """The updated table in device memory: the operand's own, or a copy (Values.updates)."""
    table, indices, rows = op.operands
    target = updated_memory(values, table, op.results[0])
    shape = shape_of(rows)
    if 0 in shape:
        return target
    builder = values.builder
    where = values.get(indices, (0,), DTYPES["i32"])
    dims = list(zip(target.strides, target.shape, strict=True))
    partitions = builder.target.partitions
    for first, count, view in _tiles(values, rows, shape):
        index = where.lane(first, count, (), partitions).view(())
        builder.dma(
            target.hbm_view(dims, 0),
            view,
            index=index,
            indirect="scatter",
            op=_DMA_OPS[op.kind],
            oob="skip",
        )
    return target


def _tiles(
    values: Values, rows: ir.Value, shape: tuple[int, ...]
) -> Iterator[tuple[int, int, View]]:
    """(first row, rows, their elements in SBUF) of each row tile. What is in device memory is
    loaded in groups of tiles."""
    partitions = values.builder.target.partitions
    source = values.source(rows)
    own = machine_dtype(rows.type)
    on_chip = [s for s in values.known(rows) if not s.in_hbm and s.partition_dims == (0,)]
    if shape[0] == 1 or on_chip or source is None or source.dtype != own:
        yield from _views(values.get(rows, (0,)), 0, partitions)
        return
    row_bytes = math.prod(shape[1:]) * own.size_bytes
    step = partitions * max(1, MAX_LOADED_BYTES // row_bytes)
    for first in range(0, shape[0], step):
        limit = (min(first + step, shape[0]), *shape[1:])
        part = source.sliced((first, *(0 for _ in shape[1:])), limit, (1,) * len(shape))
        assert part is not None, "device memory has no partition dims"
        loaded = new_storage(values.builder, part.shape, own, (0,), "rows")
        load(values.builder, loaded, part)
        yield from _views(loaded, first, partitions)


def _views(storage: Storage, first: int, partitions: int) -> Iterator[tuple[int, int, View]]:
    """A storage of one row is on all partitions: the first one's is taken."""
    total = storage.rows if storage.partition_dims else 1
    width = tuple(n for n in storage.shape[1:])
    loops: tuple[Loop, ...] = tuple(Loop(d + 1, n) for d, n in enumerate(width))
    for row in range(0, total, partitions):
        count = min(partitions, total - row)
        yield first + row, count, storage.lane(row, count, loops, partitions).view(width)
