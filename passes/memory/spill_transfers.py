"""The transfers of spilled buffers: the bytes that were written go to device memory and back.

Bytes never written are left out: they hold nothing, and reading them is an error. A buffer that was
only ever loaded from an input, weight or constant is not stored; it is loaded again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from axonc.backends.isa.access_pattern import Memory
from axonc.backends.isa.spec import Action, Role
from axonc.backends.numerics.dtypes import DTYPES, DType
from axonc.backends.program import SPILL_PREFIX, HbmTensor, TensorKind
from axonc.backends.targets.target import Engine
from axonc.dialects.ntile.builder import MLIR_NAME, step
from axonc.dialects.ntile.program import Buffer, Form, TileOp, TileProgram, View, mapped_views

Box = tuple[int, int, int, int]
"""(first partition, past-last partition, first byte, past-last byte)."""

UNCHANGING = (TensorKind.INPUT, TensorKind.WEIGHT, TensorKind.CONSTANT)


def written_boxes(buffer: Buffer, views: Iterable[View]) -> list[Box]:
    """Boxes that together are the bytes of `buffer` that the views cover."""
    found = sorted(set(views), key=lambda v: (v.start_partition, v.byte_offset))
    edges = sorted({p for v in found for p in (v.start_partition, v.region()[1])})
    boxes: list[Box] = []
    for first, last in zip(edges, edges[1:], strict=False):
        runs = _runs(buffer, [v for v in found if v.start_partition <= first < v.region()[1]])
        above = [b[2:] for b in boxes if b[1] == first]
        if boxes and runs and above == runs and boxes[-1][1] == first:
            boxes = [(b[0], last, *b[2:]) if b[1] == first else b for b in boxes]
        else:
            boxes += [(first, last, *run) for run in runs]
    return boxes


def _runs(buffer: Buffer, views: list[View]) -> list[tuple[int, int]]:
    """Maximal runs of bytes that the views cover, in each of their common partitions."""
    is_written = np.zeros(buffer.partition_bytes + 2, np.bool_)  # one byte free at both ends
    for view in views:
        low, high = view.region()[2:]
        if (high - low) == view.elements_per_partition * view.dtype.size_bytes:
            is_written[low + 1 : high + 1] = True
        else:
            is_written[1 + _bytes_of(view)] = True
    edges = np.flatnonzero(is_written[1:] != is_written[:-1])
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def _bytes_of(view: View) -> np.ndarray:
    """Offsets of every byte the view touches, within a partition."""
    size = view.dtype.size_bytes
    offsets = np.arange(size)
    for stride, count in view.dims:
        offsets = (offsets[:, None] + np.arange(count) * stride * size).reshape(-1)
    return offsets + view.byte_offset


def scratch_tensor(buffer: Buffer) -> Buffer:
    """Device memory for all bytes of `buffer`, partition by partition."""
    dtype = _unit(buffer.partition_bytes)
    shape = (buffer.partitions, buffer.partition_bytes // dtype.size_bytes)
    name = f"{SPILL_PREFIX}{buffer.name}"
    host = MLIR_NAME.get(dtype.name, dtype.name)
    tensor = HbmTensor(name, TensorKind.SCRATCH, -1, shape, dtype, host)
    return Buffer(name, Memory.HBM, 0, tensor.size_bytes, tensor=tensor)


def _unit(*sizes: int) -> DType:
    """The widest type of which all sizes in bytes are whole numbers."""
    return DTYPES["i32"] if all(size % 4 == 0 for size in sizes) else DTYPES["u8"]


def stores(buffer: Buffer, scratch: Buffer, boxes: list[Box], location: int) -> Iterator[TileOp]:
    """Transfers of the boxes to device memory."""
    for tile, outside in _pairs(buffer, scratch, boxes):
        yield _transfer(outside, tile, location)


def reloads(buffer: Buffer, scratch: Buffer, boxes: list[Box], location: int) -> Iterator[TileOp]:
    """Transfers of the boxes back."""
    for tile, outside in _pairs(buffer, scratch, boxes):
        yield _transfer(tile, outside, location)


def _pairs(buffer: Buffer, scratch: Buffer, boxes: list[Box]) -> Iterator[tuple[View, View]]:
    pitch = buffer.partition_bytes
    for first, last, low, high in boxes:
        dtype = _unit(pitch, low, high)
        size, count = dtype.size_bytes, last - first
        dims = ((1, (high - low) // size),)
        tile = View(buffer, dtype, first, count, low, dims)
        rows = ((pitch // size, count), *dims)
        yield tile, View(scratch, dtype, 0, 0, first * pitch + low, rows)


def _transfer(dst: View, src: View, location: int) -> TileOp:
    made = step("dma_copy", dst=dst, src=src)
    return TileOp((Form(Engine.GPSIMD, (made,)),), location)


def is_transfer(op: TileOp) -> bool:
    """Whether the operation is a transfer that replaces what it writes."""
    step = op.form.steps[0]
    return step.spec.action is Action.TRANSFER and step.text("op") == "copy"


def unchanging_tensors(program: TileProgram) -> set[Buffer]:
    """Device tensors that the host fills and no operation writes: neither themselves (updated state
    is written) nor as the output that takes their memory."""
    written = {
        view.buffer for op in program.ops for role, view in op.accesses() if role is not Role.READ
    }
    tensors = [b for b in program.buffers if b.tensor is not None]
    shared = {b.tensor.alias for b in tensors if b.tensor is not None}
    return {
        b
        for b in tensors
        if b.tensor is not None
        and b.tensor.kind in UNCHANGING
        and b not in written
        and b.tensor.name not in shared
    }


def is_plain_load(op: TileOp, buffer: Buffer, unchanging: set[Buffer]) -> bool:
    """Whether the operation does nothing but load `buffer` from one of the tensors."""
    accesses = op.accesses()
    if not is_transfer(op) or len(accesses) != 2:
        return False
    sources = [v.buffer for role, v in accesses if role is Role.READ]
    writes = [v.buffer for role, v in accesses if role is not Role.READ]
    return writes == [buffer] and bool(sources) and sources[0] in unchanging


def on_buffer(op: TileOp, old: Buffer, new: Buffer) -> TileOp:
    """The operation with `new` in the place of `old`."""
    return mapped_views(op, lambda v: replace(v, buffer=new) if v.buffer is old else v)
