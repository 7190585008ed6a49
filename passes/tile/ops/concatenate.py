"""Tiles concatenations: operands are made in their places in the result where that is possible.

A dot (or a concatenation) whose only reader is a concatenation with the same rows and element type
writes its result there; the concatenation then has nothing left to copy.
"""

from __future__ import annotations

from dataclasses import replace

from torch_mlir import ir

from axonc.backends.numerics.dtypes import DType
from axonc.dialects.attributes import integers
from axonc.dialects.neuron.ops import ConcatenateOp, isa
from axonc.passes.graph.shapes import PartitionDims, normalised, shape_of
from axonc.passes.graph.uses import only_user
from axonc.passes.layout.storage import Storage
from axonc.passes.tile.move import cast, new_storage
from axonc.passes.tile.stored_dtype import stored_dtype
from axonc.passes.tile.values import Values


def tile_concatenate(values: Values, op: ir.Operation, dtype: DType) -> Storage:
    """Copies into slices of the result, but for operands that were made there; through device
    memory when the axis is on partitions."""
    rows = integers(op.attributes["layout.rows"])
    result = _whole(values, op)
    assert result.dtype == dtype, "both sides ask stored_dtype"
    for operand, start in _starts(op):
        source = values.get(operand, rows)
        if source.buffer is not result.buffer:
            place = _slice(op, result, operand, start)
            assert place is not None, "choose-layouts keeps the concatenated dim off the partitions"
            cast(values.builder, place, source)
    return result


def new_result(
    values: Values,
    value: ir.Value,
    dtype: DType,
    rows: PartitionDims,
    name: str,
    last: PartitionDims = (),
) -> Storage:
    """Where to make `value`: its place in the concatenation that reads it; else a fresh storage
    with the dims `last` innermost."""
    place = _place(values, value)
    if place is not None and place.dtype == dtype and place.partition_dims == rows:
        return place
    return new_storage(values.builder, shape_of(value), dtype, rows, name, last)


def _place(values: Values, value: ir.Value) -> Storage | None:
    op = only_user(value)
    if op is None or not isa(op, ConcatenateOp) or op.results[0] in values.returned:
        return None
    start = next(start for operand, start in _starts(op) if operand == value)
    return _slice(op, _whole(values, op), value, start)


def _whole(values: Values, op: ir.Operation) -> Storage:
    """The storage of a concatenation, made when its first operand is."""
    result = op.results[0]
    if result not in values.concatenations:
        rows = normalised(integers(op.attributes["layout.rows"]), shape_of(result))
        dtype = stored_dtype(op)
        made = new_result(values, result, dtype, rows, "concatenated")
        values.concatenations[result] = made
    return values.concatenations[result]


def _starts(op: ir.Operation) -> list[tuple[ir.Value, int]]:
    """Operands that are not empty, with their first index along the concatenated dim."""
    axis = op.dimension
    found, start = [], 0
    for operand in op.operands:
        size = shape_of(operand)[axis]
        if size:
            found.append((operand, start))
        start += size
    return found


def _slice(op: ir.Operation, whole: Storage, operand: ir.Value, start: int) -> Storage | None:
    axis = op.dimension
    shape, size = whole.shape, shape_of(operand)
    low = tuple(start if d == axis else 0 for d in range(len(shape)))
    high = tuple(start + size[axis] if d == axis else n for d, n in enumerate(shape))
    place = whole.sliced(low, high, (1,) * len(shape))
    if place is None:
        return None
    return replace(place, partition_dims=normalised(place.partition_dims, size))
