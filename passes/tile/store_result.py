"""Storing a result of the program: in long rows, from where it lies or by way of a transpose."""

from __future__ import annotations

from torch_mlir import ir

from axonc.passes.layout.layout_dims import default_rows
from axonc.passes.layout.storage import Storage
from axonc.passes.tile.move import copy_device_memory, has_long_rows, store, wants_transpose
from axonc.passes.tile.values import Values


def store_result(values: Values, out: Storage, value: ir.Value) -> None:
    """out = value; out: in device memory."""
    known = values.known(value)
    if known and all(s.in_hbm for s in known) and has_long_rows(known[0]):
        copy_device_memory(values.builder, out, known[0])
    else:
        store(values.builder, out, for_output(values, value, out))


def for_output(values: Values, value: ir.Value, out: Storage) -> Storage:
    """An on-chip storage that can be stored in long rows."""
    on_chip = [s for s in values.known(value) if not s.in_hbm]
    for storage in on_chip:
        rows = storage.partition_dims
        if rows and wants_transpose(out, rows) is None:
            return storage
    rows = on_chip[0].partition_dims if on_chip else ()
    other = wants_transpose(out, rows) if rows else None
    if other is None:
        other = rows or default_rows(out.shape)
    return values.get(value, other)
