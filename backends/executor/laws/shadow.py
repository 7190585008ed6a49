"""Which bytes of every memory have been written, and which of PSUM by the tensor engine.

One bool per byte. Inputs, weights and constants are written by the host, so their tensors have no
shadow; outputs and scratch tensors have one.
"""

from __future__ import annotations

import numpy as np

from axonc.backends.executor.memory.memory import HOST_WRITTEN, MemorySystem, Segment
from axonc.backends.executor.steps.findings import FindingKind, Violation
from axonc.backends.isa.access_pattern import Access, Memory, TileAccess
from axonc.backends.program import HbmTensor

ByteDims = tuple[tuple[int, int], ...]


def byte_dims(access: Access) -> ByteDims:
    """The pattern in bytes, ((stride, size), ...), neighbouring elements merged."""
    dims = [(1, access.dtype.size_bytes)]
    for stride, size in reversed(access.dims):
        step = stride * access.dtype.size_bytes
        inner_stride, inner_size = dims[-1]
        if step == inner_stride * inner_size:
            dims[-1] = (inner_stride, inner_size * size)
        elif size > 1:
            dims.append((step, size))
    return tuple(reversed(dims))


class Shadow:
    """Written-ness of every byte. `view` gives the bools of an access, in some shape."""

    def __init__(self, memory: MemorySystem) -> None:
        self.memory = memory
        self.on_chip = {m: np.zeros(a.shape, np.bool_) for m, a in memory.on_chip.items()}
        self.by_tensor_engine = np.zeros(memory.on_chip[Memory.PSUM].shape, np.bool_)
        self.segments = {
            segment.address: np.zeros(segment.end - segment.address, np.bool_)
            for segment in memory.segments
            if segment.tensor.kind not in HOST_WRITTEN
        }

    def reset(self) -> None:
        """Nothing has been written."""
        for array in (*self.on_chip.values(), *self.segments.values(), self.by_tensor_engine):
            array.fill(False)

    def view(self, access: Access) -> np.ndarray | None:
        """Bools of the bytes of `access`; None when the host wrote the tensor it lies in."""
        if isinstance(access, TileAccess):
            return self._tile_view(self.on_chip[access.memory], access)
        segment = self.memory.segment_at(access)
        shadow = self.segments.get(segment.address)
        if shadow is None:
            return None
        dims = byte_dims(access)
        offset = access.address - segment.address
        return np.ndarray(_sizes(dims), np.bool_, shadow, offset, _strides(dims))

    def _tile_view(self, shadow: np.ndarray, access: TileAccess) -> np.ndarray:
        row = shadow.shape[1]
        dims = ((row, access.num_partitions), *byte_dims(access))
        offset = access.start_partition * row + access.byte_offset
        return np.ndarray(_sizes(dims), np.bool_, shadow, offset, _strides(dims))

    def check_read(self, name: str, access: Access) -> None:
        """Raises: Violation if some byte of operand `name` was never written."""
        written = self.view(access)
        if written is not None and not written.all():
            raise Violation(FindingKind.UNWRITTEN_READ, _unwritten(name, access, written))

    def mark_written(self, access: Access, by_tensor_engine: bool) -> None:
        written = self.view(access)
        if written is not None:
            written[...] = True
        if isinstance(access, TileAccess) and access.memory is Memory.PSUM:
            self._tile_view(self.by_tensor_engine, access)[...] = by_tensor_engine

    def check_accumulates(self, access: TileAccess) -> None:
        """Raises: Violation if some byte was last written by another engine than the tensor one."""
        own = self._tile_view(self.by_tensor_engine, access)
        if not own.all():
            count = int(own.size - np.count_nonzero(own))
            raise Violation(
                FindingKind.PSUM_ACCUMULATE,
                f"accumulates onto {count} of {own.size} bytes that no multiply_moving wrote last",
            )

    def segment_written(self, segment: Segment) -> np.ndarray | None:
        return self.segments.get(segment.address)

    def check_output(self, tensor: HbmTensor) -> None:
        """Raises: Violation if the program left bytes of an output unwritten."""
        if tensor.alias:  # the host has written all of it
            return
        written = self.segments[tensor.address]
        if not written.all():
            missing = int(written.size - np.count_nonzero(written))
            first = int(np.argmin(written))
            raise Violation(
                FindingKind.UNWRITTEN_READ,
                f"output {tensor.name}: {missing} of {written.size} bytes were never written, "
                f"the first at byte {first}",
            )


def _sizes(dims: ByteDims) -> tuple[int, ...]:
    return tuple(size for _, size in dims)


def _strides(dims: ByteDims) -> tuple[int, ...]:
    return tuple(stride for stride, _ in dims)


def _unwritten(name: str, access: Access, written: np.ndarray) -> str:
    missing = int(written.size - np.count_nonzero(written))
    position = np.unravel_index(int(np.argmin(written)), written.shape)
    where = "device memory"
    if isinstance(access, TileAccess):
        where = f"{access.memory.value}, first in partition {access.start_partition + position[0]}"
    return f"{name} reads {missing} of {written.size} bytes nobody wrote ({where})"
