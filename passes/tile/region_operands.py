"""The storages behind the leaves of an elementwise region, seen in the shape of its result."""

from __future__ import annotations

from collections.abc import Sequence

from torch_mlir import ir

from axonc.passes.graph.shapes import PartitionDims, Shape, shape_of
from axonc.passes.layout.storage import Lane, Loop, Storage
from axonc.passes.layout.view_ops import abstract_storage, unbroadcast
from axonc.passes.tile.elementwise.elementwise_expression import Expression, machine_dtype
from axonc.passes.tile.move import load, new_storage
from axonc.passes.tile.values import Values

LeafKey = tuple[int, tuple[int, ...] | None]


def leaf_keys(root: Expression) -> list[LeafKey]:
    """(argument, broadcast) of every leaf, in a fixed order."""
    keys: dict[LeafKey, None] = {}
    stack, seen = [root], {id(root)}
    while stack:
        node = stack.pop()
        if node.op == "leaf":
            keys[node.argument, node.broadcast] = None
        for arg in node.args:
            if id(arg) not in seen:
                seen.add(id(arg))
                stack.append(arg)
    return sorted(keys, key=lambda key: (key[0], key[1] or ()))


class RegionOperands:
    """Storages of the leaves of `root`, all in the result's shape and rows.

    operands[i] is the value of region argument i; None for the accumulator of a dot."""

    def __init__(
        self,
        values: Values,
        root: Expression,
        operands: Sequence[ir.Value | None],
        shape: Shape,
        rows: PartitionDims,
    ) -> None:
        self.keys = leaf_keys(root)
        self._storages = [
            None
            if operands[number] is None
            else _in_shape(values, operands[number], dims, shape, rows)
            for number, dims in self.keys
        ]

    def lanes(
        self,
        row: int,
        rows: int,
        loops: tuple[Loop, ...],
        partitions: int,
        accumulator: Lane | None,
    ) -> list[Lane]:
        """One lane per key; the accumulator's where there is no storage."""
        lanes = []
        for storage in self._storages:
            if storage is None:
                assert accumulator is not None
                lanes.append(accumulator)
            else:
                lanes.append(storage.lane(row, rows, loops, partitions))
        return lanes


def _in_shape(
    values: Values,
    value: ir.Value,
    dims: tuple[int, ...] | None,
    shape: Shape,
    rows: PartitionDims,
) -> Storage:
    if dims is None:
        return values.get(value, rows)
    wanted = unbroadcast(abstract_storage(shape, rows), dims, shape_of(value))
    if wanted is not None:
        found = values.get(value, wanted.partition_dims).broadcast(dims, shape)
        if found is not None:
            return found
    return _expanded(values, value, dims, shape, rows)


def _expanded(
    values: Values, value: ir.Value, dims: tuple[int, ...], shape: Shape, rows: PartitionDims
) -> Storage:
    """A broadcast along part of the rows: through device memory, which can repeat any dim."""
    source = values.in_device_memory(value, "broadcast")
    wide = source.broadcast(dims, shape)
    assert wide is not None, "device memory has no partition dims"
    dtype = machine_dtype(value.type)  # the source of a conversion may be wider
    result = new_storage(values.builder, shape, dtype, rows, "broadcast")
    load(values.builder, result, wide)
    return result
