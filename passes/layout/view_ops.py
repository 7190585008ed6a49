"""Neuron ops that only relabel elements: how a storage, or a choice of partition dims, goes through
them.

Each entry says what the result's storage is, given the operand's (None: the data has to move), and
which partition dims the operand needs so that the result gets given ones (None: no such choice).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch_mlir import ir

from axonc.backends.isa.access_pattern import Memory
from axonc.backends.numerics.dtypes import F32
from axonc.dialects.attributes import integers
from axonc.dialects.neuron.ops import (
    BroadcastOp,
    OpClass,
    ReshapeOp,
    ReverseOp,
    SliceOp,
    TransposeOp,
    kind_of,
)
from axonc.dialects.ntile.program import Buffer
from axonc.passes.graph.shapes import PartitionDims, Shape, normalised, shape_of
from axonc.passes.layout.storage import Storage


def contiguous_strides(shape: Shape) -> tuple[int, ...]:
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))


def abstract_storage(shape: Shape, partition_dims: PartitionDims) -> Storage:
    """A storage without memory, to ask where dims go."""
    free = [1 if d in partition_dims else size for d, size in enumerate(shape)]
    strides = contiguous_strides(tuple(free))
    strides = tuple(0 if d in partition_dims else s for d, s in enumerate(strides))
    nowhere = Buffer("abstract", Memory.SBUF, 0, 0)
    return Storage(nowhere, F32, shape, partition_dims, strides, 0)


@dataclass(frozen=True)
class ViewOp:
    """forward(op, storage of the operand); backward(op, storage of the result)."""

    forward: Callable[[ir.Operation, Storage], Storage | None]
    backward: Callable[[ir.Operation, Storage], Storage | None]


def _reshape(op: ir.Operation, storage: Storage) -> Storage | None:
    return storage.reshaped(shape_of(op.results[0]))


def _reshape_back(op: ir.Operation, storage: Storage) -> Storage | None:
    return storage.reshaped(shape_of(op.operands[0]))


def _transpose(op: ir.Operation, storage: Storage) -> Storage | None:
    return storage.transposed(op.permutation)


def _transpose_back(op: ir.Operation, storage: Storage) -> Storage | None:
    permutation = op.permutation
    inverse = tuple(permutation.index(d) for d in range(len(permutation)))
    return storage.transposed(inverse)


def _broadcast(op: ir.Operation, storage: Storage) -> Storage | None:
    return storage.broadcast(op.dims, shape_of(op.results[0]))


def _broadcast_back(op: ir.Operation, storage: Storage) -> Storage | None:
    dims, shape = op.dims, shape_of(op.operands[0])
    return unbroadcast(storage, dims, shape)


def unbroadcast(storage: Storage, dims: tuple[int, ...], shape: Shape) -> Storage | None:
    """The operand of a broadcast whose result would lie like `storage`; None when some, but not
    all, of the result's partition dims come from expansion."""
    source = {target: d for d, target in enumerate(dims) if shape[d] == storage.shape[target]}
    kept = normalised(storage.partition_dims, storage.shape)
    found = tuple(source[d] for d in kept if d in source)
    if found and len(found) != len(kept):
        return None
    return abstract_storage(shape, found)


def _slice(op: ir.Operation, storage: Storage) -> Storage | None:
    a = op.attributes
    return storage.sliced(integers(a["start"]), integers(a["limit"]), integers(a["strides"]))


def _slice_back(op: ir.Operation, storage: Storage) -> Storage | None:
    whole = abstract_storage(shape_of(op.operands[0]), storage.partition_dims)
    return whole if _slice(op, whole) is not None else None


def _reverse(op: ir.Operation, storage: Storage) -> Storage | None:
    return storage.reversed(op.dims)


def _reverse_back(op: ir.Operation, storage: Storage) -> Storage | None:
    dims = op.dims
    return None if set(dims) & set(storage.partition_dims) else storage


VIEW_OPS: dict[OpClass, ViewOp] = {
    ReshapeOp: ViewOp(_reshape, _reshape_back),
    TransposeOp: ViewOp(_transpose, _transpose_back),
    BroadcastOp: ViewOp(_broadcast, _broadcast_back),
    SliceOp: ViewOp(_slice, _slice_back),
    ReverseOp: ViewOp(_reverse, _reverse_back),
}


def operand_dims(op: ir.Operation, result_dims: PartitionDims) -> PartitionDims | None:
    """Partition dims the operand needs for the result to have `result_dims`."""
    shape = shape_of(op.results[0])
    found = VIEW_OPS[kind_of(op)].backward(op, abstract_storage(shape, result_dims))
    return None if found is None else normalised(found.partition_dims, found.shape)


def result_dims(op: ir.Operation, dims: PartitionDims) -> PartitionDims | None:
    """Partition dims of the result when the operand has `dims`; None if the data must move."""
    shape = shape_of(op.operands[0])
    found = VIEW_OPS[kind_of(op)].forward(op, abstract_storage(shape, dims))
    return None if found is None else normalised(found.partition_dims, found.shape)
