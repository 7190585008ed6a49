"""Padding."""

from __future__ import annotations

from torch_mlir import ir

from axonc.backends.numerics.dtypes import DType
from axonc.diagnostics import UnsupportedOpError
from axonc.dialects.attributes import integers
from axonc.passes.graph.shapes import shape_of
from axonc.passes.layout.layout_dims import default_rows
from axonc.passes.layout.storage import Storage
from axonc.passes.tile.move import cast, load, new_storage, store
from axonc.passes.tile.values import Values


def tile_pad(values: Values, op: ir.Operation, dtype: DType) -> Storage:
    """Fill, then copy the operand into a strided slice of the result: on chip, or in device memory
    when padded dims lie on partitions."""
    builder = values.builder
    shape, size = shape_of(op.results[0]), shape_of(op.operands[0])
    rows = integers(op.attributes["layout.rows"])
    low, interior = op.low, op.interior
    high = op.high
    if min((*low, *high)) < 0:
        raise UnsupportedOpError("negative padding", hint="slice the operand instead")
    result = new_storage(builder, shape, dtype, rows, "padded")
    fill = values.get(op.operands[1], ()).broadcast((), shape)
    assert fill is not None
    cast(builder, result, fill)
    if 0 in size:
        return result
    steps = tuple(i + 1 for i in interior)
    limit = tuple(a + (n - 1) * s + 1 for a, n, s in zip(low, size, steps, strict=True))
    place = result.sliced(low, limit, steps)
    if place is not None:
        cast(builder, place, values.get(op.operands[0], rows))
        return result
    outside = values.to_device_memory(result, "padded")
    place = outside.sliced(low, limit, steps)
    assert place is not None, "device memory has no partition dims"
    store(builder, place, values.get(op.operands[0], default_rows(size)))
    whole = new_storage(builder, shape, dtype, rows, "padded")
    load(builder, whole, outside)
    return whole
